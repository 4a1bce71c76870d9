"""What counts as a value: blank texts, numbers written as text, lists and objects.

Conditions, tables, weights and `once_per` read values by these functions, so that all of them agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from worker.core.contract.event_fields import DECIMAL, DECIMAL_CHARS

ELEMENTS_KEPT: Final = 64
"""A list with more elements than this is a missing value."""

_LOOKED_AT: Final = 4_096
"""A list with more members than this is a missing value, blank or not: every rule that asks for it would read all of them."""

_decimal: Final = DECIMAL.fullmatch
_NAN: Final = float("nan")

NUMBERS: Final[frozenset[Any]] = frozenset({int, float})
"""Classes of numbers, as JSON decodes them. A boolean is an `int` to `isinstance`, and no number here."""


def is_blank(text: str) -> bool:
    """Return whether *text* is empty or white space only, and so a missing value."""
    return not text or text.isspace()


def spelled(value: Any) -> int | float:
    """Return the number that the text *value* spells, such as ` 80 ` or `-2.5`; NaN for any other value.

    NaN is neither equal to a number nor above or below one.
    """
    if value.__class__ is not str:
        return _NAN
    text: str = value.strip()
    if len(text) > DECIMAL_CHARS or _decimal(text) is None:
        return _NAN
    return float(text) if "." in text else int(text)


def number_of(value: Any) -> int | float | None:
    """Return the number that *value* is, or spells as text; `None` for any other value."""
    if value.__class__ in NUMBERS:
        found: int | float = value
        return found
    found = spelled(value)
    return None if math.isnan(found) else found


def elements(value: Any) -> Sequence[Any]:
    """Return the scalars of *value*: those of a list, or itself. None of them for a missing value and for an object.

    Blank texts and nulls in a list do not exist. A list with more than 64 others, or with a list or an object, is missing.
    """
    kind = value.__class__
    if kind is list:
        return scalars(value) or ()
    missing = value is None or kind is dict or (kind is str and is_blank(value))
    return () if missing else (value,)


def scalars(values: list[Any]) -> list[Any] | None:
    """Return the elements of a list that are there. `None`: they are more than 64, or one is a list or an object."""
    if len(values) > _LOOKED_AT:
        return None
    found: list[Any] = []
    for value in values:
        kind = value.__class__
        if kind is list or kind is dict:
            return None
        if value is not None and not (kind is str and is_blank(value)):
            found.append(value)
    return found if len(found) <= ELEMENTS_KEPT else None


def exists(value: Any) -> bool:
    """Return whether *value* is there. A list is if it has an element, and an object if something below it is."""
    if value.__class__ is dict:
        return any(map(exists, value.values()))
    return len(elements(value)) > 0
