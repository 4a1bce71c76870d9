"""The days on which a velocity rule's events happened, laid over each other.

A `VelocityWindow` holds the latest match's calendar day and, counted back from it, by kind: `days` a bitmap, `events` a
4-byte count
a day, `sessions` each day's marks of distinct sessions behind their number. Laying is independent of order, so an event that
comes late and two histories that become one are the same case.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

from worker.core.scoring.once_per import MARK_BYTES, find
from worker.core.scoring.state import VelocityWindow

BITS_DAYS: Final = 90
"""`rise` looks back over twice 45 days from the latest match."""
EVENTS_DAYS: Final = 45
SESSIONS_DAYS: Final = 7
SESSIONS_A_DAY: Final = 16
_BITS_MASK: Final = (1 << BITS_DAYS) - 1
_MOST_EVENTS: Final = 0xFFFFFFFF


def one_match(kind: str, day: int, session: bytes = b"") -> VelocityWindow:
    """Return the pace of a single event on *day*; *session* is its session's mark where *kind* is `sessions`."""
    if kind == "days":
        return VelocityWindow(day, b"\1")
    return VelocityWindow(day, b"\1\0\0\0" if kind == "events" else b"\1" + session)


def merged(kind: str, one: VelocityWindow, other: VelocityWindow) -> VelocityWindow:
    """Return both paces as one."""
    newer, older = (one, other) if one.day >= other.day else (other, one)
    back = newer.day - older.day
    if kind == "days":
        bits = (
            int.from_bytes(newer.days, "little") | int.from_bytes(older.days, "little") << min(back, BITS_DAYS)
        ) & _BITS_MASK
        return VelocityWindow(newer.day, bits.to_bytes((bits.bit_length() + 7) // 8, "little"))
    if kind == "events":
        shifted = [0] * min(back, EVENTS_DAYS) + day_counts(older.days)
        sums = [min(a + b, _MOST_EVENTS) for a, b in zip_longest(day_counts(newer.days), shifted, fillvalue=0)]
        return VelocityWindow(newer.day, b"".join(count.to_bytes(4, "little") for count in sums[:EVENTS_DAYS]))
    days = zip_longest(day_sessions(newer.days), [b""] * min(back, SESSIONS_DAYS) + day_sessions(older.days), fillvalue=b"")
    unions = [_union(a, b) for a, b in days][:SESSIONS_DAYS]
    return VelocityWindow(newer.day, b"".join(bytes((len(marks) // MARK_BYTES,)) + marks for marks in unions))


def _union(marks: bytes, more: bytes) -> bytes:
    """Add the marks of *more* that are not there yet, up to the most that a day counts."""
    for at in range(0, len(more), MARK_BYTES):
        mark = more[at : at + MARK_BYTES]
        if find(marks, mark) < 0 and len(marks) < SESSIONS_A_DAY * MARK_BYTES:
            marks += mark
    return marks


def day_counts(days: bytes) -> list[int]:
    """Return matching events a day, from the latest match's day backwards."""
    return [int.from_bytes(days[i : i + 4], "little") for i in range(0, len(days), 4)]


def day_sessions(days: bytes) -> list[bytes]:
    """Return the marks of each day's sessions, from the latest match's day backwards."""
    found = []
    at = 0
    while at < len(days):
        end = at + 1 + days[at] * MARK_BYTES
        found.append(days[at + 1 : end])
        at = end
    return found
