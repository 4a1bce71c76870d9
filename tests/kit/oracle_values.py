"""Instants, days, conditions and limits, as the oracle understands them from the contract alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

ALLOWANCE = 1e-9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MISSING = object()


def instant(text: str) -> int:
    """Return the RFC 3339 *text* in whole milliseconds, rounded down."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def rfc3339(ms: int) -> str:
    """Return the instant *ms* as RFC 3339 in UTC, to the millisecond."""
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(text: Any) -> int | None:
    """Return a grid's duration in milliseconds; `None` for `none` or nothing."""
    if text is None or text == "none":
        return None
    return int(text[:-1]) * {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}[text[-1]]


def days_of(text: str) -> int:
    """Return how many calendar days a `within` counts."""
    return int(text[:-1]) * {"d": 1, "w": 7}[text[-1]]


@lru_cache(maxsize=1 << 16)
def day(ms: int, zone: str) -> int:
    """Return the number of the calendar day of *zone* that *ms* falls on."""
    return (EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone)).toordinal()


@lru_cache(maxsize=1 << 14)
def borders(utc_day: int, zone: str) -> tuple[int, ...]:
    """Return the instants of one UTC day at which the date in *zone* changes (offsets are multiples of 15 minutes)."""
    quarters = range(utc_day * 86_400_000, (utc_day + 1) * 86_400_000, 900_000)
    return tuple(q for q in quarters if day(q, zone) != day(q - 1, zone))


def as_list(value: Any) -> list[Any]:
    """Return *value* as a list: itself, or alone in one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def same(a: Any, b: Any) -> bool:
    """Tell whether two JSON values are equal as JSON has it: `true` is not 1, `"80"` is not 80."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def ordered(a: Any, b: Any, holds: Callable[[Any, Any], bool]) -> bool:
    """Compare two numbers or two strings; anything else does not compare."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return (numbers or (isinstance(a, str) and isinstance(b, str))) and holds(a, b)


def condition(wanted: Any, got: Any) -> bool:
    """Tell whether the value *got* (or `MISSING`) satisfies one condition of a `where`."""
    if not isinstance(wanted, Mapping):
        return got is not MISSING and any(same(w, got) for w in as_list(wanted))
    if got is MISSING:
        return all(op == "exists" and not arg for op, arg in wanted.items())
    tests: dict[str, Callable[[Any], bool]] = {
        "exists": bool,
        "eq": lambda arg: same(arg, got),
        "not": lambda arg: not any(same(a, got) for a in as_list(arg)),
        "in": lambda arg: any(same(a, got) for a in as_list(arg)),
        "gt": lambda arg: ordered(got, arg, lambda x, y: x > y),
        "gte": lambda arg: ordered(got, arg, lambda x, y: x >= y),
        "lt": lambda arg: ordered(got, arg, lambda x, y: x < y),
        "lte": lambda arg: ordered(got, arg, lambda x, y: x <= y),
        "matches": lambda arg: isinstance(got, str) and re.search(arg, got) is not None,
    }
    return all(tests[op](arg) for op, arg in wanted.items())


def in_data(data: Any, path: str) -> Any:
    """Return what is at the dotted *path* of an event's data; `null` is as good as missing."""
    for name in path.split("."):
        if not isinstance(data, Mapping) or data.get(name) is None:
            return MISSING
        data = data[name]
    return data


def as_text(value: Any) -> str:
    """Return a value of a `once_per` path as the string that it is compared by."""
    return value if isinstance(value, str) else json.dumps(value)


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted path of *tree* with its leaf."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def clamp(value: float, limits: Mapping[str, Any]) -> float:
    """Return *value* held between `min` and `max`, where there are any."""
    low, high = limits.get("min"), limits.get("max")
    value = value if high is None else min(value, high)
    return value if low is None else max(value, low)
