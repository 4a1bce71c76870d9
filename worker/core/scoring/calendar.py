"""Calendar days of a time zone, as whole numbers: day 0 is 1970-01-01 there."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from worker.core.grid.tables import zone

DAY_MS: Final = 86_400_000
_BLOCK_MS: Final = 900_000
"""Nearly all changes of an offset since 1972 are on a quarter of an hour, so one look-up serves a block without a change."""
_MODERN_MS: Final = 63_072_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)
_CACHE_LIMIT: Final = 20_000


class Calendar:
    """Days and midnights of one time zone (an IANA name such as `Europe/Paris`)."""

    def __init__(self, timezone: str) -> None:
        self._zone = None if timezone == "UTC" else zone(timezone)
        self._offsets: dict[int, int] = {}
        self._midnights: dict[int, int] = {}

    def day(self, at_ms: int) -> int:
        """Return the calendar day on which the instant *at_ms* falls."""
        if self._zone is None:
            return at_ms // DAY_MS
        offset_ms = self._offsets.get(at_ms // _BLOCK_MS)  # of most instants: worth no call
        if offset_ms is None:
            offset_ms = self.offset_ms(at_ms)
        return (at_ms + offset_ms) // DAY_MS

    def next_day_ms(self, at_ms: int) -> int:
        """Return the first whole millisecond after *at_ms* that falls on another day."""
        if self._zone is None:
            return (at_ms // DAY_MS + 1) * DAY_MS
        block = at_ms // _BLOCK_MS
        found = self._midnights.get(block)
        if found is None:
            found = self._next_day_ms(at_ms)
            if found % _BLOCK_MS == 0:  # else midnight may lie within a block
                if len(self._midnights) >= _CACHE_LIMIT:
                    self._midnights.clear()
                self._midnights[block] = found
        return found

    def _next_day_ms(self, at_ms: int) -> int:
        local = at_ms + self.offset_ms(at_ms)
        guess = at_ms + DAY_MS - local % DAY_MS
        today = local // DAY_MS
        if self.day(guess) != today and self.day(guess - 1) == today:
            return guess
        # The offset changes on the way to midnight: the day is up to a few hours longer or shorter.
        low, high = at_ms, at_ms + 2 * DAY_MS
        while high - low > 1:
            middle = (low + high) // 2
            if self.day(middle) == today:
                low = middle
            else:
                high = middle
        return high

    def offset_ms(self, at_ms: int) -> int:
        """Return how far the zone's clock is ahead of UTC at the instant *at_ms*."""
        if self._zone is None:
            return 0
        if at_ms < _MODERN_MS:
            return self._look_up(at_ms)
        block = at_ms // _BLOCK_MS
        offset = self._offsets.get(block)
        if offset is None:
            if len(self._offsets) >= _CACHE_LIMIT:
                self._offsets.clear()
            offset = self._look_up(block * _BLOCK_MS)
            if self._look_up((block + 1) * _BLOCK_MS - 1) != offset:
                return self._look_up(at_ms)
            self._offsets[block] = offset
        return offset

    def _look_up(self, at_ms: int) -> int:
        offset = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(self._zone).utcoffset()
        return 0 if offset is None else int(offset / timedelta(milliseconds=1))


def rfc3339(at_ms: int) -> str:
    """Return the instant as RFC 3339 in UTC with milliseconds, as every output writes it."""
    day = at_ms // DAY_MS
    rest = at_ms - day * DAY_MS
    return f"{_date(day)}{_MINUTES[rest // 60_000]}{_SECONDS[rest // 1000 % 60]}{_FRACTIONS[rest % 1000]}"


@lru_cache(maxsize=4_096)
def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


_MINUTES: Final = [f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1_440)]
_SECONDS: Final = [f"{second:02d}" for second in range(60)]
_FRACTIONS: Final = [f".{ms:03d}Z" for ms in range(1_000)]
