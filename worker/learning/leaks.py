"""Leaks: columns and events that know the outcome, because they were written with it or after it.

A leak makes every figure of a fit too good, and its points worth nothing for leads that are still open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.point_tables import PointsTable
from worker.learning.intervals import Bools, Ints
from worker.learning.leak import Leak, Verdict, leak, pairs
from worker.learning.leak_columns import alone, by_chance, by_range, coded, extremes, folds_of
from worker.learning.leak_times import leak_in_times
from worker.learning.leak_verdicts import LIKELY, TOO_GOOD_ALONE, extreme_words, leaks_in_columns
from worker.learning.tables import Feature, Table

__all__ = ["Leak", "Verdict", "find_leaks"]

_WORST: Final[dict[Verdict, int]] = {"refuse": 0, "ask": 1, "ok": 2}
_OUTCOMES: Final = frozenset({"event:crm.won", "event:crm.lost"})
"""They are the outcome, and no leak of it."""
_KNOWN_EARLY: Final = "Every row has only what had arrived by then, so this may be an honest sign. Look at it once."


def find_leaks(table: Table) -> list[Leak]:
    """Judge each feature of *table*, in the order of the file. The same table gives the same answer."""
    won = np.asarray(table.column(table.facts.roles["won"]), np.bool_)
    if table.facts.kind == "csv":
        return leaks_in_columns({one.column: table.column(one.column).tolist() for one in table.features()}, won)
    return _Events(table, won).leaks()


class _Events:
    """Verdicts on a table of events: first by when records arrived, then by what the rows say."""

    def __init__(self, table: Table, won: Bools) -> None:
        self._table, self._won = table, won
        _, leads = np.unique(np.asarray(table.role("id"), dtype=str), return_inverse=True)
        self._fold = _folds_by_lead(leads.astype(np.int64), won)
        facts = table.facts
        grid = None if facts.grid is None else parse_grid(facts.grid.text.encode(), facts.grid.name)
        self._sources = {} if grid is None else read_by(grid)
        self._by_time = {name: leak_in_times(name, seen) for name, seen in facts.records.items()}

    def leaks(self) -> list[Leak]:
        """Return a verdict for each feature, then for what no row has, because it only ever came too late."""
        found = [self._in_times(feature) or self._in_rows(feature) for feature in self._table.features()]
        listed = {one.name for one in found} | _OUTCOMES
        return found + [one for name, one in self._by_time.items() if one is not None and name not in listed]

    def _in_times(self, feature: Feature) -> Leak | None:
        """Return the verdict by times: of a signal, the worst of what its rule reads."""
        if feature.kind in ("event", "trait"):
            return self._by_time.get(feature.column)
        if feature.kind != "signal":
            return None
        rule = feature.id.partition("/")[0]
        found = [one for one in map(self._by_time.get, self._sources.get(rule, ())) if one is not None]
        if not found:
            return None
        worst = min(found, key=lambda one: _WORST[one.verdict])
        return leak(feature.column, worst.verdict, f"Its rule reads {worst.name}. {worst.why}", worst.figure)

    def _in_rows(self, feature: Feature) -> Leak:
        """Judge a trait or an event type by its rows. Signals are made of these; a young or busy lead is no leak."""
        values, effect = self._table.column(feature.column), self._table.facts.design_effect
        if feature.kind == "trait":
            column = coded(feature.column, values.tolist())
        else:
            column = by_range(feature.column, np.asarray(values, np.float64))
        found = alone(column, self._won, self._fold)
        clean = leak(feature.column, "ok", "No sign of the outcome, and no record of it came too late.", found)
        if feature.kind not in ("trait", "event"):
            return clean
        if found >= TOO_GOOD_ALONE and found - 0.5 >= LIKELY * by_chance(self._won, effect):
            return leak(feature.column, "ask", f"{pairs(found)} {_KNOWN_EARLY}", found)
        always = [side for side in extremes(column, self._won, effect) if side.always]
        if always:
            words = extreme_words(always[0], float(self._won.mean()))
            return leak(feature.column, "ask", f"{words} {_KNOWN_EARLY}", always[0].of.rate)
        return clean


def _folds_by_lead(leads: Ints, won: Bools) -> Ints:
    """Return a fold for each row. All rows of a lead are in one."""
    ever = np.bincount(leads, weights=won) > 0
    return folds_of(ever)[leads]


def read_by(grid: Grid) -> dict[str, Iterable[str]]:
    """Return rule id → the traits (`trait:PATH`) and event types (`event:TYPE`) that it reads."""
    found: dict[str, Iterable[str]] = {}
    for rule in grid.fit.rules:
        paths = [] if rule.where is None else [condition.path for condition in rule.where.conditions]
        if isinstance(rule.points, PointsTable):
            paths.append(rule.points.path)
        found[rule.id] = [f"trait:{path}" for path in paths]
    found |= {rule.id: [f"event:{type_}" for type_ in rule.on] for rule in grid.engagement.rules}
    found |= {rule.id: [f"event:{type_}" for type_ in rule.on] for rule in grid.velocity}
    return found
