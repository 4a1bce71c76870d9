"""Instants, days, conditions and limits, as the oracle understands them from the contract alone."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import idna

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


def is_blank(value: Any) -> bool:
    """Tell whether *value* is a text that is empty or white space only: a missing value."""
    return isinstance(value, str) and not value.strip()


def scalars(value: Any) -> list[Any]:
    """Return the scalars of a value or list, at most 64. A missing value and an object have none."""
    if value is None or value is MISSING or isinstance(value, Mapping):
        return []
    members = [one for one in as_list(value) if one is not None and not is_blank(one)]
    return [] if len(members) > 64 or any(isinstance(one, list | Mapping) for one in members) else members


def is_there(value: Any) -> bool:
    """Tell whether a value exists: an object does if something below it does."""
    return any(map(is_there, value.values())) if isinstance(value, Mapping) else bool(scalars(value))


def number(value: Any) -> float | None:
    """Return the number that a value is or spells."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if len(text) <= 32 and re.fullmatch(r"-?[0-9]+([.][0-9]+)?", text) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def same(wanted: Any, got: Any) -> bool:
    """Tell whether a scalar is the grid's value. `true` is not 1, and a text may spell the grid's number."""
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    return bool(wanted == (got if isinstance(wanted, str) else number(got)))


def ordered(got: Any, wanted: Any, holds: Callable[[Any, Any], bool]) -> bool:
    """Compare two numbers or two texts; anything else does not compare."""
    if isinstance(wanted, str):
        return isinstance(got, str) and holds(got, wanted)
    found = number(got)
    return found is not None and holds(found, wanted)


def words(text: str) -> str:
    """Return a text's words with a space around each."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c)[0] != "M")
    return " " + " ".join(re.findall(r"\w+", plain.casefold())) + " "


TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "in": lambda arg, got: any(same(a, got) for a in arg),
    "gt": lambda arg, got: ordered(got, arg, lambda x, y: x > y),
    "gte": lambda arg, got: ordered(got, arg, lambda x, y: x >= y),
    "lt": lambda arg, got: ordered(got, arg, lambda x, y: x < y),
    "lte": lambda arg, got: ordered(got, arg, lambda x, y: x <= y),
    "matches": lambda arg, got: isinstance(got, str) and re.search(arg, got) is not None,
    "words": lambda arg, got: isinstance(got, str) and any(words(a) in words(got) for a in as_list(arg)),
}
"""What one scalar must meet, by operator."""


def condition(wanted: Any, got: Any) -> bool:
    """Tell whether the value *got* (or `MISSING`) satisfies one condition of a `where`."""
    if not isinstance(wanted, Mapping):
        wanted = {"in": as_list(wanted)}
    if not is_there(got):
        return all(op == "exists" and not arg for op, arg in wanted.items())
    one = {op: arg for op, arg in wanted.items() if op in TESTS}
    return (
        (not one or any(all(TESTS[op](arg, element) for op, arg in one.items()) for element in scalars(got)))
        and bool(wanted.get("exists", True))
        and not any(same(arg, element) for arg in as_list(wanted.get("not", [])) for element in scalars(got))
    )


def in_data(data: Any, path: str) -> Any:
    """Return what is at the dotted *path* of an event's data; `null`, a blank text and an empty list are missing values.

    So is a list that is too long, or that holds objects.
    """
    for name in path.split("."):
        data = data.get(name) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) or scalars(data) else MISSING


def in_traits(traits: Mapping[str, Any], path: str) -> Any:
    """Return the trait at *path*, or the object that the traits below it make."""
    return traits[path] if path in traits else {name: leaf for name, leaf in traits.items() if name.startswith(path + ".")}


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


def domain(text: str) -> str:
    """Return a domain in lower case, and in ASCII where IDNA can write it so."""
    try:
        return idna.encode(text.lower(), uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return text.lower()


def email(text: str) -> str:
    """Return an address as it is compared: trimmed, its domain in one form."""
    local, at, rest = text.strip().rpartition("@")
    return local + at + domain(rest) if at else rest


def company_domain(text: str) -> str:
    """Return a company's domain, without what an address of a page has beside it."""
    host = re.split(r"[/?#]", re.sub(r"^[a-zA-Z]+://", "", text.strip()))[0]
    return re.sub(r"^www[.]|[.]$", "", domain(host.rpartition("@")[2].partition(":")[0]))


FORMS: Mapping[str, Callable[[str], str]] = {
    "email": email,
    "email_domain": lambda text: domain(text.strip().rpartition("@")[2]),
    "company.domain": company_domain,
}
"""How a trait is written before it is compared, and the grid's values for it with it."""


def normal(path: str, value: Any) -> Any:
    """Return the value of a trait, or the grid's values for it, in the form in which they are compared."""
    form = FORMS.get(path)
    if isinstance(value, Mapping):
        return {op: arg if op in ("matches", "words") else normal(path, arg) for op, arg in value.items()}
    if isinstance(value, list | tuple):
        return [normal(path, one) for one in value]
    return form(value) if form is not None and isinstance(value, str) else value


def unescaped(text: str) -> str:
    """Return a path with its escapes decoded once; `%2F` stays. Paths of ours hold valid UTF-8 alone."""
    return "%2F".join(map(unquote, re.split("%2[Ff]", text)))


def clamp(value: float, limits: Mapping[str, Any]) -> float:
    """Return *value* held between `min` and `max`, where there are any."""
    low, high = limits.get("min"), limits.get("max")
    value = value if high is None else min(value, high)
    return value if low is None else max(value, low)
