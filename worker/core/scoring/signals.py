"""Signals: what a lead has shown to each rule of the grid, as numbers that do not depend on the points.

A rule's points are its signal times the points that the grid gives it. So a fit of other points, and a prediction, read the
same numbers as the score does. Groups are ignored: each rule stands for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from worker.core.grid.models import FitRule, Grid, Inactivity
from worker.core.grid.point_tables import PointsTable
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY, CompiledRule
from worker.core.scoring.fit_table import ELSE
from worker.core.scoring.parts import held_to, raw_units
from worker.core.scoring.score import inactive
from worker.core.scoring.state import LeadState
from worker.core.scoring.traits import unpack_traits, values
from worker.core.scoring.velocity import VelocityRule

INACTIVITY: Final = "inactivity"
IDLE_DAYS: Final = "idle_days"
MOST_IDLE_DAYS: Final = 365.0
"""`idle_days` is not above this."""
_DAY_MS: Final = 86_400_000
_KEPT: Final = 8
"""Compiled grids of which the names are remembered."""


class _Names:
    """What a compiled grid has signals for, in the order of its file."""

    def __init__(self, scorer: CompiledGrid) -> None:
        grid = scorer.grid
        taken = _rule_ids(grid)
        places = {rule.id: place for place, rule in enumerate(grid.engagement.rules)}
        self.rules: dict[int, list[tuple[int, CompiledRule, float]]] = {
            key: [(places[rule.id], rule, _most_units(rule)) for rule in rules] for key, rules in scorer.readers.items()
        }
        """By key: the rule's place in the file, the rule, and the most that its signal can be."""
        velocity = {rule.id: (key, rule) for key, rules in scorer.velocity_rules.items() for rule in rules}
        self.velocity: list[tuple[int, VelocityRule]] = [velocity[rule.id] for rule in grid.velocity]
        inactivity = _free(INACTIVITY, taken)
        self.tiers: list[tuple[str, Inactivity]] = [
            (f"{inactivity}/{place}" if place > 1 else inactivity, tier) for place, tier in enumerate(scorer.tiers, start=1)
        ]
        self.idle_days = _free(IDLE_DAYS, taken)
        ids = [
            *(name for rule in grid.fit.rules for name in _fit_ids(rule)),
            *(rule.id for rule in grid.engagement.rules),
            *(rule.id for rule in grid.velocity),
            *(name for name, _ in self.tiers),
            self.idle_days,
        ]
        self.ids = tuple(dict.fromkeys(ids))


@lru_cache(maxsize=_KEPT)
def _names(scorer: CompiledGrid) -> _Names:
    return _Names(scorer)


def _rule_ids(grid: Grid) -> set[str]:
    engagement = {rule.id for rule in grid.engagement.rules}
    return {rule.id for rule in grid.fit.rules} | engagement | {rule.id for rule in grid.velocity}


def _most_units(rule: CompiledRule) -> float:
    return rule.cap / abs(rule.points) if rule.points else INFINITY


def _free(name: str, taken: set[str]) -> str:
    """Return *name*, with `_` behind it where a rule of the grid has that id."""
    while name in taken:
        name += "_"
    return name


def _fit_ids(rule: FitRule) -> list[str]:
    if isinstance(rule.points, PointsTable):
        return [f"{rule.id}/{name}" for name in (*(row.name for row in rule.points.rows), ELSE)]
    return [rule.id]


def signal_ids(scorer: CompiledGrid) -> tuple[str, ...]:
    """Return the ids of all signals of a grid, in the order of its file.

    - A fit rule: its id. One with a table: `ID/ROW` for each row, as reasons name it, and `ID/else`.
    - An engagement rule and a velocity rule: its id.
    - Inactivity: `inactivity`, and `inactivity/2` and so on for further tiers. A `_` is added where a rule has that id.
    - Last, `idle_days`, likewise.
    """
    return _names(scorer).ids


def signals(scorer: CompiledGrid, state: LeadState, at_ms: int, view: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return the signals of a lead at *at_ms* that are not 0, in the order of the grid's file.

    *at_ms* is not before the state's clock. *view* holds the lead's traits with the derived ones, where the caller has them.

    - A fit rule, or a row of its table: 1 on a match.
    - An engagement rule: its points after decay and cap, divided by the points of the rule. That is the faded number, or
      weight, of its occurrences, at most cap/points in magnitude.
    - A velocity rule: the place of the step reached, from 1 on.
    - Inactivity: how many times its points have been taken, at most min/points.
    - `idle_days`: days since the latest activity, as a fraction, at most 365.
    """
    names = _names(scorer)
    found: dict[str, float] = {}
    if scorer.fit_rules:
        _add_fit(scorer, scorer.derived(values(unpack_traits(state.traits))) if view is None else view, found)
    _add_rules(names, state, at_ms, found)
    if state.velocity:
        _add_velocity(names, state, scorer.calendar.day(at_ms), found)
    if state.active_ms:
        _add_inactivity(names, state.active_ms, at_ms, found)
    return found


def _add_fit(scorer: CompiledGrid, view: Mapping[str, Any], found: dict[str, float]) -> None:
    for id_, _, match, table in scorer.fit_rules:
        if not match(view):
            continue
        if table is None:
            found[id_] = 1.0
            continue
        row = table.row(view)[1]
        if row is not None:
            found[f"{id_}/{row}"] = 1.0


def _add_rules(names: _Names, state: LeadState, at_ms: int, found: dict[str, float]) -> None:
    parts: list[tuple[int, str, float]] = []
    for key, count in state.counts.items():
        for place, rule, most in names.rules.get(key, ()):
            if rule.expires_after and at_ms >= count.last_ms + rule.expires_after:
                continue
            units = held_to(raw_units(rule, count, at_ms), most)
            if units:
                parts.append((place, rule.id, float(units)))
    parts.sort()
    found.update({id_: units for _, id_, units in parts})


def _add_velocity(names: _Names, state: LeadState, today: int, found: dict[str, float]) -> None:
    for key, rule in names.velocity:
        window = state.velocity.get(key)
        step = 0 if window is None else rule.step(rule.count(window, today))
        if step:
            found[rule.id] = float(step)


def _add_inactivity(names: _Names, active_ms: int, at_ms: int, found: dict[str, float]) -> None:
    for name, tier in names.tiers:
        taken = _steps(tier, active_ms, at_ms)
        if taken:
            found[name] = taken
    idle_ms = at_ms - active_ms
    if idle_ms > 0:
        found[names.idle_days] = min(idle_ms / _DAY_MS, MOST_IDLE_DAYS)


def _steps(tier: Inactivity, active_ms: int, at_ms: int) -> float:
    """Return how many times the points of *tier* count; without points, how often they would."""
    if tier.points:
        return inactive(tier, active_ms, at_ms)[0] / tier.points
    passed_ms = at_ms - active_ms - tier.after
    if passed_ms < 0:
        return 0.0
    return 1.0 if tier.every is None else float(1 + passed_ms // tier.every)
