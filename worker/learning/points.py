"""From shares to whole points: neighbours merged, small ones dropped, large ones held, the human's grid as a prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize

from worker.errors import LearningError
from worker.learning.accuracy import Line, auc
from worker.learning.bins import LEAST
from worker.learning.fields import Encoded, Field, encoded, merged, with_zero
from worker.learning.hazard import line_of, spans_of
from worker.learning.intervals import Floats
from worker.learning.lasso import lasso
from worker.learning.sample import Sample
from worker.learning.scale import DEFAULT_MQL, DEFAULT_SQL, Goal, Scale, scale_of
from worker.learning.shares import RIDGE, Told, shares, strength_of_all, told

PRIOR_SPREAD: Final = 0.7
"""Standard deviation, in log-odds, of a human's guess: right within a factor of 2."""

LEAST_ROWS: Final = 20
MOST_LOST: Final = 0.003
"""Of the AUC, by rounding and by limits of single signals. Fewer points for the same evidence lose less."""

_TIGHTER: Final = (0.9, 0.8, 0.7)


class Bounds(NamedTuple):
    """What the grid says about the points of one attribute."""

    now: float
    """Its points in the human's grid."""
    most_units: float = np.inf
    """How many times it may count: cap/points."""
    intent: bool = False
    """A deed that may cross a threshold alone."""


@dataclass(frozen=True)
class FieldPoints:
    """One field, with the points of its attributes."""

    field: Field
    told: Told
    share: float
    points: Floats
    """Of each attribute, for each time that it counts."""
    exact: Floats
    """The same before rounding, limits and the drop of small ones."""


@dataclass(frozen=True)
class Fitted:
    """A fit: points for each field, and the scale that they are on."""

    fields: tuple[FieldPoints, ...]
    scale: Scale
    line: Line
    """From points to log-odds."""
    strength: float
    overall: float
    handed_over: float
    """Log-odds that a handover adds. No points come of it."""

    def score(self, sample: Sample) -> Floats:
        """Return the points of each row."""
        total = np.zeros(sample.rows)
        for one in self.fields:
            total += encoded(one.field, sample).times(one.points)
        return total

    def p(self, sample: Sample) -> Floats:
        """Return P(won) of each row."""
        return self.line.p(self.score(sample))


@dataclass(frozen=True)
class Method:
    """How points are fitted."""

    goal: Goal = Goal("tenth")  # noqa: RUF009 — a tuple
    sql: float = DEFAULT_SQL
    mql: float = DEFAULT_MQL
    ridge: float = RIDGE
    lasso: bool = False
    """The alternative: few weights, by the lasso, without an order within fields."""
    now: Callable[[Field], Sequence[Bounds]] | None = None
    """The human's grid, for its attributes; without one there is no prior."""
    threshold: Callable[[Floats], float] | None = None
    """For a goal by the week: the sum that a lead needs."""


@dataclass(frozen=True)
class _Shared:
    """Fields whose shares are fitted, before points."""

    parts: list[Encoded]
    told: list[Told]
    share: Floats
    each: list[Floats]
    """Of each field: log-odds of its attributes, for each time that they count."""
    handed_over: float
    strength: float
    learnt: Sample
    """The rows that tell it: those of the sample, or its person-intervals."""
    weight: Floats | None

    def log_odds(self) -> Floats:
        total = np.zeros(self.parts[0].size)
        for part, each in zip(self.parts, self.each, strict=True):
            total += part.times(each)
        return total


def _share(fields: Sequence[Field], sample: Sample, method: Method) -> _Shared:
    learnt, weight, intercepts = sample, None, None
    if sample.followed is not None:
        spans = spans_of(sample)
        learnt, intercepts = spans.sample, spans.intercepts
        weight = spans.weight(float(learnt.won.mean()))
    parts = [with_zero(encoded(field, learnt)) for field in fields]
    strength = strength_of_all(parts, learnt.won, learnt.design_effect, weight)
    alone = [told(part, learnt.won, strength, learnt.design_effect, weight) for part in parts]
    read = parts if learnt is sample else [encoded(part.field, sample) for part in parts]
    if method.lasso:
        weights, called = lasso(parts, learnt.won, learnt.handed_over)
        return _Shared(read, alone, np.ones(len(parts)), weights, called, strength, learnt, weight)
    columns = np.column_stack([part.times(one.each) for part, one in zip(parts, alone, strict=True)])
    found = shares(columns, learnt.won, learnt.handed_over, method.ridge, intercepts)
    each = [share * one.each for share, one in zip(found.of, alone, strict=True)]
    return _Shared(read, alone, found.of, each, found.handed_over, strength, learnt, weight)


def fit(fields: Sequence[Field], sample: Sample, method: Method) -> Fitted:
    """Fit points for *fields*. Raises `LearningError` where the rows cannot tell any.

    The rows are in the order of their content (`in_order_of_content`), so that a permuted table gives the same points.
    """
    winners = int(sample.won.sum())
    if sample.rows < LEAST_ROWS or not 0 < winners < sample.rows:
        raise LearningError(
            f"{winners} won of {sample.rows} rows: a fit needs {LEAST_ROWS} rows or more, with won and lost ones among them"
        )
    if not fields:
        raise LearningError("no column is left to fit: each is dropped, or says the same of all leads")
    shared = _share(fields, sample, method)
    scale = _scaled(shared, sample, method)[0]
    narrower = _with_merged_ranges(shared, scale)
    if narrower != [part.field for part in shared.parts]:
        shared = _share(narrower, sample, method)
    scale, slope = _scaled(shared, sample, method)
    found, score = _limited(shared, sample, slope, scale, method)
    overall = float(sample.won.mean()) if sample.followed is None else spans_of(sample).rate
    return Fitted(found, scale, line_of(score, sample), shared.strength, overall, shared.handed_over)


def _limited(
    shared: _Shared, sample: Sample, slope: float, scale: Scale, method: Method
) -> tuple[tuple[FieldPoints, ...], Floats]:
    """Return points, and each row's score, on a scale whose limits cost no more order than is said in `MOST_LOST`."""
    mature = sample.mature
    whole = auc(shared.log_odds()[mature], sample.won[mature])
    found, score = _rounded(shared, slope, scale, method)
    for factor in _TIGHTER if method.now is None else ():
        if auc(score[mature], sample.won[mature]) >= whole - MOST_LOST:
            break
        found, score = _rounded(shared, slope, replace(scale, per_log_odds=factor * scale.per_log_odds), method)
    return found, score


def _rounded(shared: _Shared, slope: float, scale: Scale, method: Method) -> tuple[tuple[FieldPoints, ...], Floats]:
    found = tuple(
        _points(part.field, one, float(share), slope * each, scale, method)
        for part, one, share, each in zip(shared.parts, shared.told, shared.share, shared.each, strict=True)
    )
    score = np.zeros(shared.parts[0].size)
    for part, field_points in zip(shared.parts, found, strict=True):
        score += part.times(field_points.points)
    return found, score


def _scaled(shared: _Shared, sample: Sample, method: Method) -> tuple[Scale, float]:
    """Return the scale, and how much stronger than the ridge's sums the evidence is."""
    log_odds = shared.log_odds()
    if float(log_odds.max() - log_odds.min()) < 1e-9:
        raise LearningError(
            "no attribute closes clearly more or less often than the others, so there are no points to propose: "
            "wait for more outcomes, or add columns that tell leads apart"
        )
    line = line_of(log_odds, sample)
    log_odds = log_odds[sample.mature]
    slope = max(line.slope, 0.1)
    threshold = None if method.threshold is None else method.threshold(log_odds)
    return scale_of(log_odds, Line(line.intercept, slope), method.goal, method.sql, method.mql, threshold), slope


def _with_merged_ranges(shared: _Shared, scale: Scale) -> list[Field]:
    """Return the fields, with neighbouring ranges as one where their points differ by less than is worth a rule."""
    fields: list[Field] = []
    rows = shared.learnt
    for part, share, each in zip(shared.parts, shared.share, shared.each, strict=True):
        field, log_odds = part.field, each
        while (place := _nearest(field, scale.per_log_odds * log_odds, scale.least)) is not None:
            field = merged(field, place)
            alone = told(encoded(field, rows), rows.won, shared.strength, rows.design_effect, shared.weight)
            log_odds = share * alone.each
        fields.append(field)
    return fields


def _nearest(field: Field, points: Floats, least: float) -> int | None:
    """Return the place of the neighbouring ranges that are nearest to each other, if they are nearer than *least*."""
    ranges = [one.kind == "range" for one in field.attributes]
    gaps = [(abs(float(points[i + 1] - points[i])), i) for i in range(len(ranges) - 1) if ranges[i] and ranges[i + 1]]
    gap, place = min(gaps, default=(np.inf, -1))
    return place if gap < least else None


def _points(field: Field, one: Told, share: float, log_odds: Floats, scale: Scale, method: Method) -> FieldPoints:
    each = scale.per_log_odds * log_odds
    bounds: list[Bounds | None] = [None] * len(each)
    if method.now is not None:
        bounds = list(method.now(field))
        each = _with_prior(each, one, np.array([bound.now if bound else 0.0 for bound in bounds]), field, scale)
    whole = np.array([_whole(points, bound, scale) for points, bound in zip(each, bounds, strict=True)])
    return FieldPoints(field, one, share, whole, each)


def _with_prior(each: Floats, one: Told, now: Floats, field: Field, scale: Scale) -> Floats:
    """Return points between those of the data and those of the human: (L/se² + old/τ²)/(1/se² + 1/τ²), in points.

    A rule without data keeps its points. Attributes of one field with data stay in the order of their rates.
    """
    data = (one.units / (scale.per_log_odds * one.se)) ** 2
    prior = 1 / (scale.per_log_odds * PRIOR_SPREAD) ** 2
    known = one.rows >= LEAST
    if field.zero >= 0:
        each = each + now[field.zero]
        known[field.zero] = False
    mixed = np.where(known, (each * data + now * prior) / (data + prior), now)
    places = np.flatnonzero(known)
    order = places[np.lexsort((mixed[places], one.won[places] / one.rows[places]))]
    if order.size > 1:
        mixed[order] = optimize.isotonic_regression(mixed[order], weights=(data + prior)[order]).x
    return mixed


def _whole(points: float, bound: Bounds | None, scale: Scale) -> float:
    """Round, drop what is too small to be a rule, and hold what would cross a threshold alone.

    Rules that a human's grid has already are kept however small: dropping them would make nothing simpler.
    """
    if bound is None and abs(points) < scale.least:
        return 0.0
    if bound is None or not bound.intent:
        points = max(-scale.most, min(scale.most, points))
    return float(round(points)) if abs(points) >= 1 else round(points, 1)
