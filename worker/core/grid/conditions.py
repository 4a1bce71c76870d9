"""Conditions on an event's data or on a lead's traits: a rule's `where`.

`parse_where` reads what the grid's author wrote, `compile_where` turns it into one fast function.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

Scalar = str | int | float | bool
Path = tuple[str | int, ...]
Predicate = Callable[[Mapping[str, Any]], bool]

MATCHED_CHARS: Final = 4_096
"""`matches` looks at so many characters: a pattern that begins with `.*` needs the square of that in steps."""

_REMEMBERED_CHARS: Final = 64
"""The answers for shorter texts are remembered: roles and industries come again, free text does not."""

OPERATORS: Final = ("eq", "not", "in", "gt", "gte", "lt", "lte", "matches", "exists")


class Condition(NamedTuple):
    """One thing asked of the value at a path.

    *value* is a tuple for `in` (any of) and `not` (none of), and a bool for `exists`. For the orders it is a number or a
    string, for `matches` a regular expression, and for `eq` any scalar.
    """

    path: str
    op: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions that must all hold, in the order they were written."""

    conditions: tuple[Condition, ...]


class WhereError(ValueError):
    """All mistakes in a `where` as written, each with its place inside it."""

    def __init__(self, mistakes: list[tuple[Path, str]]) -> None:
        super().__init__("; ".join(message for _, message in mistakes))
        self.mistakes = mistakes


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_where(raw: object) -> Where:
    """Read a `where` as written: a mapping of path → value, list of values, or operators.

    Raises `WhereError` with every mistake at once.
    """
    if not isinstance(raw, Mapping):
        raise WhereError([((), f"where must map paths to values, as in {{country: [FR, BE]}}; got {_show(raw)}")])
    if not raw:
        raise WhereError([((), "where is empty: name at least one path, or leave `where` out")])
    conditions: list[Condition] = []
    mistakes: list[tuple[Path, str]] = []
    for path, written in raw.items():
        if not all(path.split(".")):
            mistakes.append(((path,), f"{path!r} is no path: write names joined by dots, as in company.size"))
        else:
            _parse_conditions(path, written, conditions, mistakes)
    if mistakes:
        raise WhereError(mistakes)
    return Where(tuple(conditions))


def _parse_conditions(path: str, written: object, conditions: list[Condition], mistakes: list[tuple[Path, str]]) -> None:
    if not isinstance(written, Mapping):
        op = "in" if isinstance(written, (list, tuple)) else "eq"
        value, wrong = _operand(op, written)
        mistakes.extend(((path, *at), message) for at, message in wrong)
        conditions.append(Condition(path, op, value))
        return
    if not written:
        mistakes.append(((path,), f"no operator: write a value, a list or one of {', '.join(OPERATORS)}"))
    for op, operand in written.items():
        if op not in OPERATORS:
            close = difflib.get_close_matches(op, OPERATORS, n=1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            hint = " (a path inside an object is written with dots, as in company.size)" if isinstance(operand, Mapping) else ""
            mistakes.append(((path, op), f"unknown operator {op!r}{meant}: use one of {', '.join(OPERATORS)}{hint}"))
            continue
        value, wrong = _operand(op, operand)
        mistakes.extend(((path, op, *at), message) for at, message in wrong)
        conditions.append(Condition(path, op, value))
    if written.get("exists") is False and len(written) > 1:
        mistakes.append(((path,), "`exists: false` beside other operators never holds: a missing path satisfies nothing else"))


_Operand = tuple[Scalar | tuple[Scalar, ...], list[tuple[Path, str]]]
"""An operand and the mistakes in it. With mistakes, the value has no meaning."""


def _operand(op: str, raw: object) -> _Operand:
    if op == "exists":
        return (raw, []) if isinstance(raw, bool) else ("", [((), f"exists takes true or false; got {_show(raw)}")])
    if op == "matches":
        return _pattern(raw)
    if op in ("gt", "gte", "lt", "lte"):
        return _limit(op, raw)
    return _equal(op, raw)


def _pattern(raw: object) -> _Operand:
    if not isinstance(raw, str):
        return "", [((), f"matches takes a regular expression in quotes; got {_show(raw)}")]
    try:
        re.compile(raw)
    except (re.error, OverflowError, RecursionError) as err:
        return "", [((), f"the regular expression {raw!r} does not compile: {err}")]
    return raw, []


def _limit(op: str, raw: object) -> _Operand:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return "", [((), f"{op} takes a number or a string; got {_show(raw)}")]
    wrong = _not_scalar(raw)
    return raw, [((), wrong)] if wrong else []


def _equal(op: str, raw: object) -> _Operand:
    if isinstance(raw, (list, tuple)) and op in ("in", "not"):
        if not raw:
            return "", [((), "the list is empty: name at least one value")]
        mistakes: list[tuple[Path, str]] = [((i,), wrong) for i, value in enumerate(raw) if (wrong := _not_scalar(value))]
        return tuple(raw), mistakes
    if op == "in":
        return "", [((), f"in takes a list, as in {{in: [FR, BE]}}; got {_show(raw)}")]
    if isinstance(raw, (list, tuple)):
        return "", [((), "eq takes one value; for any of several write {in: [..]}")]
    wrong = _not_scalar(raw)
    if wrong:
        return "", [((), wrong)]
    assert isinstance(raw, (str, int, float, bool))
    return (raw,) if op == "not" else raw, []


def _not_scalar(value: object) -> str | None:
    if value is None:
        return "null equals nothing: to ask that a path is missing write {exists: false}, that it is there {exists: true}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_show(value)} is no number that an event can hold"
    if not isinstance(value, (str, int, float, bool)):
        return f"a value is a string, a number, true or false; got {_show(value)}"
    return None


def _show(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return repr(value)


# --- asking ----------------------------------------------------------------------------------------------------------


def compile_where(where: Where, *, flat: bool) -> Predicate:
    """Return the function that answers whether *where* holds.

    With *flat*, the mapping's keys are whole dotted paths, as traits have them. Without it, paths lead through nested objects,
    as in an event's `data`. A missing path and a `null` satisfy only `exists: false`. Equality is JSON's: `true` is not 1,
    "80" is not 80, and 1 is 1.0. Orders need two numbers or two strings. `matches` is `re.search` on a string.
    """
    by_path: dict[str, list[Condition]] = {}
    for condition in where.conditions:
        by_path.setdefault(condition.path, []).append(condition)
    parts = [_at_path((path,) if flat else tuple(path.split(".")), conditions) for path, conditions in by_path.items()]
    return _all_of(parts)


def _all_of(asks: list[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    """Join questions into one that holds when all do. Nested pairs are faster than a loop, and most have one or two."""
    first, *rest = asks
    if not rest:
        return first
    others = _all_of(rest)
    return lambda value: first(value) and others(value)


def _at_path(keys: tuple[str, ...], conditions: list[Condition]) -> Predicate:
    if len(keys) == 1 and len(conditions) == 1 and (about_text := _about_text(keys[0], conditions[0])) is not None:
        return about_text
    missing = all(condition.op == "exists" and condition.value is False for condition in conditions)
    ask = _all_of([_ask(condition) for condition in conditions])
    top, *below = keys
    if not below:

        def at_key(data: Mapping[str, Any]) -> bool:
            value = data.get(top)
            return missing if value is None else ask(value)

        return at_key

    def at_path(data: Mapping[str, Any]) -> bool:
        value = data.get(top)
        for key in below:
            if not isinstance(value, dict):
                return missing
            value = value.get(key)
        return missing if value is None else ask(value)

    return at_path


def _about_text(key: str, condition: Condition) -> Predicate | None:
    """Return the question of *condition* in a single call, if it is about text, as most are. A missing value is `None`."""
    value = condition.value
    if condition.op == "matches":
        search = re.compile(str(value)).search
        remembered = lru_cache(maxsize=512)(search)

        def matches(data: Mapping[str, Any]) -> bool:
            text = data.get(key)
            if not isinstance(text, str):
                return False
            return (remembered(text) if len(text) <= _REMEMBERED_CHARS else search(text[:MATCHED_CHARS])) is not None

        return matches
    if condition.op == "eq" and isinstance(value, str):
        return lambda data: data.get(key) == value
    if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
        return None
    among = frozenset(value)
    if condition.op == "in":
        return lambda data: isinstance(text := data.get(key), str) and text in among
    if condition.op == "not":
        return lambda data: (text := data.get(key)) is not None and not (isinstance(text, str) and text in among)
    return None


def _ask(condition: Condition) -> Callable[[Any], bool]:
    """Return the question that *condition* asks of a value that is there."""
    wanted: Any = condition.value
    match condition.op:
        case "eq":
            return _one_of((wanted,))
        case "in":
            return _one_of(wanted)
        case "not":
            among = _one_of(wanted)
            return lambda value: not among(value)
        case "exists":
            return lambda value: bool(wanted)
        case "matches":
            search = re.compile(wanted).search
            return lambda value: isinstance(value, str) and search(value[:MATCHED_CHARS]) is not None
        case op:
            return _order(op, wanted)


def _one_of(wanted: tuple[Scalar, ...]) -> Callable[[Any], bool]:
    # Python says True == 1 and hash(True) == hash(1); JSON does not, so booleans are kept apart.
    plain = frozenset(value for value in wanted if not isinstance(value, bool))
    flags = frozenset(value for value in wanted if isinstance(value, bool))

    def among(value: Any) -> bool:
        if isinstance(value, bool):
            return value in flags
        return isinstance(value, (str, int, float)) and value in plain

    return among


def _order(op: str, wanted: Any) -> Callable[[Any], bool]:
    # By exact class, as JSON decodes: a bool is an int to `isinstance`, and no number here.
    kinds = frozenset({str} if isinstance(wanted, str) else {int, float})
    match op:
        case "gt":
            return lambda value: value.__class__ in kinds and value > wanted
        case "gte":
            return lambda value: value.__class__ in kinds and value >= wanted
        case "lt":
            return lambda value: value.__class__ in kinds and value < wanted
        case "lte":
            return lambda value: value.__class__ in kinds and value <= wanted
        case _:
            raise ValueError(f"unknown operator {op!r}: use one of {', '.join(OPERATORS)}")
