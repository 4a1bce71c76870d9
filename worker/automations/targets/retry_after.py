"""How long a target asks to wait: `Retry-After`, in seconds or as a date."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from worker.automations.requests import Answer

_MOST_DIGITS: Final = 7


def retry_after_s(answer: Answer) -> float:
    """Return for how many seconds *answer* asks to wait; 0 where it does not say.

    A date counts from the answer's own `Date`, so that a wrong clock here changes nothing.
    """
    held = answer.headers.get("retry-after", "").strip()
    if held.isascii() and held.isdecimal() and len(held) <= _MOST_DIGITS:
        return float(held)
    until, now = _date(held), _date(answer.headers.get("date", ""))
    return max(0.0, (until - now).total_seconds()) if until and now else 0.0


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
