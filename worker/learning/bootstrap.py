"""Intervals by lead: whole leads are drawn with replacement, because rows of one lead repeat each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from worker.learning.intervals import LEVEL, Floats, Interval, Ints

DRAWS: Final = 400
SEED: Final = 20261201


def draws_by_lead(leads: Ints, draws: int = DRAWS, seed: int = SEED) -> Iterator[Floats]:
    """Yield, for each of the *draws*, how often each row counts. The same *leads* give the same draws.

    *leads*: a number of the lead for each row, from 0 without gaps. Draws of the same seed pair two statistics.
    """
    count = int(leads.max()) + 1 if leads.size else 0
    random = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = random.integers(count, size=count)
        yield np.bincount(drawn, minlength=count).astype(np.float64)[leads]


def interval_by_lead(
    statistic: Callable[[Floats], float], leads: Ints, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL
) -> Interval:
    """Return the percentile interval of a *statistic* of the rows' weights (Efron 1979, by cluster).

    Draws in which the statistic is not a number are left out. Without any other, both ends are not a number.
    """
    values = np.array([statistic(weight) for weight in draws_by_lead(leads, draws, seed)])
    values = values[np.isfinite(values)]
    if not values.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
