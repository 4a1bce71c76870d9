"""How good a score or a probability is: order (AUC), error (Brier, log loss) and calibration. Rows may have weights."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, special

from worker.learning.intervals import Bools, Floats

BINS: Final = 10
_STEPS: Final = 50
_FAR: Final = 50.0
"""No slope goes farther from 0: a score that separates won from lost has none."""


def auc(score: Floats, won: Bools, weight: Floats | None = None) -> float:
    """Return in which share of the pairs of a won and a lost row the won row scores higher. A tie counts half.

    *weight*: how often each row counts, as in a bootstrap. The answer is not a number if no row was won, or none lost.
    """
    w = np.ones(score.size) if weight is None else weight
    _, place = np.unique(score, return_inverse=True)
    winners = np.bincount(place, weights=w * won)
    losers = np.bincount(place, weights=w * ~won)
    pairs = winners.sum() * losers.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(losers) - losers
    return float(np.sum(winners * (below + losers / 2)) / pairs)


def brier(p: Floats, won: Bools, weight: Floats | None = None) -> float:
    """Return the mean squared error of probabilities (Brier 1950)."""
    return float(np.average((p - won) ** 2, weights=weight))


def brier_skill(p: Floats, won: Bools, weight: Floats | None = None) -> float:
    """Return the share of the error that *p* saves against “everyone the mean rate”; below 0 it is worse than that."""
    base = brier(np.full(p.size, np.average(won, weights=weight)), won, weight)
    return 1 - brier(p, won, weight) / base if base > 0 else 0.0


def log_loss(p: Floats, won: Bools, weight: Floats | None = None) -> float:
    """Return the mean negative log-likelihood, of probabilities strictly between 0 and 1."""
    return float(-np.average(np.where(won, np.log(p), np.log1p(-p)), weights=weight))


def ece(p: Floats, won: Bools, bins: int = BINS) -> float:
    """Return the expected calibration error: mean distance of said and seen rate over *bins* of equal counts."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    return float(sum(part.size * abs(p[part].mean() - won[part].mean()) for part in parts) / max(p.size, 1))


class Line(NamedTuple):
    """A calibration line: the true log-odds are about `intercept + slope · x`."""

    intercept: float
    slope: float

    def p(self, x: Floats) -> Floats:
        """Return the probabilities of log-odds or scores *x*."""
        return np.asarray(special.expit(self.intercept + self.slope * x), np.float64)


def calibration_line(x: Floats, won: Bools, weight: Floats | None = None) -> Line:
    """Fit the line by maximum likelihood (Cox 1958). For log-odds *x* that are right, it is (0, 1).

    A slope below 1 means that *x* exaggerates. Where *x* separates won from lost, the slope stays finite, and is large.
    """
    return _line(x, won.astype(np.float64), weight)


def platt(x: Floats, won: Bools, weight: Floats | None = None) -> Line:
    """Fit the line as Platt (1999) does.

    Won rows aim at (won + 1)/(won + 2), and lost ones at 1/(lost + 2). Small samples then stay off 0 and 1.
    """
    w = np.ones(x.size) if weight is None else weight
    winners, losers = float(np.sum(w * won)), float(np.sum(w * ~won))
    return _line(x, np.where(won, (winners + 1) / (winners + 2), 1 / (losers + 2)), weight)


def line_to(x: Floats, aim: Floats) -> Line:
    """Return the line whose probabilities come nearest to the probabilities *aim*, in log loss."""
    return _line(x, aim, None)


def _line(x: Floats, aim: Floats, weight: Floats | None) -> Line:
    """Newton's method on the standardised score, with steps that are halved until they improve."""
    w = np.ones(x.size) if weight is None else weight
    middle = float(np.average(x, weights=w))
    spread = float(np.sqrt(np.average((x - middle) ** 2, weights=w))) or 1.0
    columns = np.column_stack((np.ones(x.size), (x - middle) / spread))

    def loss(b: Floats) -> float:
        eta = columns @ b
        return float(np.sum(w * (np.logaddexp(0, eta) - aim * eta)))

    b = np.zeros(2)
    now = loss(b)
    for _ in range(_STEPS):
        p = special.expit(columns @ b)
        gradient = columns.T @ (w * (aim - p))
        curvature = (columns * (w * p * (1 - p))[:, None]).T @ columns + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (then := loss(b + step)) > now and np.max(np.abs(step)) > 1e-12:
            step = step / 2
        b, before, now = np.clip(b + step, -_FAR, _FAR), now, then
        if before - then <= 1e-12 * max(1.0, abs(before)):
            break
    slope = float(b[1]) / spread
    return Line(float(b[0]) - slope * middle, slope)


def isotonic(x: Floats, won: Bools, weight: Floats | None = None) -> Floats:
    """Return the rate of each row as a rising step function of *x*, by pooling neighbours out of order (Ayer et al. 1955)."""
    w = np.ones(x.size) if weight is None else weight
    _, place = np.unique(x, return_inverse=True)
    rows = np.bincount(place, weights=w)
    rates = np.bincount(place, weights=w * won) / rows
    fitted = optimize.isotonic_regression(rates, weights=rows).x
    return np.asarray(fitted[place], np.float64)
