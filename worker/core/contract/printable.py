"""Text from elsewhere, made fit for a terminal and a line of a log."""

from __future__ import annotations

import re
from typing import Final


def plain(text: str) -> str:
    """Return *text* with escapes for what is not printable: neither an event nor a grid may give orders to a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_PIPED = re.compile(r"Command # \d+ \(.*\) of pipeline caused error", re.DOTALL)
_KEY = re.compile(r"(\}:lead:).*", re.DOTALL)


def without_leads(text: str) -> str:
    """Return a library's *text* without what may quote a lead's id: a pipeline's arguments, and a lead's key in Redis."""
    return _KEY.sub(r"\1…", _PIPED.sub("A command of a pipeline caused error", text))


_OURS: Final = frozenset({"worker", "aiokafka", "redis"})
"""Whose exceptions say nothing of a lead: ours hold a mark, those of clients quote no record or are cut (`without_leads`)."""
_WITHOUT_VALUES: Final = (
    OSError, TypeError, AttributeError, ArithmeticError, MemoryError, RecursionError, ImportError,
)  # fmt: skip
"""Exceptions of Python's whose words name no value. A `KeyError` or a `ValueError` quotes one, which may be a lead's."""

LEFT_OUT: Final = "its words may quote a lead and are left out"


def quotes_nothing(kind: type[BaseException]) -> bool:
    """Return whether exceptions of *kind* are known to quote no lead."""
    return kind.__module__.partition(".")[0] in _OURS or issubclass(kind, _WITHOUT_VALUES)


def words(err: BaseException) -> str:
    """Return what a log may say of *err*, whatever it is."""
    return without_leads(repr(err)) if quotes_nothing(type(err)) else f"{type(err).__name__} ({LEFT_OUT})"
