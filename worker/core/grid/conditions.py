"""Conditions on an event's data or on a lead's traits: a rule's `where`, as the grid's author wrote it.

`worker.core.grid.predicates` turns them into one fast function.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from worker.core.grid.phrases import says_something
from worker.core.grid.scalars import is_blank

Scalar = str | int | float | bool
Path = tuple[str | int, ...]

OPERATORS: Final = ("eq", "not", "in", "gt", "gte", "lt", "lte", "words", "matches", "exists")

_MEANT: Final = {
    "or": "for any of several values write a list, as in [FR, BE]; for any of several paths write two rules",
    "and": "all operators of a path must hold, and all paths of a `where`: write them side by side",
    "contains": "write words: [..] for whole words, or matches: '..' for a part of a text; "
    "a list holds an element if you write the element alone",
}
"""Words that look like operators, and what says what they are meant to say."""

_SYNONYMS: Final = {
    "any": "or", "any_of": "or", "one_of": "or", "all": "and", "all_of": "and",
    "contain": "contains", "includes": "contains", "include": "contains", "has": "contains", "like": "contains",
}  # fmt: skip


class Condition(NamedTuple):
    """One thing asked of the value at a path.

    *value* is a tuple for `in` (any of), `not` (none of) and `words` (any of), and a bool for `exists`. For the orders it is a
    number or a string, for `matches` a regular expression, and for `eq` any scalar.
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
    meant = _meant(path)
    if meant and isinstance(written, (list, tuple)) and any(isinstance(part, Mapping) for part in written):
        mistakes.append(((path,), f"{path!r} is no operator: {meant}"))
        return
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
            mistakes.append(((path, op), _unknown_operator(op, operand)))
            continue
        value, wrong = _operand(op, operand)
        mistakes.extend(((path, op, *at), message) for at, message in wrong)
        conditions.append(Condition(path, op, value))
    if written.get("exists") is False and len(written) > 1:
        mistakes.append(((path,), "`exists: false` beside other operators never holds: a missing path satisfies nothing else"))


def _meant(word: str) -> str | None:
    lower = word.lower()
    return _MEANT.get(_SYNONYMS.get(lower, lower))


def _unknown_operator(op: str, operand: object) -> str:
    meant = _meant(op)
    if meant:
        return f"unknown operator {op!r}: {meant}"
    close = difflib.get_close_matches(op, OPERATORS, n=1)
    near = f", did you mean {close[0]!r}?" if close else ""
    hint = " (a path inside an object is written with dots, as in company.size)" if isinstance(operand, Mapping) else ""
    return f"unknown operator {op!r}{near}: use one of {', '.join(OPERATORS)}{hint}"


_Operand = tuple[Scalar | tuple[Scalar, ...], list[tuple[Path, str]]]
"""An operand and the mistakes in it. With mistakes, the value has no meaning."""


def _operand(op: str, raw: object) -> _Operand:
    if op == "exists":
        return (raw, []) if isinstance(raw, bool) else ("", [((), f"exists takes true or false; got {_show(raw)}")])
    if op == "matches":
        return _pattern(raw)
    if op == "words":
        return _phrases(raw)
    if op in ("gt", "gte", "lt", "lte"):
        return _limit(op, raw)
    return _equal(op, raw)


def _pattern(raw: object) -> _Operand:
    if not isinstance(raw, str):
        return "", [((), f"matches takes a regular expression in quotes; got {_show(raw)}")]
    if is_blank(raw):
        return "", [((), _BLANK + r" (for white space inside a text write '\s')")]
    try:
        re.compile(raw)
    except (re.error, OverflowError, RecursionError) as err:
        return "", [((), f"the regular expression {raw!r} does not compile: {err}")]
    return raw, []


def _phrases(raw: object) -> _Operand:
    phrases = tuple(raw) if isinstance(raw, (list, tuple)) else (raw,)
    if not phrases:
        return "", [((), "the list is empty: name at least one word")]
    mistakes: list[tuple[Path, str]] = []
    for i, phrase in enumerate(phrases):
        at: Path = (i,) if isinstance(raw, (list, tuple)) else ()
        if not isinstance(phrase, str):
            mistakes.append((at, f"words takes words, as in [growth, demand gen], numbers in quotes; got {_show(phrase)}"))
        elif not says_something(phrase):
            mistakes.append((at, f"{phrase!r} has no letter or digit, so no text has it as a word: write a word"))
    return tuple(phrase for phrase in phrases if isinstance(phrase, str)), mistakes


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
    return _BLANK if isinstance(value, str) and is_blank(value) else None


_BLANK: Final = "a blank text is a missing value, which equals nothing: to ask that a path is missing write {exists: false}"


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
