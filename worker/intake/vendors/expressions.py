"""JMESPath on what a vendor sent: the expressions of the connections, compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jmespath  # type: ignore[import-untyped]
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]

from worker.intake.vendors.common import Unmapped

_compiled = lru_cache(maxsize=512)(jmespath.compile)


def value_of(expression: str | None, record: Any) -> Any:
    """Return what *expression* finds in *record*; `None` for no expression and for nothing found. Raises `Unmapped`."""
    if expression is None:
        return None
    try:
        return _compiled(expression).search(record)
    except (JMESPathError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise Unmapped(f"the expression {expression!r} fails: {lines[0]}") from error


def traits_of(expressions: Mapping[str, str], record: Any, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the traits that *expressions* (trait → JMESPath) find in *record*, over the vendor's *own* ones.

    Raises `Unmapped`.
    """
    found = {trait: value_of(expression, record) for trait, expression in expressions.items()}
    return {**(own or {}), **found}
