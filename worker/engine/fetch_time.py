"""The time at which records are fetched. A worker's clock that is behind the brokers' is corrected."""

from __future__ import annotations

import time


class FetchTime:
    """The worker's clock, but never behind the brokers' clock as far as it is known.

    It limits an event's `time` if the record has no usable timestamp. A worker whose clock is a year behind must not move all
    events into the year before.
    """

    def __init__(self) -> None:
        self._shown_ms = 0
        self._shown_s = 0.0

    def saw(self, appended_ms: int | None) -> None:
        """Note that the brokers appended a record at *appended_ms*, by their clock."""
        if appended_ms is not None and appended_ms > self._brokers_ms():
            self._shown_ms, self._shown_s = appended_ms, time.monotonic()

    def now_ms(self, clock_ms: int | None) -> int:
        """Return the time of a fetch; the partition's last tick was at *clock_ms*."""
        return max(int(time.time() * 1000), self._brokers_ms(), clock_ms or 0)

    def _brokers_ms(self) -> int:
        return self._shown_ms + int((time.monotonic() - self._shown_s) * 1000) if self._shown_ms else 0
