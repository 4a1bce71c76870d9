"""Velocity: how often a lead acts. One object for each kind of counting, with all that differs between kinds.

A `VelocityWindow` holds the latest match's calendar day and, counted back from it, what the kind keeps of each day. Merging is
independent of order, so a late event and two histories that become one are the same case.

A new kind is a class and its place in `KINDS` here, and a row in `worker.core.grid.velocity_kinds`.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, Final

from worker.core.contract.event_types import customs_of
from worker.core.grid.models import Velocity
from worker.core.grid.scalars import is_blank
from worker.core.grid.velocity_kinds import KINDS as IN_GRIDS
from worker.core.grid.velocity_kinds import KindInGrids
from worker.core.scoring.once_per import MARK_BYTES, as_text, find, mark
from worker.core.scoring.state import VelocityWindow

BITS_DAYS: Final = 2 * IN_GRIDS["rise"].limit_days
"""`rise` looks back over twice its window from the latest match."""
EVENTS_DAYS: Final = IN_GRIDS["events"].limit_days
SESSIONS_DAYS: Final = IN_GRIDS["sessions"].limit_days
SESSIONS_A_DAY: Final = IN_GRIDS["sessions"].most_a_day or 0
DEPTH_DAYS: Final = IN_GRIDS["depth"].limit_days
MOST_DEPTH: Final = IN_GRIDS["depth"].most_at_all or 0
_DEPTH_BYTES: Final = MARK_BYTES + 1
"""A session's mark, and the number of its matches in one byte."""
_BITS_MASK: Final = (1 << BITS_DAYS) - 1
_MOST_EVENTS: Final = 0xFFFFFFFF
_MOST_READ: Final = 4_096

Steps = tuple[tuple[float, float], ...]
"""(number reached, points), ascending."""


class VelocityKind:
    """One way to count matches over days."""

    def __init__(self, kind: KindInGrids, *, once_a_day: bool = False, additive: bool = True) -> None:
        self.name = kind.name
        self.kept = kind.kept
        """What is kept of each day. Kinds that keep the same share one window, so they share its key too."""
        self.once_a_day = once_a_day
        """The first match of a day counts, and further ones change nothing."""
        self.additive = additive
        """A match never lowers the number."""

    def match(self, day: int, data: dict[str, Any]) -> VelocityWindow | None:
        """Return the window of a single event on *day*; `None` when the event does not count."""
        raise NotImplementedError

    def merge_days(self, newer: bytes, older: bytes, back: int) -> bytes:
        """Return the days of both windows as one, where the latest day of *older* is *back* days earlier."""
        raise NotImplementedError

    def number(self, days: bytes, window: int, within_days: int) -> int:
        """Return what is counted in the latest *window* days; *within_days* is the rule's own, not shorter."""
        raise NotImplementedError

    def merge(self, one: VelocityWindow, other: VelocityWindow) -> VelocityWindow:
        """Return both windows as one."""
        newer, older = (one, other) if one.day >= other.day else (other, one)
        return VelocityWindow(newer.day, self.merge_days(newer.days, older.days, newer.day - older.day))

    def count(self, held: VelocityWindow, within_days: int, today: int) -> int:
        """Formula 4: return what is counted within *within_days* days up to the day *today*."""
        window = within_days - (today - held.day)
        return 0 if window <= 0 else self.number(held.days, min(window, within_days), within_days)

    def bounds(self, steps: Steps, number: int, points: float) -> tuple[float, float]:
        """Return the least and most points that *steps* can give from now on, without new events.

        By time alone the number only falls, to nothing.
        """
        left = [worth for threshold, worth in steps if number >= threshold]
        return min(0.0, *left, 0.0), max(0.0, *left, 0.0)


class _Bitmap(VelocityKind):
    """Keeps a bitmap: bit i stands for a match i days before the latest one."""

    def __init__(self, kind: KindInGrids, *, additive: bool = True) -> None:
        super().__init__(kind, once_a_day=True, additive=additive)

    def match(self, day: int, data: dict[str, Any]) -> VelocityWindow | None:
        return VelocityWindow(day, b"\1")

    def merge_days(self, newer: bytes, older: bytes, back: int) -> bytes:
        bits = (int.from_bytes(newer, "little") | int.from_bytes(older, "little") << min(back, BITS_DAYS)) & _BITS_MASK
        return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


class _Days(_Bitmap):
    """Counts days with a match."""

    def number(self, days: bytes, window: int, within_days: int) -> int:
        bits = int.from_bytes(days, "little")
        return (bits & ((1 << window) - 1)).bit_count()


class _Rise(_Bitmap):
    """Counts days with a match, less those of the period before."""

    def number(self, days: bytes, window: int, within_days: int) -> int:
        bits = int.from_bytes(days, "little")
        whole = (1 << within_days) - 1
        return (bits & whole).bit_count() - ((bits >> within_days) & whole).bit_count()

    def bounds(self, steps: Steps, number: int, points: float) -> tuple[float, float]:
        return min(0.0, points), max(0.0, points)


class _Events(VelocityKind):
    """Counts matches. Keeps a number of 4 bytes for each day."""

    def match(self, day: int, data: dict[str, Any]) -> VelocityWindow | None:
        return VelocityWindow(day, b"\1\0\0\0")

    def merge_days(self, newer: bytes, older: bytes, back: int) -> bytes:
        shifted = [0] * min(back, EVENTS_DAYS) + day_counts(older)
        sums = [min(a + b, _MOST_EVENTS) for a, b in zip_longest(day_counts(newer), shifted, fillvalue=0)]
        return b"".join(count.to_bytes(4, "little") for count in sums[:EVENTS_DAYS])

    def number(self, days: bytes, window: int, within_days: int) -> int:
        return sum(day_counts(days)[:window])


class _Sessions(VelocityKind):
    """Counts sessions, each day's own. Keeps the marks of each day's sessions behind their number."""

    def match(self, day: int, data: dict[str, Any]) -> VelocityWindow | None:
        session = _session(data)
        return None if session is None else VelocityWindow(day, b"\1" + session)

    def merge_days(self, newer: bytes, older: bytes, back: int) -> bytes:
        days = zip_longest(day_sessions(newer), [b""] * min(back, SESSIONS_DAYS) + day_sessions(older), fillvalue=b"")
        unions = [_union(a, b) for a, b in days][:SESSIONS_DAYS]
        return b"".join(bytes((len(marks) // MARK_BYTES,)) + marks for marks in unions)

    def number(self, days: bytes, window: int, within_days: int) -> int:
        return sum(len(marks) // MARK_BYTES for marks in day_sessions(days)[:window])


class _Depth(VelocityKind):
    """Finds the session with the most matches. Keeps mark and number of each day's sessions behind how many there are."""

    def match(self, day: int, data: dict[str, Any]) -> VelocityWindow | None:
        session = _session(data)
        return None if session is None else VelocityWindow(day, b"\1" + session + b"\1")

    def merge_days(self, newer: bytes, older: bytes, back: int) -> bytes:
        days = zip_longest(day_depths(newer), [b""] * min(back, DEPTH_DAYS) + day_depths(older), fillvalue=b"")
        unions = [_deeper(a, b) for a, b in days][:DEPTH_DAYS]
        return b"".join(bytes((len(held) // _DEPTH_BYTES,)) + held for held in unions)

    def number(self, days: bytes, window: int, within_days: int) -> int:
        return max((max(held[MARK_BYTES::_DEPTH_BYTES]) for held in day_depths(days)[:window] if held), default=0)


KINDS: Final[dict[str, VelocityKind]] = {
    "days": _Days(IN_GRIDS["days"]),
    "sessions": _Sessions(IN_GRIDS["sessions"]),
    "events": _Events(IN_GRIDS["events"]),
    "rise": _Rise(IN_GRIDS["rise"], additive=False),
    "depth": _Depth(IN_GRIDS["depth"]),
}
"""By name, as in a grid's `count`."""


class VelocityRule:
    """How a velocity rule of the grid reads its window."""

    def __init__(self, rule: Velocity) -> None:
        self.id = rule.id
        self.kind = KINDS[rule.count]
        self.within_days = rule.within_days
        self.steps: Steps = rule.steps
        self.customs = customs_of(rule.on)
        self.known: dict[tuple[bytes, int], tuple[float, float, float]] = {}
        """What was read: (days, how long ago the last one was) → points, and the least and most that they can become."""

    def count(self, held: VelocityWindow, today: int) -> int:
        """Return what the rule counts on the day *today*."""
        return self.kind.count(held, self.within_days, today)

    def points(self, number: int) -> float:
        """Return the points of the highest step that *number* reaches."""
        step = self.step(number)
        return self.steps[step - 1][1] if step else 0.0

    def step(self, number: int) -> int:
        """Return the place of the highest step that *number* reaches, from 1 on; 0: it reaches none."""
        step = 0
        for threshold, _ in self.steps:
            if number < threshold:
                break
            step += 1
        return step

    def read(self, held: VelocityWindow, today: int) -> tuple[float, float, float]:
        """Return the rule's points on the day *today*, and the least and most that they can be from then on.

        It is remembered in `known`: most leads have few different days behind them.
        """
        number = self.count(held, today)
        points = self.points(number)
        low, high = self.kind.bounds(self.steps, number, points)
        if len(self.known) >= _MOST_READ:
            self.known.clear()
        found = self.known[held.days, today - held.day] = (points, low, high)
        return found


def _session(data: dict[str, Any]) -> bytes | None:
    """Return the mark of an event's session; `None` where it has none, or a blank one."""
    session = data.get("session_id")
    if session is None or (session.__class__ is str and is_blank(session)):
        return None
    return mark(as_text(session))


def _union(marks: bytes, more: bytes) -> bytes:
    """Add the marks of *more* that are not there yet, up to the most that a day counts."""
    for at in range(0, len(more), MARK_BYTES):
        mark_ = more[at : at + MARK_BYTES]
        if find(marks, mark_) < 0 and len(marks) < SESSIONS_A_DAY * MARK_BYTES:
            marks += mark_
    return marks


def _deeper(held: bytes, more: bytes) -> bytes:
    """Add up the matches of each session, of the first sessions that a day counts."""
    for at in range(0, len(more), _DEPTH_BYTES):
        place = find(held, more[at : at + MARK_BYTES], _DEPTH_BYTES)
        if place < 0:
            if len(held) < SESSIONS_A_DAY * _DEPTH_BYTES:
                held += more[at : at + _DEPTH_BYTES]
            continue
        number = place + MARK_BYTES
        held = held[:number] + bytes((min(held[number] + more[at + MARK_BYTES], MOST_DEPTH),)) + held[number + 1 :]
    return held


def day_counts(days: bytes) -> list[int]:
    """Return matching events a day, from the latest match's day backwards."""
    return [int.from_bytes(days[i : i + 4], "little") for i in range(0, len(days), 4)]


def day_sessions(days: bytes) -> list[bytes]:
    """Return the marks of each day's sessions, from the latest match's day backwards."""
    return _day_entries(days, MARK_BYTES)


def day_depths(days: bytes) -> list[bytes]:
    """Return the marks of each day's sessions, each with its number of matches, from the latest match's day backwards."""
    return _day_entries(days, _DEPTH_BYTES)


def _day_entries(days: bytes, width: int) -> list[bytes]:
    found = []
    at = 0
    while at < len(days):
        end = at + 1 + days[at] * width
        found.append(days[at + 1 : end])
        at = end
    return found
