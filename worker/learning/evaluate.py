"""How well a fit does on rows that it has not seen: forward in time where there is time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from worker.errors import LearningError
from worker.learning.accuracy import auc, brier, brier_skill, calibration_line, ece, log_loss
from worker.learning.bootstrap import SEED, draws_by_lead
from worker.learning.intervals import Bools, Floats, Interval, jeffreys
from worker.learning.sample import Sample

FOLDS: Final = 5
_CUTS: Final = (0.4, 0.5, 0.6, 0.7)
"""Shares of the wins that lie before the cuts; the last is the headline, with 30 % of the wins after it."""

_LEAST_WINS: Final = 10
_EDGE: Final = 1e-4
_ROUNDED: Final = 2
"""Decimals of log-odds, in draws."""
BINS: Final = 10


class Split(NamedTuple):
    """Rows to fit and rows to judge."""

    words: str
    train: Bools
    test: Bools
    cut: float | None = None
    """The instant in ms, or the place in the order, from which rows are judged."""


class Decile(NamedTuple):
    """A tenth of the rows, by score."""

    rows: int
    won: int
    said: float
    """Mean P(won)."""
    likely: Interval
    wins_from_here: float


@dataclass(frozen=True)
class Quality:
    """How well scores did on rows that were not fitted."""

    words: str
    rows: int
    leads: int
    won: int
    auc: float
    auc_likely: Interval
    brier: float
    brier_skill: float
    log_loss: float
    slope: float
    slope_likely: Interval
    intercept: float
    ece: float
    deciles: tuple[Decile, ...]
    """From the best."""


def splits(sample: Sample) -> tuple[list[Split], bool]:
    """Return the splits, the headline last, and whether they go forward in time.

    A row is fitted if its horizon ends before the cut, and judged if it lies after it. Without time, leads are dealt to folds.
    Where rows were followed for different times, all rows before the cut are fitted, as far as they were followed by then.
    """
    when = sample.when
    found: list[Split] = []
    if when is not None:
        mature = sample.mature
        cuts = np.quantile(when[sample.won & mature], _CUTS, method="higher")
        for i, cut in enumerate(cuts):
            end = cuts[i + 1] if i + 1 < len(cuts) else np.inf
            train, test = when + sample.horizon_ms <= cut, (when >= cut) & (when < end)
            if sample.at_ms is None or sample.followed is not None:
                train = when < cut
            test &= mature
            if _enough(sample.won, train) and _enough(sample.won, test):
                words = f"fitted before {_CUTS[i]:.0%} of the wins, judged on the next"
                found.append(Split(words, train, test, float(cut)))
    if found:
        last = found.pop()
        return [*found, Split("fitted on the past, judged on the newest rows", last.train, last.test, last.cut)], True
    count = int(sample.leads.max()) + 1
    fold = np.random.default_rng(SEED).permutation(np.arange(count) % FOLDS)[sample.leads]
    folds = [Split(f"fold {k + 1}", fold != k, fold == k) for k in range(FOLDS)]
    folds = [one._replace(test=one.test & sample.mature) for one in folds]
    return [one for one in folds if _enough(sample.won, one.train) and sample.won[one.test].any()], False


def _enough(won: Bools, rows: Bools) -> bool:
    return int(won[rows].sum()) >= _LEAST_WINS and int((~won[rows]).sum()) >= _LEAST_WINS


class Fit(Protocol):
    """Gives probabilities."""

    def p(self, sample: Sample) -> Floats:
        """Return P(won) of each row."""


@dataclass(frozen=True)
class Judged:
    """The quality at each cut."""

    headline: Quality
    forward: bool
    earlier: tuple[Quality, ...] = ()
    cut: float | None = None
    """Of the headline: the instant in ms, or the place in the order."""


def judge(sample: Sample, refit: Callable[[Sample], Fit], *, earlier: bool = True) -> Judged | None:
    """Fit on the past of each cut and judge on what follows; `None` where too few wins can be held back.

    Without *earlier*, only the last cut of those forward in time is judged.
    """
    parts, forward = splits(sample)
    if forward and not earlier:
        parts = parts[-1:]
    seen: list[tuple[str, Bools, Floats]] = []
    for part in parts:
        try:
            fitted = refit(_past(sample, part))
        except LearningError:
            continue
        seen.append((part.words, part.test, fitted.p(sample.take(part.test))))
    if not seen:
        return None
    if forward:
        found = [quality(words, sample.take(test), p) for words, test, p in seen]
        return Judged(found[-1], forward, tuple(found[:-1]), parts[-1].cut)
    tested = np.any([test for _, test, _ in seen], axis=0)
    whole = np.zeros(sample.rows)
    for _, test, p in seen:
        whole[test] = p
    words = "leads dealt to five folds by chance, because the table has no time"
    return Judged(quality(words, sample.take(tested), whole[tested]), forward)


def _past(sample: Sample, part: Split) -> Sample:
    if sample.followed is None or part.cut is None:
        return sample.take(part.train)
    return sample.until(part.cut)


def quality(words: str, sample: Sample, p: Floats) -> Quality:
    """Return how well probabilities *p* did on the rows of *sample*, with intervals by lead."""
    p = np.clip(p, _EDGE, 1 - _EDGE)
    log_odds = np.log(p) - np.log1p(-p)
    line = calibration_line(log_odds, sample.won)
    drawn = np.array(list(_drawn(log_odds, sample)))
    return Quality(
        words=words,
        rows=sample.rows,
        leads=int(sample.leads.max()) + 1,
        won=int(sample.won.sum()),
        auc=auc(p, sample.won),
        auc_likely=_range(drawn[:, 0]),
        brier=brier(p, sample.won),
        brier_skill=brier_skill(p, sample.won),
        log_loss=log_loss(p, sample.won),
        slope=line.slope,
        slope_likely=_range(drawn[:, 1]),
        intercept=line.intercept,
        ece=ece(p, sample.won),
        deciles=_deciles(p, sample),
    )


def _drawn(log_odds: Floats, sample: Sample) -> Iterator[tuple[float, float]]:
    """Yield AUC and slope of each draw. Rows with nearly the same log-odds are counted together, which is much faster."""
    values, place = np.unique(log_odds.round(_ROUNDED), return_inverse=True)
    twice = np.concatenate((values, values))
    outcome = np.repeat([True, False], values.size)
    for weight in draws_by_lead(sample.leads):
        winners = np.bincount(place, weights=weight * sample.won, minlength=values.size)
        losers = np.bincount(place, weights=weight * ~sample.won, minlength=values.size)
        counts = np.concatenate((winners, losers)).astype(np.float64)
        order = auc(twice, outcome, counts)
        yield order, calibration_line(twice, outcome, counts).slope if np.isfinite(order) else float("nan")


def _range(values: Floats) -> Interval:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(float(low), float(high))


def _deciles(p: Floats, sample: Sample) -> tuple[Decile, ...]:
    order = np.lexsort((np.arange(p.size), -p))
    found: list[Decile] = []
    before = 0
    total = max(int(sample.won.sum()), 1)
    for part in np.array_split(order, BINS):
        if not part.size:
            continue
        won, d = int(sample.won[part].sum()), sample.design_effect
        before += won
        found.append(Decile(part.size, won, float(p[part].mean()), jeffreys(won / d, part.size / d), before / total))
    return tuple(found)
