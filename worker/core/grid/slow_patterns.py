"""Regular expressions that need exponential time on some texts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

_REPEATED: Final = re.compile(r"(?:[*+]|\{[0-9]*,(?:[0-9]{2,})?\})(?![+])")
_GROUP: Final = re.compile(r"\?(?:P<\w+>|[aiLmsux-]*:)")
_LETTERS: Final = "aA0 _-/.,:;@%&=+"


def ambiguous_group(pattern: str) -> str | None:
    """Return the first repeated group of *pattern* that reads some text in two ways; `None` where none is found.

    The text is one turn as well as two, or one turn by two alternatives. Such a group tries 2^n ways on n characters.
    Texts of one and two characters are tried, so some slow patterns are not found.
    """
    for ways, whole in _repeated_groups(pattern):
        try:
            each = [re.compile(way).fullmatch for way in ways]
        except re.error:  # it refers to a group outside
            continue
        letters = [c for c in sorted({*_LETTERS, *whole[:200]}) if any(fits(c) for fits in each)]
        twice = any(sum(fits(c) is not None for fits in each) > 1 for c in letters)
        if twice or any(fits(a + b) for fits in each for a in letters for b in letters):
            return whole
    return None


def _repeated_groups(pattern: str) -> Iterator[tuple[list[str], str]]:
    """Yield the groups of *pattern* that are repeated without a low limit: their alternatives, and all of it."""
    open_: list[list[int]] = []
    at = 0
    while at < len(pattern):
        match pattern[at]:
            case "\\":
                at += 1
            case "[":
                at = _end_of_class(pattern, at)
            case "(":
                open_.append([at])
            case "|" if open_:
                open_[-1].append(at)
            case ")" if open_:
                bars = [*open_.pop(), at]
                ways = [pattern[a + 1 : b] for a, b in itertools.pairwise(bars)]
                head = _GROUP.match(ways[0])
                ways[0] = ways[0][head.end() :] if head else ways[0]
                repeat = _REPEATED.match(pattern, at + 1)
                if repeat and not ways[0].startswith("?"):
                    yield ways, pattern[bars[0] : repeat.end()]
        at += 1


def _end_of_class(pattern: str, at: int) -> int:
    """Return where the character class that begins *at* ends; a `]` that comes first in it is one of its characters."""
    at += 2 if pattern.startswith("[^", at) else 1
    at += pattern.startswith("]", at)
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at
