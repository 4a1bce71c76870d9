"""Thresholds from scores: what SQL and MQL mean, how many leads reach them, and which neighbours do as well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from worker.learning.accuracy import Line, isotonic
from worker.learning.intervals import Floats, Interval, Ints, jeffreys
from worker.learning.points import Fitted
from worker.learning.sample import Sample
from worker.learning.scale import Goal

WEEK_MS: Final = 7 * 86_400_000
BAND: Final = 5
_KEPT_WEEKS: Final = 0.8
_ROUND: Final = 2
"""A threshold so near to the round number keeps the round number."""

_LIKE: Final = (0.8, 1.2)


class Band(NamedTuple):
    """Leads of similar scores, as rows of the table."""

    low: float
    high: float
    """Excluded."""
    rows: int
    won: int
    rate: float
    likely: Interval
    wins_from_here: float
    """Share of all wins in this band and those above."""
    crossings: float | None
    """Leads that newly reach `low` in a week, on average."""


@dataclass(frozen=True)
class Threshold:
    """A rung: where it is entered and left, and how well that was."""

    enter: float
    leave: float
    p: float
    """P(won) at `enter`."""
    rows: int
    won: int
    low: float
    high: float
    """Anything between them reaches about as many leads."""
    crossings: tuple[float, float, float] | None
    """Leads that newly reach it in a week: 10 % quantile, median, 90 % quantile."""


def crossings_by_week(score: Floats, sample: Sample, threshold: float) -> Ints:
    """Return for each whole week of the table how many leads newly reached *threshold*.

    Rows are instants a week apart, and a lead leaves the table with its handover. So this is close to a replay's outputs.
    """
    assert sample.at_ms is not None
    order = np.lexsort((sample.at_ms, sample.leads))
    above = score[order] >= threshold
    leads = sample.leads[order]
    same = np.append(False, leads[1:] == leads[:-1])
    new = above & ~(same & np.append(False, above[:-1]))
    week = sample.at_ms[order] // WEEK_MS
    first, last = int(week.min()), int(week.max())
    counts = np.bincount(week[new] - first, minlength=last - first + 1)
    return counts[1:-1] if counts.size > 3 else counts  # the outer weeks are not whole


def lowest_within(score: Floats, sample: Sample, calls: float) -> float:
    """Return the lowest score that at most *calls* leads a week newly reach, in 80 % of the weeks."""
    candidates = np.unique(score)
    low, high = 0, candidates.size - 1
    while low < high:  # fewer leads reach a higher score, but for leads that go down and up again
        middle = (low + high) // 2
        busy = float(np.quantile(crossings_by_week(score, sample, float(candidates[middle])), _KEPT_WEEKS))
        low, high = (low, middle) if busy <= calls else (middle + 1, high)
    return float(candidates[low])


def sql_enter(fitted: Fitted, score: Floats, sample: Sample, goal: Goal) -> float:
    """Return the score at which the goal is met; the round number of the scale where it is as good."""
    scale = fitted.scale
    if goal.kind == "rate":
        found = _at_rate(fitted.line, goal.value)
    elif goal.kind == "week":
        return max(math.ceil(lowest_within(score, sample, goal.value)), scale.mql + 1)
    else:
        found = float(np.quantile(score, 1 - goal.value, method="higher"))
        if _LIKE[0] * goal.value <= float((score >= scale.sql).mean()) <= _LIKE[1] * goal.value:
            found = scale.sql
    if abs(found - scale.sql) <= _ROUND:
        return scale.sql
    return float(max(math.ceil(found), math.floor(scale.mql) + 1))


def _at_rate(line: Line, rate: float) -> float:
    if line.slope <= 0:
        return math.inf
    return (math.log(rate / (1 - rate)) - line.intercept) / line.slope


def threshold(fitted: Fitted, score: Floats, sample: Sample, enter: float) -> Threshold:
    """Return what entering at *enter* means. A lead leaves when its odds have fallen by a third, beyond noise of rounding."""
    above = score >= enter
    ruled = sum(bool(one.points.any()) for one in fitted.fields)
    steps = math.log(1.5) / fitted.line.slope if fitted.line.slope > 0 else 0.0
    leave = enter - max(1.0, round(max(steps, 2 * 0.29 * math.sqrt(ruled))))
    crossed = None
    if sample.at_ms is not None and sample.rows:
        ten, half, ninety = np.quantile(crossings_by_week(score, sample, enter), [0.1, 0.5, 0.9])
        crossed = (float(ten), float(half), float(ninety))
    low, high = _as_good(score, enter)
    return Threshold(
        enter,
        leave,
        float(fitted.line.p(np.array([enter]))[0]),
        int(above.sum()),
        int((above & sample.won).sum()),
        low,
        high,
        crossed,
    )


def _as_good(score: Floats, enter: float) -> tuple[float, float]:
    """Return the lowest and highest whole score that 0.8 to 1.2 times as many rows reach."""
    reached = float((score >= enter).sum())
    good = [
        t for t in range(int(enter) - 25, int(enter) + 26) if _LIKE[0] * reached <= (score >= t).sum() <= _LIKE[1] * reached
    ]
    return (float(min(good, default=enter)), float(max(good, default=enter)))


def bands(score: Floats, sample: Sample) -> list[Band]:
    """Return bands of five points from the best down, neighbours together whose rates are out of order."""
    floors = np.floor(score / BAND) * BAND
    steady = isotonic(floors, sample.won)
    lows = np.unique(floors)
    level = np.array([steady[floors == low][0] for low in lows])
    starts = [i for i in range(lows.size) if i == 0 or level[i] != level[i - 1]]
    found: list[Band] = []
    total = max(int(sample.won.sum()), 1)
    for place, start in enumerate(starts):
        end = lows[starts[place + 1]] if place + 1 < len(starts) else lows[-1] + BAND
        rows = (floors >= lows[start]) & (floors < end)
        n, won = int(rows.sum()), int((rows & sample.won).sum())
        d = sample.design_effect
        weekly = None if sample.at_ms is None else float(crossings_by_week(score, sample, float(lows[start])).mean())
        from_here = int((sample.won & (score >= lows[start])).sum())
        found.append(Band(float(lows[start]), float(end), n, won, won / n, jeffreys(won / d, n / d), from_here / total, weekly))
    return found[::-1]


def least_fit(score: Floats, fit: Floats, sample: Sample, enter: float, rate: float) -> float | None:
    """Return the smallest fit at which leads that reach *enter* still close at *rate*; `None` if all of them do, or none."""
    above = score >= enter
    if above.sum() < 2 * BAND:
        return None
    steady = isotonic(fit[above], sample.won[above])
    good = fit[above][steady >= rate]
    if not good.size or good.min() <= fit[above].min():
        return None
    return float(math.ceil(good.min()))
