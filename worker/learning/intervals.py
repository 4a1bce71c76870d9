"""Rates of few leads: intervals, shrinkage, lifts, and which of many attributes tell something.

Counts may be fractions: rows of a table with several rows a lead are divided by its design effect first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

LEVEL: Final = 0.95
STRENGTH: Final = 20.0
"""Strength of shrinkage where the attributes themselves do not tell it."""

_DUST: Final = 1e-9
"""Share of all rows by which a sum of fractions may miss."""

WEAKEST: Final = 2.0
STRONGEST: Final = 2000.0


class Interval(NamedTuple):
    """A likely range, both ends included."""

    low: float
    high: float


def jeffreys(won: float, rows: float, level: float = LEVEL) -> Interval:
    """Return Jeffreys' interval of a rate: *won* of *rows* (Brown, Cai and DasGupta 2001).

    These are the quantiles of Beta(won + ½, lost + ½). The low end is 0 if none was won, and the high end 1 if all were.
    """
    if not 0 <= won <= rows:
        raise ValueError(f"{won} won of {rows} rows: write at least 0 and at most all of them")
    tail = (1 - level) / 2
    low, high = special.betaincinv(won + 0.5, rows - won + 0.5, [tail, 1 - tail])
    return Interval(0.0 if won == 0 else float(low), 1.0 if won == rows else float(high))


def logit(rate: float) -> float:
    """Return the log-odds of a *rate* strictly between 0 and 1."""
    return math.log(rate) - math.log1p(-rate)


def shrunk(won: float, rows: float, overall: float, strength: float) -> float:
    """Return (won + strength · overall)/(rows + strength): few rows stay near the *overall* rate."""
    return (won + strength * overall) / (rows + strength)


def strength_of(won: Sequence[float], rows: Sequence[float], overall: float) -> float:
    """Return how many rows the *overall* rate is worth, by the spread of the attributes (DerSimonian and Laird 1986).

    Each attribute has *won* of *rows*. The method of moments gives τ², the variance of their true rates about the overall p̄.
    The strength is p̄(1 − p̄)/τ² − 1, held to 2…2,000. It is 20 where fewer than two attributes tell it.
    """
    w, n = np.asarray(won, np.float64), np.asarray(rows, np.float64)
    w, n = w[n > 0], n[n > 0]
    if n.size < 2 or not 0 < overall < 1:
        return STRENGTH
    noise = overall * (1 - overall)
    spread = float(np.sum(n * (w / n - overall) ** 2)) / noise
    scale = float(n.sum() - (n**2).sum() / n.sum())
    variance = (spread - (n.size - 1)) * noise / scale
    if variance <= 0:
        return STRONGEST
    return min(max(noise / variance - 1, WEAKEST), STRONGEST)


class Lift(NamedTuple):
    """How much more often an attribute closes than the rest, as a log odds ratio with its standard error."""

    log_odds: float
    se: float

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the log odds ratio; it excludes 0 if the attribute tells something."""
        half = float(special.ndtri(0.5 + LEVEL / 2)) * self.se
        return Interval(self.log_odds - half, self.log_odds + half)


def lift(won: float, rows: float, all_won: float, all_rows: float) -> Lift:
    """Compare *won* of *rows* with the rest of all rows. The log odds ratio has ½ added to each cell (Haldane, Anscombe)."""
    cells = (won, rows - won, all_won - won, all_rows - rows - all_won + won)
    if min(cells) < -_DUST * all_rows:
        raise ValueError(f"{won} of {rows} is no part of {all_won} of {all_rows}")
    a, b, c, d = (max(cell, 0.0) + 0.5 for cell in cells)
    return Lift(math.log(a) - math.log(b) - math.log(c) + math.log(d), math.sqrt(1 / a + 1 / b + 1 / c + 1 / d))


def exact_p(won: float, rows: float, all_won: float, all_rows: float) -> float:
    """Return how often chance alone would part *won* of *rows* from the rest so far: Fisher's test, doubled on the nearer side.

    It is for `benjamini_hochberg`; people are shown words instead. The usual z is too sure of itself where few were won.
    """
    w, n, total_won, total = (round(one) for one in (won, rows, all_won, all_rows))
    chance = stats.hypergeom(total, total_won, n)
    return float(min(1.0, 2 * min(chance.cdf(w), chance.sf(w - 1))))


def benjamini_hochberg(p_values: Sequence[float], false_share: float = 0.1) -> list[bool]:
    """Return which of *p_values* stay if at most *false_share* of those kept may be false (Benjamini and Hochberg 1995)."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    limits = false_share * np.arange(1, p.size + 1) / max(p.size, 1)
    passing = np.flatnonzero(p[order] <= limits)
    kept = np.zeros(p.size, np.bool_)
    kept[order[: passing[-1] + 1 if passing.size else 0]] = True
    return [bool(one) for one in kept]


def design_effect(leads: Ints, won: Bools) -> float:
    """Return by how much several rows a lead widen the variance of a rate, at least 1 (Kish 1965).

    *leads*: a number of the lead for each row. Rows of one lead repeat each other, so divide counts by this first.
    """
    if won.size == 0:
        return 1.0
    residual = won - won.mean()
    alone = float(np.sum(residual**2))
    together = float(np.sum(np.bincount(leads, weights=residual) ** 2))
    return max(1.0, together / alone) if alone > 0 else 1.0
