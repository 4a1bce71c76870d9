"""The signals of a grid's rules, and hashes of how each is counted.

A model's weights hold for signals that are counted as they were when it was trained. Points, caps, thresholds, groups and
labels give a signal another worth and leave it as it is. Exclusions have no signal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from worker.core.grid.point_tables import PointsTable

if TYPE_CHECKING:  # the models check a grid's model by this module
    from worker.core.grid.models import FitRule, GridFile, Inactivity, Rule, Velocity

INACTIVITY: Final = "inactivity"
IDLE_DAYS: Final = "idle_days"
ELSE: Final = "else"
_DIGITS: Final = 12
"""Of the hash of one rule: enough to tell two countings of it apart."""


def signals_of(grid: GridFile) -> dict[str, str]:
    """Return signal → name of what is counted for it, in the order of the file.

    A fit rule, an engagement rule and a velocity rule have their ids. A fit rule with a table has `ID/ROW` for each row, and
    `ID/else`. Tiers of inactivity are `inactivity`, `inactivity/2` and so on. The last is `idle_days`. A `_` is added to the
    words of ours where a rule has that id.
    """
    found = {signal: rule.id for rule in grid.fit.rules for signal in _of_fit(rule)}
    found |= {rule.id: rule.id for rule in grid.engagement.rules} | {velocity.id: velocity.id for velocity in grid.velocity}
    taken = _ids(grid)
    found |= {name: name for name, _ in tiers_of(grid)}
    idle_days = _free(IDLE_DAYS, taken)
    return {**found, idle_days: idle_days}


def counted_hash(grid: GridFile) -> str:
    """Return a SHA-256 of all that *grid* counts. Two grids with one hash give each lead the same signals."""
    return sha256(_json(sorted(_counted(grid)))).hexdigest()


def counted_parts(grid: GridFile) -> dict[str, str]:
    """Return a short hash of how each rule, velocity and tier of inactivity is counted, by the name that `signals_of` gives."""
    return {name: sha256(_json(how)).hexdigest()[:_DIGITS] for name, how in _counted(grid)}


def _counted(grid: GridFile) -> Iterator[tuple[str, list[Any]]]:
    for fit in grid.fit.rules:
        yield fit.id, ["fit", repr(fit.where), *_table(fit)]
    for rule in grid.engagement.rules:
        yield rule.id, ["rule", *_occurrences(grid, rule), *_rule(grid, rule)]
    for velocity in grid.velocity:
        reached = [number for number, _ in velocity.steps]
        days = [velocity.count, velocity.within_days, grid.timezone]
        yield velocity.id, ["velocity", *_occurrences(grid, velocity), *days, reached]
    for name, tier in tiers_of(grid):
        yield name, ["inactivity", tier.after, tier.every]


def _of_fit(rule: FitRule) -> list[str]:
    if not isinstance(rule.points, PointsTable):
        return [rule.id]
    return [f"{rule.id}/{row}" for row in (*(row.name for row in rule.points.rows), ELSE)]


def _table(rule: FitRule) -> list[Any]:
    """Return what the rows of a table ask. `repr` tells 1 from true and from "1", which JSON would not."""
    if not isinstance(rule.points, PointsTable):
        return []
    return [rule.points.path, rule.points.bands, [[row.name, repr(row.condition)] for row in rule.points.rows]]


def _occurrences(grid: GridFile, rule: Rule | Velocity) -> list[Any]:
    """Return which events a rule takes: with the kinds of page, where it asks for one."""
    asks_page = "page.viewed" in rule.on and _asks_page_type(rule)
    pages: list[Any] = [list(map(list, grid.pages.items())), grid.hash_routes] if asks_page else []
    return [sorted(rule.on), repr(rule.where), *pages]


def _asks_page_type(rule: Rule | Velocity) -> bool:
    asked = {condition.path for condition in rule.where.conditions} if rule.where is not None else set()
    return "page_type" in asked or "page_type" in _once_per(rule)


def _rule(grid: GridFile, rule: Rule) -> list[Any]:
    """Return how a rule's occurrences add up and fade."""
    once_per = sorted(_once_per(rule))
    midnight = [grid.timezone] if "day" in once_per else []
    return [once_per, *midnight, rule.half_life, repr(rule.decay), repr(rule.weigh), rule.expires_after]


def _once_per(rule: Rule | Velocity) -> tuple[str, ...]:
    words: str | Iterable[str] = getattr(rule, "once_per", ())
    return (words,) if isinstance(words, str) else tuple(words)


def _ids(grid: GridFile) -> set[str]:
    engagement = {rule.id for rule in grid.engagement.rules}
    return {rule.id for rule in grid.fit.rules} | engagement | {velocity.id for velocity in grid.velocity}


def tiers_of(grid: GridFile) -> Iterator[tuple[str, Inactivity]]:
    """Yield each tier of inactivity with its signal, in the order of the file."""
    name = _free(INACTIVITY, _ids(grid))
    for place, tier in enumerate(grid.inactivity, start=1):
        yield (f"{name}/{place}" if place > 1 else name), tier


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
