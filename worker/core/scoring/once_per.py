"""The values that `once_per` has counted: a mark and an instant each, packed into bytes, by rising instant."""

from __future__ import annotations

from bisect import insort
from typing import Any, Final

import msgspec
import xxhash

VALUES_KEPT: Final = 64
MARK_BYTES: Final = 6
"""48 bits of a hash stand for an id or a value: two of 64 remembered ones meet once in 4·10^12 events."""
_NEAR_MS: Final = 1 << 32
"""49.7 days: the low 4 bytes of an instant that lies less than this before a known one tell all of it."""
_NEAR: Final = MARK_BYTES + 4
_FAR: Final = MARK_BYTES + 6
"""Bytes of a remembered value: mark and instant."""


_json: Final = msgspec.json.Encoder(order="sorted")


def as_text(value: Any) -> str:
    """Return the text by which values are compared: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else _json.encode(value).decode()


def mark(text: str) -> bytes:
    """Return the 6 bytes that stand for *text* among the remembered ids and values."""
    return xxhash.xxh3_64_digest(text.encode())[:MARK_BYTES]


def find(marks: bytes, wanted: bytes, width: int = MARK_BYTES) -> int:
    """Return the offset of the entry of *width* bytes that begins with *wanted*, or −1."""
    at = marks.find(wanted)
    while at > 0 and at % width:
        at = marks.find(wanted, at + 1)
    return at


def remember(seen: bytes, last: int, value: bytes, at_ms: int) -> bytes:
    """Return *seen* with an occurrence of *value*, by rising instant; past 64 values the earliest is forgotten.

    No instant is after *last*. While all of them are less than 2^32 ms before it, each is kept by its low 4 bytes.
    Else each takes 6 bytes, and one more byte at the end makes the length odd.
    """
    if len(seen) & 1 or last - at_ms >= _NEAR_MS:
        held = entries(seen, last)
        insort(held, (at_ms, value))
        return _written(held[-VALUES_KEPT:], last)
    entry = value + (at_ms % _NEAR_MS).to_bytes(4, "big")
    cut = len(seen)
    if at_ms == last:  # as it is unless the event comes late: none is later
        while cut and seen[cut - 4 : cut] == entry[MARK_BYTES:] and seen[cut - _NEAR : cut - 4] > value:
            cut -= _NEAR
    else:
        while cut and (_near(seen, cut, last), seen[cut - _NEAR : cut - 4]) > (at_ms, value):
            cut -= _NEAR
    grown = seen + entry if cut == len(seen) else seen[:cut] + entry + seen[cut:]
    return grown[_NEAR:] if len(grown) > VALUES_KEPT * _NEAR else grown


def aged(seen: bytes, before: int, last: int) -> bytes:
    """Return *seen*, not empty and written for a `last` of *before*, for a later one."""
    if len(seen) & 1:
        return seen
    if last - before + (before - int.from_bytes(seen[MARK_BYTES:_NEAR], "big")) % _NEAR_MS < _NEAR_MS:
        return seen
    return _written(entries(seen, before), last)


def occurrence(seen: bytes, last: int, value: bytes) -> int | None:
    """Return the instant of *value*'s remembered occurrence."""
    if value not in seen:  # as it is of most: worth no call
        return None
    if len(seen) & 1:
        at = find(seen, value, _FAR)
        return None if at < 0 else int.from_bytes(seen[at + MARK_BYTES : at + _FAR], "big")
    at = find(seen, value, _NEAR)
    return None if at < 0 else last - (last - int.from_bytes(seen[at + MARK_BYTES : at + _NEAR], "big")) % _NEAR_MS


def entries(seen: bytes, last: int) -> list[tuple[int, bytes]]:
    """Return the remembered values' instants and marks, by rising instant."""
    if len(seen) & 1:
        ends = range(_FAR, len(seen), _FAR)
        return [(int.from_bytes(seen[end - 6 : end], "big"), seen[end - _FAR : end - 6]) for end in ends]
    return [(_near(seen, end, last), seen[end - _NEAR : end - 4]) for end in range(_NEAR, len(seen) + 1, _NEAR)]


def forget(seen: bytes, value: bytes) -> bytes:
    """Return *seen* without *value*."""
    width = _FAR if len(seen) & 1 else _NEAR
    at = find(seen, value, width)
    return seen if at < 0 else seen[:at] + seen[at + width :]


def _near(seen: bytes, end: int, last: int) -> int:
    """Return the instant whose low 4 bytes end at *end*."""
    return last - (last - int.from_bytes(seen[end - 4 : end], "big")) % _NEAR_MS


def _written(held: list[tuple[int, bytes]], last: int) -> bytes:
    if not held or last - held[0][0] < _NEAR_MS:
        return b"".join(value + (at_ms % _NEAR_MS).to_bytes(4, "big") for at_ms, value in held)
    return b"".join(value + at_ms.to_bytes(6, "big") for at_ms, value in held) + b"\0"
