"""Open hours as they are written: days of the week, times of the day, and dates."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from worker.core.grid.values import shown, wrong

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALL_DAY: Final = 24 * 60
"""Minutes of a day, and the `24:00` at which it ends."""
_MOST_OFF: Final = 1_000
_LONGEST_BREAK_DAYS: Final = 366
_EPOCH: Final = date(1970, 1, 1).toordinal()


def weekday(day: int) -> int:
    """Return the day of the week, 0 is Monday, of a day counted from 1970-01-01, a Thursday."""
    return (day + 3) % 7


def has_long_break(days: tuple[int, ...], off: tuple[int, ...]) -> bool:
    """Return whether *off*, rising, leaves no open day for more than a year somewhere. *days* are the open days of a week."""
    closed = set(off)
    for day in off:
        if weekday(day) not in days:
            continue
        before = _neighbour(days, day, -1)
        if before in closed:
            continue  # told at the first day of the break
        after = day
        while after in closed:
            after = _neighbour(days, after, 1)
        if after - before > _LONGEST_BREAK_DAYS:
            return True
    return False


def _neighbour(days: tuple[int, ...], day: int, step: int) -> int:
    """Return the next day of the week that is open as a rule, or the one before (*step* is -1)."""
    day += step
    while weekday(day) not in days:
        day += step
    return day


def _weekday(name: str) -> int:
    if name in DAYS:
        return DAYS.index(name)
    meant = next((day for day in DAYS if day[:2] == name[:2].casefold()), None)  # nearness alone takes `lun` for `sun`
    hint = f", did you mean {meant!r}?" if meant else ""
    raise wrong(f"{shown(name)} is no day of the week{hint}; the days are {', '.join(DAYS)}")


def _weekdays(raw: object) -> tuple[int, ...]:
    """Read `mon-fri`, `sat`, or a list of such, into days of the week, rising."""
    items = raw if isinstance(raw, (tuple, list)) else (raw,)
    found: set[int] = set()
    for item in items:
        if not isinstance(item, str):
            raise wrong(f"write days of the week, as in mon-fri or [mon, wed, fri]; got {shown(item)}")
        first, dash, last = (part.strip() for part in item.partition("-"))
        begin = _weekday(first)
        length = (_weekday(last) - begin) % 7 if dash else 0  # a range may go over Sunday
        found.update((begin + more) % 7 for more in range(length + 1))
    if not found:
        raise wrong("the list is empty: name at least one day, as in mon-fri")
    return tuple(sorted(found))


def _minutes(raw: object) -> int:
    """Read `09:00` into minutes since midnight."""
    found = re.fullmatch(r"([0-9]{1,2}):([0-5][0-9])", raw) if isinstance(raw, str) else None
    minutes = int(found[1]) * 60 + int(found[2]) if found else ALL_DAY + 1
    if minutes > ALL_DAY:
        raise wrong(f'{shown(raw)} is no time of the day: write hours and minutes, as in "09:00" or "24:00"')
    return minutes


def _dates(raw: object) -> tuple[int, ...]:
    """Read dates into days since 1970-01-01, rising."""
    items = raw if isinstance(raw, (tuple, list)) else (raw,)
    if len(items) > _MOST_OFF:
        raise wrong(f"{len(items):,} dates are more than the {_MOST_OFF:,} that a grid takes: leave out those that have passed")
    return tuple(sorted({_date(item) for item in items}))


def _date(raw: object) -> int:
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", raw):
        try:
            return date.fromisoformat(raw).toordinal() - _EPOCH
        except ValueError:
            pass
    raise wrong(f"{shown(raw)} is no date: write year, month and day, as in 2026-12-25")


def time_words(minutes: int) -> str:
    """Return a time of the day as it is written: `09:00`."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def date_words(day: int) -> str:
    """Return a day as it is written: `2026-12-25`."""
    return date.fromordinal(day + _EPOCH).isoformat()


def days_words(days: tuple[int, ...]) -> str:
    """Return days of the week as people write them: `mon-fri`, `mon, wed-thu`."""
    parts: list[list[int]] = []
    for day in days:
        if parts and parts[-1][-1] == day - 1:
            parts[-1].append(day)
        else:
            parts.append([day])
    return ", ".join(DAYS[part[0]] if len(part) == 1 else f"{DAYS[part[0]]}-{DAYS[part[-1]]}" for part in parts)


_DAY: Final = f"({'|'.join(DAYS)})"
_DAYS_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": f"^ *{_DAY}( *- *{_DAY})? *$"}
_DATE_SCHEMA: Final[dict[str, Any]] = {"type": "string", "format": "date"}


def _one_or_more(schema: dict[str, Any], least: int) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": least}]}


Weekdays = Annotated[tuple[int, ...], PlainValidator(_weekdays), WithJsonSchema(_one_or_more(_DAYS_SCHEMA, 1))]
TimeOfDay = Annotated[
    int, PlainValidator(_minutes), WithJsonSchema({"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$|^24:00$"})
]
Dates = Annotated[tuple[int, ...], PlainValidator(_dates), WithJsonSchema(_one_or_more(_DATE_SCHEMA, 0))]
