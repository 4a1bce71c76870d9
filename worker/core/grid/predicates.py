"""Conditions compiled into one fast function of an event's data, or of a lead's traits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from worker.core.grid.conditions import OPERATORS, Condition, Scalar, Where
from worker.core.grid.domains import NORMAL_FORMS
from worker.core.grid.phrases import compile_words
from worker.core.grid.scalars import NUMBERS, elements, exists, is_blank, spelled

Predicate = Callable[[Mapping[str, Any]], bool]

MATCHED_CHARS: Final = 4_096
"""`matches` looks at so many characters: a pattern that begins with `.*` needs the square of that in steps."""

_REMEMBERED_CHARS: Final = 64
"""The answers for shorter texts are remembered: roles and industries come again, free text does not."""


def compile_where(where: Where, *, flat: bool) -> Predicate:
    """Return the function that answers whether *where* holds.

    With *flat*, the mapping's keys are whole dotted paths, as traits have them. Without it, paths lead through nested objects,
    as in an event's `data`. A missing value (`scalars.elements`) satisfies only `exists: false`. Equality is JSON's: `true` is
    not 1, and 1 is 1.0. A text that spells a number is that number where *where* names a number. Orders need two numbers or
    two texts. One element of a list must meet all operators of its path. `not` and `exists` look at the whole list.
    An object is there if something below it is, and equals nothing.
    """
    by_path: dict[str, list[Condition]] = {}
    for condition in where.conditions:
        by_path.setdefault(condition.path, []).append(_normal(condition) if flat else condition)
    parts = [_at_trait(path, some) if flat else _at_path(tuple(path.split(".")), some) for path, some in by_path.items()]
    return _all_of(parts)


def _normal(condition: Condition) -> Condition:
    """Return a condition on an address or a domain with its values in the form in which such traits are held."""
    form = NORMAL_FORMS.get(condition.path)
    value = condition.value
    if form is None or condition.op in ("matches", "words", "exists"):
        return condition
    if isinstance(value, tuple):
        return condition._replace(value=tuple(form(one) if isinstance(one, str) else one for one in value))
    return condition._replace(value=form(value)) if isinstance(value, str) else condition


def _all_of(asks: Sequence[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    """Join questions into one that holds when all do. Nested pairs are faster than a loop, and most have one or two."""
    first, *rest = asks
    if not rest:
        return first
    others = _all_of(rest)
    return lambda value: first(value) and others(value)


def _at_trait(path: str, conditions: list[Condition]) -> Predicate:
    missing, is_object, ask = _questions(conditions)
    below = path + "."

    def at_trait(traits: Mapping[str, Any]) -> bool:
        value = traits.get(path)
        if value is not None:
            return ask(value)
        if missing == is_object:
            return missing
        # The trait is an object, whose leaves are traits of their own.
        return is_object if any(name.startswith(below) and exists(leaf) for name, leaf in traits.items()) else missing

    return _about_text(path, conditions[0], at_trait) if len(conditions) == 1 else at_trait


def _at_path(keys: tuple[str, ...], conditions: list[Condition]) -> Predicate:
    missing, _, ask = _questions(conditions)
    top, *below = keys
    if not below:

        def at_key(data: Mapping[str, Any]) -> bool:
            value = data.get(top)
            return missing if value is None else ask(value)

        return _about_text(top, conditions[0], at_key) if len(conditions) == 1 else at_key

    def at_path(data: Mapping[str, Any]) -> bool:
        value = data.get(top)
        for key in below:
            if not isinstance(value, dict):
                return missing
            value = value.get(key)
        return missing if value is None else ask(value)

    return at_path


def _about_text(key: str, condition: Condition, ask: Predicate) -> Predicate:
    """Return *ask*, the question of *condition*; in a single call for texts, if it is about them, as most are."""
    value: Any = condition.value
    if condition.op == "matches":
        return _remembering(key, _search(value), ask)
    if condition.op == "words":
        return _remembering(key, _words(value), ask)
    if condition.op == "eq" and isinstance(value, str):
        return lambda data: (text := data.get(key)) == value or (text.__class__ is list and ask(data))
    if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
        return ask
    among = frozenset(value)
    if condition.op == "in":
        return lambda data: text in among if (text := data.get(key)).__class__ is str else ask(data)
    if condition.op == "not":
        return lambda data: text not in among and not is_blank(text) if (text := data.get(key)).__class__ is str else ask(data)
    return ask


def _remembering(key: str, found: Callable[[str], bool], ask: Predicate) -> Predicate:
    """Return the question *found* of the text at *key*, and *ask* of other values. Answers for short texts are remembered."""
    remembered = lru_cache(maxsize=512)(found)

    def about_text(data: Mapping[str, Any]) -> bool:
        text = data.get(key)
        if text.__class__ is not str:
            return ask(data)
        return remembered(text) if len(text) <= _REMEMBERED_CHARS else found(text)

    return about_text


def _words(phrases: tuple[str, ...]) -> Callable[[str], bool]:
    holds = compile_words(phrases)
    return lambda text: not is_blank(text) and holds(text)


def _search(pattern: str) -> Callable[[str], bool]:
    search = re.compile(pattern).search
    return lambda text: not is_blank(text) and search(text[:MATCHED_CHARS]) is not None


def _questions(conditions: list[Condition]) -> tuple[bool, bool, Callable[[Any], bool]]:
    """Return what *conditions* on one path answer for a missing value, for an object, and for a value that is not null."""
    missing = all(condition.op == "exists" and condition.value is False for condition in conditions)
    ones = [_ask(condition) for condition in conditions if condition.op not in ("not", "exists")]
    nones = [_none_of(condition.value) for condition in conditions if condition.op == "not"]
    is_object = not missing and not ones
    scalar = _all_of([*ones, *nones] or [lambda value: not missing])
    one = _all_of(ones) if ones else None
    none = _all_of(nones) if nones else None
    return missing, is_object, _of_any_kind(missing, is_object, scalar, one, none)


def _of_any_kind(
    missing: bool,
    is_object: bool,
    scalar: Callable[[Any], bool],
    one: Callable[[Any], bool] | None,
    none: Callable[[Any], bool] | None,
) -> Callable[[Any], bool]:
    """Return the question of a value that is not null: *scalar*, or of a list's elements *one* of any and *none* of all."""

    def ask(value: Any) -> bool:
        kind = value.__class__
        if kind is str:
            return missing if not value or value.isspace() else scalar(value)
        if kind is list:
            found = elements(value)
            if missing or not found:
                return missing and not found
            return (none is None or all(map(none, found))) and (one is None or any(map(one, found)))
        if kind is dict:
            return is_object if missing != is_object and exists(value) else missing
        return scalar(value)

    return ask


def _none_of(wanted: Any) -> Callable[[Any], bool]:
    among = _one_of(wanted)
    return lambda value: not among(value)


def _ask(condition: Condition) -> Callable[[Any], bool]:
    """Return the question that *condition* asks of one scalar that is there."""
    wanted: Any = condition.value
    match condition.op:
        case "eq":
            return _one_of((wanted,))
        case "in":
            return _one_of(wanted)
        case "words":
            return compile_words(wanted)
        case "matches":
            found = _search(wanted)
            return lambda value: value.__class__ is str and found(value)
        case op:
            return _text_order(op, wanted) if isinstance(wanted, str) else _number_order(op, wanted)


def _one_of(wanted: tuple[Scalar, ...]) -> Callable[[Any], bool]:
    # Python says True == 1 and hash(True) == hash(1); JSON does not, so booleans are kept apart.
    plain = frozenset(value for value in wanted if not isinstance(value, bool))
    flags = frozenset(value for value in wanted if isinstance(value, bool))
    numbers = frozenset(value for value in plain if not isinstance(value, str))

    def among(value: Any) -> bool:
        if isinstance(value, bool):
            return value in flags
        return value in plain or (bool(numbers) and spelled(value) in numbers)

    return among


def _text_order(op: str, wanted: str) -> Callable[[Any], bool]:
    match op:
        case "gt":
            return lambda value: value.__class__ is str and value > wanted
        case "gte":
            return lambda value: value.__class__ is str and value >= wanted
        case "lt":
            return lambda value: value.__class__ is str and value < wanted
        case "lte":
            return lambda value: value.__class__ is str and value <= wanted
        case _:
            raise ValueError(f"unknown operator {op!r}: use one of {', '.join(OPERATORS)}")


def _number_order(op: str, wanted: float) -> Callable[[Any], bool]:
    # By exact class, as JSON decodes: a bool is an int to `isinstance`, and no number here. Anything else is NaN.
    match op:
        case "gt":
            return lambda value: (value if value.__class__ in NUMBERS else spelled(value)) > wanted
        case "gte":
            return lambda value: (value if value.__class__ in NUMBERS else spelled(value)) >= wanted
        case "lt":
            return lambda value: (value if value.__class__ in NUMBERS else spelled(value)) < wanted
        case "lte":
            return lambda value: (value if value.__class__ in NUMBERS else spelled(value)) <= wanted
        case _:
            raise ValueError(f"unknown operator {op!r}: use one of {', '.join(OPERATORS)}")
