"""Ids, times and bytes that were made to do harm."""

from __future__ import annotations

from random import Random

NASTY = (
    "a{b}c", "{ns:0}:lead:x", "}:position", "a:b:c", "a\nb\r\n\x1b[2J\x07", "\0", "\x7f\x9b31m", "\u202edrow", "\u200b",
    "ａ", "а", "é", "e\u0301", "💥" * 40, "x" * 10_000, "x" * 16_384, "__proto__", "..", ".", "a..b", "*", "[a-z]*",
    "constructor", "%s{0}", "'; DROP", "$(id)", "NaN", "null", "-0", " ", "\ufeff", "\U0010ffff", "ﷺ", "/../..//", "-Infinity",
)  # fmt: skip
TIMES = (
    "2026-03-05T12:34:56.789Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z",
    "9998-12-31T23:59:59.999Z", "9999-12-31T23:59:59Z", "2026-12-31T23:59:60Z", "2026-03-05T12:34:56." + "9" * 30 + "Z",
    "2026-03-05T24:00:00Z", "2026-02-30T00:00:00Z", "2026-03-29T02:30:00+23:59", "2026-03-05t12:34:56.7z",
    "2026-03-05 12:34:56Z", "٢٠٢٦-03-05T12:34:56Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "",
)  # fmt: skip
RAW = (
    "1e400",
    "-1e400",
    "-0",
    "-0.0",
    str(2**64),
    str(2**70),
    "NaN",
    "Infinity",
    "1" * 5_000,
    "1e-400",
    "01",
    '"\\ud800"',
    "{}",
)
"""Numbers and others that `json.dumps` does not write."""


def damaged(value: bytes, random: Random, times: int) -> bytes:
    """Return *value* with bytes flipped, put in, left out, doubled."""
    held = bytearray(value)
    for _ in range(times):
        at = random.randrange(len(held) + 1)
        match random.randrange(4):
            case 0 if at < len(held):
                held[at] ^= 1 << random.randrange(8)
            case 1:
                held[at:at] = random.choice([b"\0", b'"', b"\\", b"{", b"}", b"\xff", b"\xed\xa0\x80", b"\n", b",", b"9"])
            case 2:
                del held[at : at + random.randrange(4)]
            case _:
                held[at:at] = held[at : at + random.randrange(40)]
    return bytes(held)
