"""Times of events: RFC 3339 texts as milliseconds since 1970, held to the clocks of Kafka and of the fetch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

MAX_AHEAD_MS: Final = 300_000
"""An event's `time` further than this past its record's Kafka timestamp is taken as that timestamp."""

NO_STAMP_MS: Final = 946_684_800_000
"""2000-01-01T00:00Z: an earlier Kafka timestamp is none. No record was written then, so its producer sets no clock."""

LAST_MS: Final = 253_370_764_800_000
"""9999-01-01T00:00Z: later instants are refused, so that what is counted from an event (days, deadlines) still has a date."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch

# The usual time is `2026-03-05T12:34:56.789Z`. Its parts are looked up, which takes a third of what parsing takes; what is not
# found here is parsed whole.
_MINUTES: Final = {f"{hour:02}:{minute:02}": (hour * 60 + minute) * 60_000 for hour in range(24) for minute in range(60)}
_SECONDS: Final = {f":{second:02}": second * 1000 for second in range(60)}
_FRACTIONS: Final = {"Z": 0} | {f".{ms:03}Z": ms for ms in range(1000)}


@lru_cache(maxsize=1 << 12)
def _day(text: str) -> int | None:
    """Return when the day of `YYYY-MM-DDT` begins, in milliseconds since 1970; `None` when the text is not that."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", text):
        return None
    try:
        return (datetime.fromisoformat(f"{text}00:00:00Z") - _EPOCH).days * 86_400_000
    except ValueError:
        return None


def stand_in(timestamp_ms: int | None, fetched_ms: int | None = None) -> int | None:
    """Return the instant of an event without `time`: its record's timestamp, held to the fetch.

    The answer is `None` where the record has no usable timestamp, one from 2000 to 9998.
    """
    if timestamp_ms is None or not NO_STAMP_MS <= timestamp_ms < LAST_MS:
        return None
    return fetched_ms if fetched_ms is not None and timestamp_ms > fetched_ms + MAX_AHEAD_MS else timestamp_ms


def instant(time: str, timestamp_ms: int | None = None, fetched_ms: int | None = None) -> int | None:
    """Return the milliseconds since 1970 of RFC 3339 *time*, floored and held to its record's timestamp, if any.

    *fetched_ms* holds it where the record's timestamp is missing, before 2000, or later than the fetch.
    No fetched event happened later. The answer is `None` for other texts, and outside of the years 1970 to 9998.
    """
    day = _day(time[:11])
    minutes = _MINUTES.get(time[11:16])
    seconds = _SECONDS.get(time[16:19])
    fraction = _FRACTIONS.get(time[19:])
    if day is None or minutes is None or seconds is None or fraction is None:
        parsed = _parsed(time)
        if parsed is None:
            return None
        at_ms = parsed
    else:
        at_ms = day + minutes + seconds + fraction
    if timestamp_ms is not None and at_ms > timestamp_ms + MAX_AHEAD_MS and timestamp_ms >= NO_STAMP_MS:
        at_ms = timestamp_ms
    if fetched_ms is not None and at_ms > fetched_ms + MAX_AHEAD_MS:
        at_ms = fetched_ms
    return at_ms if 0 <= at_ms < LAST_MS else None


def _parsed(time: str) -> int | None:
    """Return any RFC 3339 *time* in milliseconds since 1970, floored. A leap second (`:60`) has no such instant."""
    if _RFC3339(time) is None:
        return None
    try:  # reads more forms than RFC 3339 has, hence the line above; cuts the fraction off after microseconds, so never rounds
        at = datetime.fromisoformat(time.upper()) - _EPOCH
    except ValueError:
        return None
    return at.days * 86_400_000 + at.seconds * 1000 + at.microseconds // 1000
