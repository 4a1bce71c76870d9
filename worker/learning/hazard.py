"""A discrete-time hazard: the chance to be won in each interval of the horizon, for rows of a young log.

h_k(x) = σ(a_k + βx), and P(won within the horizon) = 1 − Π(1 − h_k) (Cox 1972; Singer and Willett 1993).
Rows that are not won yet are not lost. An interval counts only for rows that were followed to its end.
Otherwise fast wins would count before the slow losses beside them do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import optimize, special

from worker.errors import LearningError
from worker.learning.accuracy import Line, calibration_line, line_to
from worker.learning.intervals import Bools, Floats, Ints, design_effect
from worker.learning.sample import DAY_MS, Sample

ENDS: Final = (7.0, 14.0, 30.0, 60.0, 90.0)
"""Days at which intervals end. The last one ends with the horizon."""

_FARTHEST: Final = 20.0
"""No intercept goes farther from 0, such as that of an interval without a win."""


def ends_of(horizon_ms: int) -> Floats:
    """Return the ends of the intervals in days, rising."""
    horizon = horizon_ms / DAY_MS
    return np.array([*(end for end in ENDS if end < horizon), horizon])


@dataclass(frozen=True)
class Spans:
    """Person-intervals: a row of a sample, once for each interval at risk. It was followed to the end of each."""

    sample: Sample
    """`won` and `handed_over` are those of the interval and up to its end."""
    interval: Ints
    rows: Ints
    """The place of each in the sample that they are made of."""
    hazard: Floats
    """Of each interval: the share of all its rows that were won."""

    @property
    def rate(self) -> float:
        """The share won within the horizon, 1 − Π(1 − h_k)."""
        return float(1 - np.prod(1 - self.hazard))

    @property
    def intercepts(self) -> Floats:
        """Return a column for each interval."""
        return np.asarray(self.interval[:, None] == np.arange(self.hazard.size), np.float64)

    def hazards(self, p: Floats) -> Floats:
        """Return the chance to be won in its interval of each span, from those *p* of whole rows: the same odds ratio."""
        odds = special.logit(np.clip(p, 1e-6, 1 - 1e-6))[self.rows] - special.logit(self.rate)
        return np.asarray(special.expit(odds + starts(self)[self.interval]), np.float64)

    def weight(self, rate: float) -> Floats:
        """Return as how many rows each span counts, so that all of them together have *rate*.

        Counts of attributes then compare seen with expected wins. Otherwise new attributes would profit from early intervals,
        in which more leads are won.
        """
        return np.asarray(self.hazard[self.interval] / rate, np.float64)


def spans_of(sample: Sample) -> Spans:
    """Return the person-intervals of a sample whose rows were followed for different times.

    Raises `LearningError` where no row was followed to the end of an interval, or none was won.
    """
    assert sample.followed is not None
    assert sample.days_to_won is not None
    assert sample.days_to_handover is not None
    rows: list[Ints] = []
    won: list[Bools] = []
    handed: list[Bools] = []
    hazard: list[float] = []
    begin = 0.0
    for end in ends_of(sample.horizon_ms).tolist():
        there = np.flatnonzero((sample.followed >= end) & ~(sample.days_to_won <= begin))
        if not there.size:
            raise LearningError(f"no row was followed for {end:g} days, so wins of days {begin:g} to {end:g} are not known yet")
        rows.append(there)
        won.append(sample.days_to_won[there] <= end)
        handed.append(sample.days_to_handover[there] <= end)
        hazard.append(float(won[-1].mean()))
        begin = end
    interval = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
    events = np.concatenate(won).astype(np.bool_)
    if not events.any():
        raise LearningError("no row was won within an interval that it was followed to the end of")
    places = np.concatenate(rows)
    taken = replace(sample.take(places), won=events, handed_over=np.concatenate(handed).astype(np.bool_))
    taken = replace(taken, design_effect=design_effect(taken.leads, events))
    return Spans(taken, interval, places, np.array(hazard))


def chances(score: Floats, sample: Sample) -> Floats:
    """Return P(won within the horizon) of each row, from a hazard on *score* alone: an intercept an interval, and one slope."""
    spans = spans_of(replace(sample, texts={}, numbers={}))
    middle, spread = float(score.mean()), float(score.std()) or 1.0
    x = (score - middle) / spread
    columns = np.column_stack((spans.intercepts, x[spans.rows]))
    y = spans.sample.won.astype(np.float64)

    def loss(b: Floats) -> tuple[float, Floats]:
        eta = columns @ b
        return float(np.sum(np.logaddexp(0, eta) - y * eta)), columns.T @ (special.expit(eta) - y)

    start = np.append(starts(spans), 0.0)
    bounds = [(-_FARTHEST, _FARTHEST)] * start.size
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-7}
    b = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    stays = np.ones(score.size)
    for intercept in b[:-1]:
        stays *= special.expit(-intercept - b[-1] * x)
    return np.asarray(1 - stays, np.float64)


def starts(spans: Spans) -> Floats:
    """Return an intercept for each interval, from its share of wins alone."""
    return np.asarray(special.logit(np.clip(spans.hazard, 1e-6, 1 - 1e-6)), np.float64)


def line_of(score: Floats, sample: Sample) -> Line:
    """Return the line from *score* to the log-odds of being won within the horizon.

    Where rows were followed for different times, it goes through the chances that the hazard gives.
    """
    if sample.followed is None:
        return calibration_line(score, sample.won)
    return line_to(score, chances(score, sample))
