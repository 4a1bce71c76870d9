"""Words in a text, whatever their case and accents: the operator `words`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

READ_CHARS: Final = 4_096
"""`words` looks at so many characters of a text."""

_REMEMBERED_CHARS: Final = 256

_runs: Final = re.compile(r"\w+").findall


def spaced(text: str) -> str:
    r"""Return the words of *text* in order, with a space before, between and after them.

    NFKD is applied, marks are dropped and case is folded. A word is a run of letters and digits (`\w`).
    """
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.category(c).startswith("M"))
    return f" {' '.join(_runs(text.casefold()))} "


_remembered: Final = lru_cache(maxsize=1 << 12)(spaced)


def says_something(phrase: str) -> bool:
    """Return whether *phrase* has a letter or a digit, so that a text can hold it."""
    return any(map(str.isalnum, spaced(phrase)))


def compile_words(phrases: Iterable[str]) -> Callable[[Any], bool]:
    """Return the function that answers whether one of *phrases* stands in a text, its words one after the other."""
    wanted = tuple(dict.fromkeys(map(spaced, phrases)))

    def holds(value: Any) -> bool:
        if value.__class__ is not str:
            return False
        text = _remembered(value) if len(value) <= _REMEMBERED_CHARS else spaced(value[:READ_CHARS])
        return any(phrase in text for phrase in wanted)

    return holds
