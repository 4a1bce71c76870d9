"""How well the grid in force does on a history, and whether what it sees has changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np

from worker.core.grid.models import Grid
from worker.learning.accuracy import auc, platt
from worker.learning.bootstrap import interval_by_lead
from worker.learning.drift import by_month, shift
from worker.learning.intervals import Bools, Floats, Ints, jeffreys
from worker.learning.scores import probabilities
from worker.learning.tables import Table

_LATER: Final = 0.7
"""The score is read as a chance on rows before this share of the wins, and judged on the rows after it."""
_LEAST_WINS: Final = 10
_NEW_DAYS: Final = 14.0
"""A lead is new for so many days."""


class Handed(msgspec.Struct, frozen=True):
    """Leads at the instant at which they reached a stage."""

    stage: str
    leads: int
    won: int
    rate: float
    low: float
    high: float
    """Likely range of the rate (Jeffreys, 95 %)."""
    days_to_won: tuple[float, float, float] | None
    """Of those won: lower quartile, median, upper quartile of the days until then."""


class MonthOfWins(msgspec.Struct, frozen=True):
    """Wins seen in one month's rows, beside those expected of their scores."""

    month: str
    rows: int
    seen: int
    expected: float
    changed: bool
    """The difference is more than chance."""


class Shifted(msgspec.Struct, frozen=True):
    """A number whose spread has changed between the earlier rows and the later ones."""

    name: str
    psi: float
    limit: float


class GridQuality(msgspec.Struct, frozen=True):
    """What a table says about its own grid."""

    rows: int
    leads: int
    won: int
    auc: float
    low: float
    high: float
    """Likely range of the AUC, by lead (95 %)."""
    handed: list[Handed]
    by: str
    """`model` or `score`: by which months are expected."""
    months: list[MonthOfWins]
    shifted: list[Shifted]


def grid_quality(table: Table, grid: Grid) -> GridQuality | None:
    """Return how well *grid* does on *table*, which was made with it; `None` without ten won and ten lost leads.

    With a model in the grid, months are expected by the model. Otherwise the score is read as a chance on the earlier rows, and
    the later months are expected by that.
    """
    won = table.role("won").astype(np.bool_)
    at_ms = table.role("at_ms").astype(np.int64)
    score = table.role("score").astype(np.float64)
    names, leads = np.unique(table.role("id").astype(str), return_inverse=True)
    lead_won = np.unique(leads[won]).size
    if lead_won < _LEAST_WINS or names.size - lead_won < _LEAST_WINS:
        return None
    likely = interval_by_lead(lambda weight: auc(score, won, weight), leads.astype(np.int64))
    earlier, later = _halves(at_ms, won, table.facts.horizon_ms or 0)
    model = None if grid.prediction is None else grid.prediction.model
    if model is not None:
        expected, judged = probabilities(table, grid, model), np.ones(won.size, dtype=np.bool_)
    else:
        judged = later if _enough(won[earlier]) else np.zeros(won.size, dtype=np.bool_)
        expected = platt(score[earlier], won[earlier]).p(score) if judged.any() else np.zeros(won.size)
    return GridQuality(
        rows=won.size,
        leads=names.size,
        won=lead_won,
        auc=auc(score, won),
        low=likely.low,
        high=likely.high,
        handed=_handed(table, leads, won),
        by="score" if model is None else "model",
        months=_months(at_ms[judged], expected[judged], won[judged], table.facts.design_effect),
        shifted=_shifts(table, score, earlier, later),
    )


def _halves(at_ms: Ints, won: Bools, horizon_ms: int) -> tuple[Bools, Bools]:
    cut = np.quantile(at_ms[won], _LATER, method="higher")
    return at_ms + horizon_ms <= cut, at_ms >= cut


def _enough(won: Bools) -> bool:
    return bool(won.sum() >= _LEAST_WINS and (~won).sum() >= _LEAST_WINS)


def _handed(table: Table, leads: Ints, won: Bools) -> list[Handed]:
    why, days = table.role("why"), table.role("days_to_won").astype(np.float64)
    found: list[Handed] = []
    for stage in ("mql", "sql"):
        rows = np.flatnonzero(why == stage)
        _, first = np.unique(leads[rows], return_index=True)  # rows of a lead stand in order of time
        rows = rows[first]
        if not rows.size:
            continue
        wins = int(won[rows].sum())
        likely = jeffreys(wins, rows.size)
        waited = days[rows][won[rows]]
        quartiles = tuple(float(one) for one in np.quantile(waited, [0.25, 0.5, 0.75])) if waited.size else None
        found.append(Handed(stage, rows.size, wins, wins / rows.size, likely.low, likely.high, quartiles))  # type: ignore[arg-type]
    return found


def _months(at_ms: Ints, expected: Floats, won: Bools, design_effect: float) -> list[MonthOfWins]:
    names = [datetime.fromtimestamp(one / 1000, UTC).strftime("%Y-%m") for one in at_ms.tolist()]
    return [
        MonthOfWins(one.month, one.rows, one.seen, one.expected, one.rings)
        for one in by_month(names, expected, won, max(1.0, design_effect))
    ]


def _shifts(table: Table, score: Floats, earlier: Bools, later: Bools) -> list[Shifted]:
    """Return the score and the signals that new leads have otherwise than before: by the first row of each new lead.

    Old leads would differ by their age alone.
    """
    new = _new(table)
    before, after = earlier & new, later & new
    if not before.any() or not after.any():
        return []
    columns = {"score": score} | {one.id: table.column(one.column) for one in table.features("signal")}
    found = {name: shift(column[before], column[after]) for name, column in columns.items()}
    return [Shifted(name, one.psi, one.limit) for name, one in found.items() if one.shifted]


def _new(table: Table) -> Bools:
    """Return which rows are the first of a lead that is new."""
    ids = table.role("id").astype(str)
    first = np.append(True, ids[1:] != ids[:-1])
    days = [table.column(one.column) for one in table.features("age_days")]
    newcomers: Bools = first & (days[0] <= _NEW_DAYS) if days else first
    return newcomers
