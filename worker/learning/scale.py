"""The scale of points: which probability the threshold of SQL stands for, and what one point is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from worker.errors import LearningError
from worker.learning.accuracy import Line
from worker.learning.intervals import Floats, logit

TENTH: Final = 0.1
LEAST_POINTS: Final = 4.0
"""Points for a log-odds of 1. Below this, rounding to whole points costs too much."""

_LEAST_RISE: Final = 0.3
"""SQL closes at least ×1.35 as often (in odds) as the ordinary lead; else points would be noise written large."""

_SMALLER: Final = (0.1, 0.05, 0.02, 0.01)
DEFAULT_SQL: Final = 75.0
DEFAULT_MQL: Final = 50.0


class Goal(NamedTuple):
    """What SQL is meant to be."""

    kind: Literal["tenth", "share", "week", "rate"]
    """The best tenth; a share of leads; so many leads a week; or a probability."""
    value: float = TENTH
    words: str = "the best tenth of the leads"


@dataclass(frozen=True)
class Scale:
    """Points of a log-odds, and the two thresholds."""

    per_log_odds: float
    """F: points for a log-odds of 1. Odds double every F·ln 2 points."""
    sql: float
    mql: float
    ordinary: float
    """P(won) of the ordinary lead, which has 0 points."""
    at_sql: float
    """P(won) that SQL stands for."""

    def p(self, points: float) -> float:
        """Return P(won) at a score of *points*."""
        return 1 / (1 + math.exp(-logit(self.ordinary) - points / self.per_log_odds))

    @property
    def least(self) -> float:
        """Fewer points than this are not worth a rule: 0.08 of SQL, 6 at 75."""
        return 0.08 * self.sql

    @property
    def most(self) -> float:
        """The most that one signal may give: two thirds of SQL, and below the lowest rung. 49 at 75 and 50."""
        lowest = min(self.sql, self.mql)
        return max(1.0, min(math.floor(2 / 3 * self.sql), math.ceil(lowest) - 1.0))


def scale_of(log_odds: Floats, line: Line, goal: Goal, sql: float, mql: float, threshold: float | None = None) -> Scale:
    """Return the scale on which *sql* points stand for the goal: F = T/(logit p − logit p₀).

    *log_odds*: each row's sum before points. *line*: how they turn into probabilities. *threshold*: for a goal by the week, the
    sum that it needs. Raises `LearningError` where the goal asks for no more than the ordinary lead, or leaves too few points.
    """
    ordinary = float(line.p(np.zeros(1))[0])
    if goal.kind == "rate":
        at_sql = goal.value
    elif threshold is not None:
        at_sql = float(line.p(np.array([threshold]))[0])
    else:
        at_sql = _of_best(log_odds, line, goal, ordinary)
    at_sql = min(max(at_sql, 1e-6), 1 - 1e-6)
    rise = logit(at_sql) - logit(ordinary)
    if rise < _LEAST_RISE:
        raise LearningError(
            f"SQL would mean {at_sql:.1%} won, and the ordinary lead closes at {ordinary:.1%}: "
            f"ask for more, as in --p-sql {min(0.99, round(2.0 * ordinary, 2) or 0.01):g}, "
            "or add columns that tell leads apart"
        )
    per_log_odds = sql / rise
    if per_log_odds < LEAST_POINTS:
        raise LearningError(
            f"SQL at {sql:g} points leaves {per_log_odds:.1f} points for each step of evidence, so whole points round it away: "
            f"enter SQL at {math.ceil(LEAST_POINTS * rise):g} points or more in the grid"
        )
    return Scale(per_log_odds, sql, mql, ordinary, at_sql)


def _of_best(log_odds: Floats, line: Line, goal: Goal, ordinary: float) -> float:
    """Return P(won) where the best share begins; a smaller share where the ordinary lead is among the best tenth."""
    found = 0.0
    for share in (goal.value,) if goal.kind == "share" else _SMALLER:
        found = float(line.p(np.quantile(log_odds, [1 - share], method="higher"))[0])
        if 0 < found < 1 and logit(found) - logit(ordinary) >= _LEAST_RISE:
            break
    return found
