"""Whether a model still fits what comes: seen against expected wins by month, and shifts of what it reads.

The order of cures: move the intercept, fit again, ask. A shift without another rate of wins is a reason to ask, not to act.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from worker.learning.intervals import Bools, Floats

MOST_Z: Final = 3.0
LEAST_WINS: Final = 10
"""Seen or expected: fewer ring no alarm."""

BINS: Final = 10
LEVEL: Final = 0.99
"""An unchanged sample passes its limit once in a hundred times."""

_HALF: Final = 0.5


class Month(NamedTuple):
    """The wins of one month's matured rows beside what the model expected of them."""

    month: str
    """As in `2026-03`."""
    rows: int
    seen: int
    expected: float
    z: float
    """(seen - expected)/√Σp(1 - p), divided by the square root of the design effect."""
    rings: bool
    """The difference is no chance: |z| above 3, with ten wins seen or expected."""

    @property
    def ratio(self) -> float:
        """Seen over expected; not a number where nothing is expected."""
        return self.seen / self.expected if self.expected else float("nan")


def by_month(months: Sequence[str], p: Floats, won: Bools, design_effect: float = 1.0) -> list[Month]:
    """Return each month of *months*, one a row, in order. Rows must be matured: their horizon has passed.

    *design_effect*: how many times as uncertain a count is because a lead has several rows.
    """
    names = np.asarray(months)
    found = []
    for month in sorted(set(months)):
        here = names == month
        seen, expected = int(won[here].sum()), float(p[here].sum())
        spread = math.sqrt(float((p[here] * (1 - p[here])).sum()) * design_effect)
        z = (seen - expected) / spread if spread else 0.0
        rings = abs(z) > MOST_Z and max(seen, expected) >= LEAST_WINS
        found.append(Month(month, int(here.sum()), seen, expected, z, rings))
    return found


class Shift(NamedTuple):
    """How differently two samples of one number are spread."""

    psi: float
    """Population stability index: Σ (q - p)·ln(q/p) over the bins."""
    limit: float
    """An unchanged sample of this size passes it once in a hundred times."""
    bins: int

    @property
    def shifted(self) -> bool:
        """The difference is more than noise."""
        return self.psi > self.limit


def shift(before: Floats, now: Floats, bins: int = BINS) -> Shift:
    """Compare what comes *now* with what was there *before*, in bins of equal counts of the latter.

    The usual limits, 0.1 and 0.25, are passed by most small samples that nothing changed in. Under no change the index is about
    χ² with bins - 1 degrees of freedom, times 1/n + 1/m. So the limit is the 99 % quantile of that (Yurdakul 2018).
    Half a row is added to each bin, so that an empty one is no infinite shift and the limit holds.
    """
    if not before.size or not now.size:
        raise ValueError("a sample is empty: give rows of both periods")
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1]))
    kept = int(edges.size) + 1
    one, other = (np.bincount(np.searchsorted(edges, sample, side="left"), minlength=kept) + _HALF for sample in (before, now))
    used = one + other > 2 * _HALF
    one, other = one[used] / one[used].sum(), other[used] / other[used].sum()
    psi = float(((other - one) * np.log(other / one)).sum())
    freedom = int(used.sum()) - 1
    limit = float(stats.chi2.ppf(LEVEL, freedom)) * (1 / before.size + 1 / now.size) if freedom else 0.0
    return Shift(psi, limit, int(used.sum()))


class Unseen(NamedTuple):
    """Rows with a signal that no row had when the model was trained."""

    share: float
    signals: list[tuple[str, int]]
    """Each such signal with its rows, the most frequent first."""


def unseen(rows: Iterable[Collection[str]], known: Collection[str]) -> Unseen:
    """Return how many of *rows*, each the signals of one lead that are not 0, have a signal that is not *known*."""
    counts: Counter[str] = Counter()
    total = touched = 0
    for signals in rows:
        new = [name for name in signals if name not in known]
        counts.update(new)
        total += 1
        touched += bool(new)
    return Unseen(touched / total if total else 0.0, sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def intercept_move(seen: float, expected: float) -> float:
    """Return by how much to move a model's log-odds so that it expects what was *seen* in the last block: ln(seen/expected).

    Half a win is added to both, so that a block without wins moves it by a finite number.
    """
    return math.log((seen + _HALF) / (expected + _HALF))
