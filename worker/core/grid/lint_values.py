"""Values of a grid that never meet anything: texts that people write and no event, trait or url has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from worker.core.contract.event_fields import DERIVED_TRAITS, TRAITS
from worker.core.grid.conditions import Path, Where
from worker.core.grid.lint_codes import Found
from worker.core.grid.models import Grid
from worker.core.grid.point_tables import PointsTable, conditions
from worker.core.grid.slow_patterns import ambiguous_group
from worker.core.grid.yaml_lines import Document

_LIKE: Final = 0.75
"""`siez` is so much like `size`."""

_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]+)?\s*")


def values(grid: Grid, document: Document, seen: Collection[str] | None) -> Iterator[Found]:
    """Yield the warnings about single values of *grid*.

    *seen*: traits that events were seen to set. `None`: no events were looked at.
    """
    yield from _unknown_traits(grid, seen)
    yield from _quoted_numbers(grid)
    yield from _operators_in_texts(grid)
    yield from _curly_quotes(document.data, ())
    yield from _pages(grid)
    yield from _slow_patterns(grid)


def _conditions(grid: Grid) -> Iterator[tuple[Path, str, object]]:
    """Yield every condition of the grid: where, operator, operand."""
    places: list[tuple[Path, Where | None]] = [
        *((("fit", "rules", i), rule.where) for i, rule in enumerate(grid.fit.rules)),
        *((("engagement", "rules", i), rule.where) for i, rule in enumerate(grid.engagement.rules)),
        *((("velocity", i), velocity.where) for i, velocity in enumerate(grid.velocity)),
        *((("exclusions", i), exclusion.where) for i, exclusion in enumerate(grid.exclusions)),
    ]
    for path, where in places:
        for name, op, value in where.conditions if where is not None else ():
            yield (*path, "where", name, op), op, value
    for i, rule in enumerate(grid.fit.rules):
        for _, op, value in conditions(rule.points):
            yield ("fit", "rules", i, "points"), op, value


_UNSENT: Final = ": check the name, let a source send it as profile.updated, or name it in `traits`"


# --- traits ----------------------------------------------------------------------------------------------------------


def _unknown_traits(grid: Grid, seen: Collection[str] | None) -> Iterator[Found]:
    """Traits that no source sets. Any name will do, so without events only those are named that nearly are a known one."""
    known = {*TRAITS, *DERIVED_TRAITS, *grid.traits, *(seen or ())}
    above = {path[:i] for path in known for i, char in enumerate(path) if char == "."}
    for at, name in _traits(grid):
        if name in known or name in above:
            continue
        near = _near(name, known)
        meant = f", did you mean {near!r}? If not, name it in `traits`" if near else _UNSENT
        if seen is not None:
            yield at, "unknown-trait", f"neither an event of the file nor a schema sets the trait {name!r}{meant}"
        elif near:
            yield at, "unknown-trait", f"no source in the schemas sets the trait {name!r}{meant}"


def _traits(grid: Grid) -> Iterator[tuple[Path, str]]:
    """Yield each trait that the grid asks for, and where."""
    for i, rule in enumerate(grid.fit.rules):
        for condition in rule.where.conditions if rule.where is not None else ():
            yield ("fit", "rules", i, "where", condition.path), condition.path
        if isinstance(rule.points, PointsTable):
            yield ("fit", "rules", i, "points", "table"), rule.points.path
    for i, exclusion in enumerate(grid.exclusions):
        if exclusion.on is None and exclusion.where is not None:
            for condition in exclusion.where.conditions:
                yield ("exclusions", i, "where", condition.path), condition.path


def _near(name: str, known: Collection[str]) -> str | None:
    """Return the known trait that *name* may mean: by its letters, by its last part, or by nearly the same spelling."""
    plain = _plain(name)
    for trait in sorted(known):
        if plain in (_plain(trait), _plain(trait.rpartition(".")[2])):
            return trait
    best = max(sorted(known), key=lambda trait: _likeness(name, trait))
    return best if _likeness(name, best) >= _LIKE else None


def _likeness(name: str, trait: str) -> float:
    """Return how alike two paths are: as their least alike parts, since `company.` alone makes no likeness."""
    parts, others = name.split("."), trait.split(".")
    if len(parts) != len(others):
        return 0.0
    return min(difflib.SequenceMatcher(None, part, other).ratio() for part, other in zip(parts, others, strict=True))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


# --- texts -----------------------------------------------------------------------------------------------------------


def _lowest(text: str) -> str | None:
    """Return the lowest number of a range such as `50-199` or `200+`. A month such as `2026-01` is no range."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:\+|[-–]\s*([0-9]{1,9}))\s*", text)
    if found is None or (found[2] is not None and int(found[2]) <= int(found[1])):
        return None
    return found[1]


def _quoted_numbers(grid: Grid) -> Iterator[Found]:
    """Limits such as `gte: "50"` and `gte: 50-199`: texts are compared letter by letter, and never with a number."""
    for path, op, value in _conditions(grid):
        if op not in ("gt", "gte", "lt", "lte") or not isinstance(value, str):
            continue
        if (lowest := _lowest(value)) is not None:
            yield (
                path,
                "number-in-quotes",
                f"{value!r} is a text, which no number is compared with: write the lowest number alone, {lowest}",
            )
        if _NUMBER.fullmatch(value):
            yield (
                path,
                "number-in-quotes",
                f'{op}: "{value}" is a text, which no number is compared with: write {op}: {value.strip()}',
            )


_MEANT: Final = (
    (re.compile(r"\S+ (?:or|OR|\|\|) \S+(?: (?:or|OR|\|\|) \S+)*"), "for any of several values write a list, as in [FR, BE]"),
    (
        re.compile(r"\S+ (?:AND|&&) \S+"),
        "operators of one path must all hold: write them side by side, as in {gte: 1, lte: 9}",
    ),
    (re.compile(r"(?i)(?:contains|includes|like) \S.*"), "write words: [..] for whole words, or matches: '..' for a part"),
    (re.compile(r"(?i)(?:not|is not|except) \S.*"), "write {not: [..]}"),
    (re.compile(r"\*\w.*|\w.*\*"), "`*` has a meaning in `pages` alone; write words: [..] for whole words, or matches: '..'"),
    (re.compile(r"(?:>=|<=|>|<|!=|==|=)\s*\S.*"), "write {gt: 50}, {gte: 50}, {lt: 50}, {lte: 50} or {not: 50}"),
)
"""Texts that look like operators, and what says what they are meant to say."""


_STAR: Final = re.compile(r"[*%]\w+[*%]?|\w+[*%]")


def _operators_in_texts(grid: Grid) -> Iterator[Found]:
    for path, op, value in _conditions(grid):
        for text in value if isinstance(value, tuple) else (value,):
            meant = [words for pattern, words in _MEANT if isinstance(text, str) and pattern.fullmatch(text.strip())]
            if op == "words" and isinstance(text, str) and _STAR.fullmatch(text):
                begin = text.strip("*%")
                yield (
                    path,
                    "operator-in-text",
                    f"{text!r} finds the whole word {begin!r} alone: write matches: '(?i){begin}' for a part of a word",
                )
            if op in ("eq", "in", "not") and meant:
                yield path, "operator-in-text", f"{text!r} is compared letter by letter, operator included: {meant[0]}"


_OPENING: Final = "“”„‟«»‹›‘‚‛"
_CLOSING: Final = "“”«»‹›"


def _curly_quotes(part: Any, at: Path) -> Iterator[Found]:
    """Quotes of word processors, which YAML takes for letters. Labels are prose, and may have them."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key not in ("label", "labels"):
                yield from _curly(key, (*at, key))
                yield from _curly_quotes(value, (*at, key))
    elif isinstance(part, tuple):
        for i, value in enumerate(part):
            yield from _curly_quotes(value, (*at, i))
    elif isinstance(part, str):
        yield from _curly(part, at)


def _curly(text: str, at: Path) -> Iterator[Found]:
    if text and (text[0] in _OPENING or text[-1] in _CLOSING):
        plain = text.strip("“”„‟«»‹›‘’‚‛ \u00a0")
        yield at, "curly-quotes", f'{text} has curly quotes, which are letters to YAML, so nothing equals it: write "{plain}"'


# --- pages -----------------------------------------------------------------------------------------------------------

_HOST: Final = re.compile(r"\*+(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_QUERY: Final = re.compile(r"%3F|%23", re.IGNORECASE)


def _pages(grid: Grid) -> Iterator[Found]:
    """Patterns that are meant for a whole url. Those that begin with a scheme, or have a `?`, are mistakes already."""
    for name, patterns in grid.pages.items():
        for pattern in patterns:
            if _HOST.match(pattern):
                why = "names a scheme or a host, and only the path of a url is compared: begin it with / as in /pricing*"
            elif _QUERY.search(pattern):
                why = "names a query or a fragment (%3F, %23), and only the path of a url is compared: leave it out"
            else:
                continue
            yield ("pages", name), "page-never-matches", f"{pattern!r} {why}"


def _slow_patterns(grid: Grid) -> Iterator[Found]:
    """Regular expressions that one short text can keep busy for years: nothing interrupts Python's."""
    for path, op, value in _conditions(grid):
        slow = ambiguous_group(value) if op == "matches" and isinstance(value, str) else None
        if slow is not None:
            yield (
                path,
                "slow-pattern",
                f"{slow!r} can read one text in many ways and tries them all where the rest does not fit: thirty characters "
                f"can stop a worker for good; let each turn begin with a character of its own, or write {slow + '+'!r}",
            )
