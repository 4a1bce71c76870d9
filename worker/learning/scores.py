"""Scores of a table's rows under a grid: the formulas of the core over columns of signals and traits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import special

from worker.core.grid.counted import counted_hash, counted_parts
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.prediction import PredictionModel
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY, CompiledRule
from worker.core.scoring.prediction import LEAST, MOST
from worker.core.scoring.signals import signal_ids, signals
from worker.core.scoring.state import LeadState
from worker.core.scoring.traits import leaves
from worker.errors import LearningError
from worker.learning.intervals import Floats
from worker.learning.tables import Feature, Table

_NOBODY: Final = LeadState()
_SHOWN: Final = 5
"""So many names stand in one message."""


class Scores(NamedTuple):
    """One number for each row of a table."""

    score: Floats
    fit: Floats
    engagement: Floats


def score_rows(table: Table, grid: Grid) -> Scores:
    """Return score, fit and engagement of each row of *table* under *grid*.

    Traits are judged as the worker does. Engagement is read from the columns of signals, which hold what a grid counts. So a
    grid may have other points, caps, groups and clamps than the grid of the table. A table of columns has no engagement.
    Raises `LearningError` where *grid* counts otherwise than the grid that the table was made with.
    """
    scorer = CompiledGrid(grid, "/leadpulse/learn")
    fit = np.fromiter(_fits(table, scorer), np.float64, table.facts.rows)
    if table.facts.kind == "csv":
        total = np.zeros(table.facts.rows)
    else:
        _check_counting(table, grid)
        units = {one.id: table.column(one.column) for one in table.features("signal")}
        total = _engagement(scorer, units, table.facts.rows)
    engagement = _held(total, grid.engagement.min, grid.engagement.max)
    return Scores(_held(fit + engagement, grid.score.min, grid.score.max), fit, engagement)


def probabilities(table: Table, grid: Grid, model: PredictionModel) -> Floats:
    """Return each row's chance that *model* gives, to 3 decimals, as a worker with *grid* and *model* publishes it.

    Raises `LearningError` where *grid* counts otherwise than the grid of the table.
    """
    scorer = CompiledGrid(grid, "/leadpulse/learn")
    names = list(model.features)
    if table.facts.kind == "csv":
        found = _signals_of_traits(table, scorer, names)
    else:
        _check_counting(table, grid)
        columns = {one.id: one.column for one in table.features("signal")}
        found = [table.column(columns[name]) if name in columns else np.zeros(table.facts.rows) for name in names]
    total = np.full(table.facts.rows, model.intercept)
    for name, units in zip(names, found, strict=True):
        weight, mean = model.features[name]
        total += weight * (_held_to(units, model.caps.get(name, INFINITY)) - mean)
    a, b = model.calibration
    chances: Floats = np.round(np.clip(special.expit(a + b * total), LEAST, MOST), 3)
    return chances


def _signals_of_traits(table: Table, scorer: CompiledGrid, names: list[str]) -> list[Floats]:
    places = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(names), table.facts.rows))
    for row, traits in enumerate(traits_of_rows(table)):
        for name, units in signals(scorer, _NOBODY, 0, scorer.derived(traits)).items():
            if name in places:
                found[places[name], row] = units
    return list(found)


def traits_of_rows(table: Table) -> Iterator[dict[str, Any]]:
    """Yield the traits of each row, by path, in the form in which a worker keeps them. Blanks of a CSV file are no traits."""
    features = table.features("trait", "column")
    read = _cell if table.facts.kind == "csv" else _json_cell
    columns = [table.column(one.column) for one in features]
    before: tuple[Any, ...] | None = None
    traits: dict[str, Any] = {}
    for row in zip(*columns, strict=True) if columns else ((),) * table.facts.rows:
        if row != before:  # a lead's rows follow each other, and seldom differ
            before, traits = row, _traits(features, row, read)
        yield traits


def _traits(features: list[Feature], row: tuple[Any, ...], read: Callable[[str], Any]) -> dict[str, Any]:
    found = {one.id: read(cell) for one, cell in zip(features, row, strict=True) if cell}
    return dict(leaves(found)[0])


def _cell(cell: str) -> Any:
    return cell


def _json_cell(cell: str) -> Any:
    return json.loads(cell)


def _fits(table: Table, scorer: CompiledGrid) -> Iterator[float]:
    before: Mapping[str, Any] | None = None
    fit = 0.0
    for traits in traits_of_rows(table):
        if traits is not before:
            before, fit = traits, scorer.fit(scorer.derived(traits))
        yield fit


def _check_counting(table: Table, grid: Grid) -> None:
    """Raise `LearningError` where *grid* counts events otherwise than the grid of *table*."""
    made = table.facts.grid
    if made is None:
        raise LearningError("the table does not say by which grid it was made: make it again with `leadpulse learn table`")
    then = parse_grid(made.text, made.name)
    if counted_hash(then) == counted_hash(grid):
        return
    fit = {rule.id for rule in (*then.fit.rules, *grid.fit.rules)}
    before, now = counted_parts(then), counted_parts(grid)
    other = [name for name in {**now, **before} if name not in fit and before.get(name) != now.get(name)]
    other = [name for name in other if name in now]  # a rule that the new grid leaves out is no hindrance
    if other:
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        raise LearningError(
            f"the grid counts otherwise than {made.name} version {made.version}, which made the table: "
            f"{', '.join(other[:_SHOWN])}{more}. Make the table again with `leadpulse learn table … --grid` and this grid"
        )


def _engagement(scorer: CompiledGrid, units: Mapping[str, Floats], rows: int) -> Floats:
    """Formulas 1 to 5 of the grid, of units: points, caps, groups, velocity and inactivity; before the clamp."""
    nothing = np.zeros(rows)
    total = np.zeros(rows)
    of_groups = {rule.id for group in scorer.groups for _, rule in group.rules}
    for rules in scorer.readers.values():
        for rule in rules:
            if rule.id not in of_groups:
                total += _points(rule, units.get(rule.id, nothing))
    for group in scorer.groups:
        parts = np.stack([_points(rule, units.get(rule.id, nothing)) for _, rule in group.rules])
        total += (
            np.array([group.points(list(column)) for column in parts.T]) if group.best else _held_to(parts.sum(0), group.cap)
        )
    for velocities in scorer.velocity_rules.values():
        for velocity in velocities:
            steps = np.array([0.0, *(points for _, points in velocity.steps)])
            total += steps[units.get(velocity.id, nothing).astype(np.int64)]
    *_, idle_days = ids = signal_ids(scorer)
    for name, tier in zip(ids[len(ids) - 1 - len(scorer.tiers) : ids.index(idle_days)], scorer.tiers, strict=True):
        points = units.get(name, nothing) * tier.points
        total += points if tier.min is None else np.maximum(points, tier.min)
    return total


def _points(rule: CompiledRule, units: Floats) -> Floats:
    return _held_to(units * rule.points, rule.cap)


def _held_to(points: Floats, cap: float) -> Floats:
    return np.clip(points, -cap, cap)


def _held(points: Floats, low: float | None, high: float | None) -> Floats:
    return points + 0.0 if low is None and high is None else np.clip(points, low, high) + 0.0
