"""Until when sales must respond: elapsed time, or elapsed time while they can be reached."""

from __future__ import annotations

from typing import Final

from worker.core.contract.instants import LAST_MS
from worker.core.grid.open_hours import weekday
from worker.core.grid.stage_models import Sla
from worker.core.scoring.calendar import DAY_MS, Calendar

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_NEVER_MS: Final = LAST_MS + 300 * DAY_MS
"""No deadline is later: it would have no date of four digits."""


class ResponseTime:
    """The grid's `sla`, in the grid's time zone (*calendar*)."""

    def __init__(self, sla: Sla, calendar: Calendar) -> None:
        hours = sla.hours
        self._within_ms = sla.within
        self._calendar = calendar
        self._round_the_clock = hours is None
        self._days = frozenset(() if hours is None else hours.days)
        self._off = frozenset(() if hours is None else hours.off)
        self._from_ms = 0 if hours is None else hours.from_ * _MINUTE_MS
        self._to_ms = 0 if hours is None else hours.to * _MINUTE_MS

    def ends_ms(self, at_ms: int) -> int:
        """Return the first instant by which the time has elapsed for a lead that was handed over at *at_ms*.

        Without hours that is wall time. With hours it counts only while the clock of the zone shows an open time. The instant
        at which they close is included. So a time that ends at closing does not end at the next opening.
        """
        if self._round_the_clock:
            return min(at_ms + self._within_ms, _NEVER_MS)
        left, now = self._within_ms, at_ms
        while now < _NEVER_MS:
            offset = self._calendar.offset_ms(now)
            day = (now + offset) // DAY_MS
            midnight = day * DAY_MS - offset
            end = self._steady_until_ms(now, midnight + DAY_MS)
            if weekday(day) in self._days and day not in self._off:
                opens = max(now, midnight + self._from_ms)
                closes = min(end, midnight + self._to_ms)
                if closes - opens >= left:
                    return opens + left
                left -= max(0, closes - opens)
            now = end
        return _NEVER_MS

    def _steady_until_ms(self, from_ms: int, to_ms: int) -> int:
        """Return the first instant in (*from_ms*, *to_ms*] at which the zone's offset changes; *to_ms* where it does not."""
        offset = self._calendar.offset_ms(from_ms)
        low = from_ms
        while low < to_ms:
            high = min(low + _HOUR_MS, to_ms)
            if self._calendar.offset_ms(high) != offset:
                while high - low > 1:
                    middle = (low + high) // 2
                    if self._calendar.offset_ms(middle) == offset:
                        low = middle
                    else:
                        high = middle
                return high
            low = high
        return to_ms
