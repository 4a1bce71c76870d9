"""Values of a grid as they are written: durations, points, names, lists, and the words of each refusal.

Durations are whole milliseconds from here on. `None` stands for `none`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypeGuard

import idna
from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from worker.core.contract.event_types import INPUTS, KNOWN_TYPES, is_custom_in_grid
from worker.core.grid.conditions import OPERATORS, Where, WhereError, parse_where
from worker.core.grid.tables import zones
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.yaml_lines import Path

DAY_MS: Final = 86_400_000
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_MAX_MS: Final = 36_500 * DAY_MS
_MAX_POINTS: Final = 1e9
MAX_WITHIN_DAYS: Final = max(kind.limit_days for kind in KINDS.values())

EVENT_TYPES: Final = tuple(row.name for row in INPUTS if row.name in KNOWN_TYPES and row.name != "lead.erased")
"""The types a rule can be `on` beside `custom.NAME`: all but `lead.erased`, which leaves nothing to score."""


def wrong(message: str, at: Path = ()) -> PydanticCustomError:
    """Return the error for one mistake, *at* its place below the value."""
    return several([(at, message)])


def several(mistakes: list[tuple[Path, str]]) -> PydanticCustomError:
    """Return the error for several mistakes, each with its place below the value."""
    return PydanticCustomError("grid", "see mistakes", {"mistakes": mistakes})


def duration_ms(raw: object) -> int | None:
    """Return a duration as written (`30s 15m 4h 7d 2w`, `none`) in ms; `None` for `none`. Raises `ValueError`."""
    if raw == "none":
        return None
    found = re.fullmatch(r"([0-9]{1,12})([smhdw])", raw) if isinstance(raw, str) else None
    if found is None:
        raise ValueError(f"{shown(raw)} is no duration: write a whole number and a unit, as in 30s, 15m, 4h, 7d, 2w, or none")
    ms = int(found[1]) * _UNIT_MS[found[2]]
    if ms > _MAX_MS:
        raise ValueError(f"{raw} is longer than 36500d: write none if it has no end")
    return ms


def _duration(*, zero: bool, none: bool) -> Callable[[object], int | None]:
    def read(raw: object) -> int | None:
        try:
            ms = duration_ms(raw)
        except ValueError as err:
            raise wrong(str(err)) from None
        if ms is None and not none:
            raise wrong("`none` has no meaning here: write a duration, as in 14d")
        if ms == 0 and not zero:
            raise wrong(f"{raw} is no time at all: write a longer one, or leave the key out")
        return ms

    return read


def _quiet(raw: object) -> int:
    if raw == 0 and not isinstance(raw, bool):
        return 0
    return _duration(zero=True, none=True)(raw) or 0


def within_days(raw: object) -> int:
    """Return calendar days as written (`7d`, `2w`). Raises pydantic's error."""
    found = re.fullmatch(r"([0-9]{1,6})([dw])", raw) if isinstance(raw, str) else None
    days = int(found[1]) * (7 if found[2] == "w" else 1) if found else 0
    if not 1 <= days <= MAX_WITHIN_DAYS:
        raise wrong(f"within counts whole calendar days, 1d to {MAX_WITHIN_DAYS}d, as in 7d or 2w; got {shown(raw)}")
    return days


def _where(raw: object) -> Where:
    if isinstance(raw, Where):
        return raw
    try:
        return parse_where(raw)
    except WhereError as err:
        raise several(err.mistakes) from None


def _words(raw: object) -> object:
    """Return a list as a tuple, and a lone word as a tuple of one."""
    if isinstance(raw, (tuple, list)):
        if not raw:
            raise wrong("the list is empty: name at least one, or leave the key out")
        return tuple(raw)
    return (raw,) if isinstance(raw, str) else raw


def one_or_more(raw: object) -> object:
    """Return a list as a tuple, and a lone mapping as a tuple of one. Raises pydantic's error for an empty list."""
    if isinstance(raw, Mapping):
        return (raw,)
    return _words(raw) if isinstance(raw, (tuple, list)) else raw


def _event_type(name: str) -> str:
    if name in EVENT_TYPES or is_custom_in_grid(name):
        return name
    if name == "lead.erased":
        raise wrong("lead.erased leaves no lead to score: take it out")
    if name.startswith("custom"):
        raise wrong(
            f"{name!r} is no type of your own: write custom. and 1 to 64 of a-z, 0-9, _ and dots, as in custom.call.made, "
            "or custom.call.* for all below custom.call"
        )
    hint = did_you_mean(name, EVENT_TYPES) or f"; the types are {', '.join(EVENT_TYPES)} and custom.NAME"
    raise wrong(f"unknown event type {name!r}{hint}")


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise wrong(f"{', '.join(twice)} given twice: keep one")
    return names


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[^\s:/](?:[^:/]{0,98}[^\s:/])?", name) or not name.isprintable():
        raise wrong(f"{name!r} is no name: 1 to 100 printable characters, no `:` or `/`, no space at the ends")
    return name


def _trait_name(name: str) -> str:
    if not all(name.split(".")):
        raise wrong(f"{name!r} is no path: write names joined by dots, as in company.size")
    return name


def time_zone(name: str) -> str:
    """Return *name* if it is an IANA time zone. Raises pydantic's error."""
    if name not in zones():
        raise wrong(f"unknown time zone {name!r}{did_you_mean(name, zones())}: write an IANA name, as in Europe/Paris")
    return name


def data_path(name: str) -> str:
    """Return *name* if it can be a path in an event's data. Raises pydantic's error."""
    if not all(name.split(".")):
        raise wrong(f"{name!r}: write event, day, lead or a path in the event's data, as in session_id")
    return name


def _page_pattern(pattern: str) -> str:
    if pattern[:1] not in ("/", "*") or "?" in pattern or "#" in pattern:
        route = "; for paths in the fragment write `hash_routes: true` and leave the # out" if "#" in pattern else ""
        raise wrong(
            f"{pattern!r} can fit no url path: a path begins with / (or *) and has no host, ? or #, as in /pricing*{route}"
        )
    return pattern


def _domain(name: str) -> str:
    try:
        ascii_name = idna.encode(name.strip().removesuffix("."), uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        ascii_name = ""
    if "." not in ascii_name:
        raise wrong(f"{name!r} is no domain: write it without @ or *, as in orange.fr")
    return ascii_name


def _steps(raw: object) -> tuple[tuple[float, float], ...]:
    """Read `{3: 5, 5: 10}` into pairs (reached, points), ascending."""
    if not isinstance(raw, Mapping) or not raw:
        raise wrong(f"steps map a number reached to points, as in {{3: 5, 5: 10}}; got {shown(raw)}")
    pairs: list[tuple[float, float]] = []
    mistakes: list[tuple[Path, str]] = []
    for key, points in raw.items():
        reached = _number_of(key)
        if reached is None or reached <= 0:
            mistakes.append(((key,), f"{key!r} is no number to reach: write one above 0"))
        if not is_points(points):
            mistakes.append(((key,), points_message(points)))
        elif reached is not None:
            pairs.append((reached, float(points)))
    mistakes.extend(_twice(pairs))
    if mistakes:
        raise several(mistakes)
    return tuple(sorted(pairs))


def _bands(raw: object) -> tuple[tuple[str, float], ...]:
    """Read `{A: 35, B: 20, C: 0}` into pairs (name, floor), falling by floor."""
    if not isinstance(raw, Mapping) or not raw:
        raise wrong(f"bands map a name to its floor, as in {{A: 35, B: 20, C: 0}}; got {shown(raw)}")
    mistakes: list[tuple[Path, str]] = []
    pairs: list[tuple[float, str]] = []
    for name, floor in raw.items():
        if not re.fullmatch(r"\S{1,8}", name) or not name.isprintable():
            mistakes.append(((name,), f"{name!r} is no band: write a letter or a digit, as in A or 1"))
        if not is_points(floor):
            mistakes.append(((name,), points_message(floor)))
        else:
            pairs.append((float(floor), name))
    mistakes.extend(_twice(pairs))
    if mistakes:
        raise several(mistakes)
    return tuple((name, floor) for floor, name in sorted(pairs, reverse=True))


def _twice(pairs: list[tuple[float, Any]]) -> list[tuple[Path, str]]:
    twice = [number for number, count in Counter(number for number, _ in pairs).items() if count > 1]
    return [((), f"{number:g} is given twice: keep one") for number in twice]


def _number_of(text: str) -> float | None:
    """Return the number that a key of a mapping spells, an `int` when it is whole."""
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}\.[0-9]{1,9}", text) else None


def is_points(raw: object) -> TypeGuard[int | float]:
    """Return whether *raw* is a finite number within the bounds of points."""
    return isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw) and abs(raw) <= _MAX_POINTS


def points_message(raw: object) -> str:
    """Return what to write in place of *raw*, which is no number of points."""
    return f"write a number between -{_MAX_POINTS:.0e} and {_MAX_POINTS:.0e}, without quotes; got {shown(raw)}"


def _points(raw: object) -> float:
    if isinstance(raw, (int, float)) and is_points(raw):
        return float(raw)
    raise wrong(points_message(raw))


def above_zero(number: float) -> float:
    """Return a cap, which is above 0. Raises pydantic's error."""
    if number <= 0:
        raise wrong(f"{number:g} leaves nothing: a cap is a number above 0, compared with the sum without its sign")
    return number


def above_zero_step(number: float) -> float:
    """Return a step, which is above 0. Raises pydantic's error."""
    if number <= 0:
        raise wrong(f"{number:g} is no step: write a number above 0, as in 5")
    return number


def shown(raw: object) -> str:
    """Return how a message shows a value as written."""
    match raw:
        case None:
            return "null"
        case bool():
            return str(raw).lower()
        case Mapping():
            return "a mapping" if raw else "an empty mapping"
        case tuple() | list():
            return "a list" if raw else "an empty list"
        case _:
            return repr(raw) if len(repr(raw)) <= 80 else repr(raw)[:80] + "…"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the end of a message with the closest of *words*, empty where none is close."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


# --- as pydantic reads them, and as JSON Schema describes them ---------------------------------------------------------

_DURATION_PATTERN: Final = "^[0-9]+[smhdw]$"
_NOT_BLANK: Final[dict[str, Any]] = {"pattern": "\\S"}
_SCALAR_SCHEMA: Final[dict[str, Any]] = {"type": ["string", "number", "boolean"], **_NOT_BLANK}
_WORDS_SCHEMA: Final[dict[str, Any]] = {"type": "string", **_NOT_BLANK}
_LIST_SCHEMA: Final[dict[str, Any]] = {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1}
_OPERAND_SCHEMA: Final[dict[str, dict[str, Any]]] = {
    "eq": _SCALAR_SCHEMA,
    "not": {"anyOf": [_SCALAR_SCHEMA, _LIST_SCHEMA]},
    "in": _LIST_SCHEMA,
    "words": {"anyOf": [_WORDS_SCHEMA, {"type": "array", "items": _WORDS_SCHEMA, "minItems": 1}]},
    "matches": {"type": "string", "format": "regex", **_NOT_BLANK},
    "exists": {"type": "boolean"},
} | {op: {"type": ["string", "number"], **_NOT_BLANK} for op in ("gt", "gte", "lt", "lte")}
_WHERE_SCHEMA: Final[dict[str, Any]] = {
    "description": "Path → value, list (any of) or operators. All must hold.",
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [
            _SCALAR_SCHEMA,
            _LIST_SCHEMA,
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {op: _OPERAND_SCHEMA[op] for op in OPERATORS},
            },
        ]
    },
}
_NUMBERS_SCHEMA: Final[dict[str, Any]] = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "number"}}


def _word_or_list(items: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [items, {"type": "array", "items": items, "minItems": 1}]}


_DURATION_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": _DURATION_PATTERN}
_DURATION_OR_NONE_SCHEMA: Final[dict[str, Any]] = {"anyOf": [_DURATION_SCHEMA, {"const": "none"}]}

_CUSTOM_PATTERN: Final = "^custom(\\.[a-z0-9_.]{1,64}|(\\.[a-z0-9_.]{1,64})?\\.\\*)$"

Points = Annotated[float, BeforeValidator(_points), WithJsonSchema({"type": "number"})]
Identifier = Annotated[str, AfterValidator(_identifier)]
Duration = Annotated[int, BeforeValidator(_duration(zero=False, none=False)), WithJsonSchema(_DURATION_SCHEMA)]
DurationFromZero = Annotated[int, BeforeValidator(_duration(zero=True, none=False)), WithJsonSchema(_DURATION_SCHEMA)]
DurationOrNone = Annotated[
    int | None, BeforeValidator(_duration(zero=False, none=True)), WithJsonSchema(_DURATION_OR_NONE_SCHEMA)
]
Quiet = Annotated[int, BeforeValidator(_quiet), WithJsonSchema({"anyOf": [_DURATION_SCHEMA, {"enum": ["none", 0]}]})]
WithinDays = Annotated[int, BeforeValidator(within_days), WithJsonSchema({"type": "string", "pattern": "^[0-9]+[dw]$"})]
Conditions = Annotated[Where, PlainValidator(_where), WithJsonSchema(_WHERE_SCHEMA)]
EventTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_event_type)], ...],
    BeforeValidator(_words),
    AfterValidator(_distinct),
    WithJsonSchema(_word_or_list({"anyOf": [{"enum": list(EVENT_TYPES)}, {"type": "string", "pattern": _CUSTOM_PATTERN}]})),
]
PagePatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_page_pattern)], ...],
    BeforeValidator(_words),
    WithJsonSchema(_word_or_list({"type": "string", "pattern": "^[/*][^?#]*$"})),
]
TraitNames = Annotated[
    tuple[Annotated[str, AfterValidator(_trait_name)], ...],
    BeforeValidator(_words),
    AfterValidator(_distinct),
    WithJsonSchema(_word_or_list({"type": "string"})),
]
Steps = Annotated[
    tuple[tuple[float, float], ...],
    PlainValidator(_steps),
    WithJsonSchema({**_NUMBERS_SCHEMA, "propertyNames": {"pattern": "^[0-9]+(\\.[0-9]+)?$"}}),
]
Bands = Annotated[
    tuple[tuple[str, float], ...],
    PlainValidator(_bands),
    WithJsonSchema({**_NUMBERS_SCHEMA, "propertyNames": {"pattern": "^\\S{1,8}$"}}),
]
Domains = Annotated[
    tuple[Annotated[str, AfterValidator(_domain)], ...],
    BeforeValidator(_words),
    AfterValidator(_distinct),
    WithJsonSchema(_word_or_list({"type": "string", "format": "hostname"})),
]
