"""A model of P(won) on signals of a grid: a ridge logistic regression, calibrated on leads that were not fitted.

Whether it may be used depends on a gate: enough outcomes, and a forward test that it passes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from scipy import optimize, special

from worker.core.grid.counted import counted_hash, counted_parts, signals_of, tiers_of
from worker.core.grid.models import Grid
from worker.core.grid.prediction import MOST_WEIGHT, read_model_file
from worker.learning.accuracy import Line, platt
from worker.learning.bootstrap import SEED
from worker.learning.evaluate import FOLDS, Judged, judge
from worker.learning.hazard import line_of, spans_of
from worker.learning.intervals import Floats
from worker.learning.sample import Sample

RIDGE: Final = 10.0
"""Of standardised signals."""

EVER: Final = "36500d"
"""The horizon of a table without time: its outcome has none, and this is the longest that a model can name."""

MIN_WON: Final = 100
"""Of the gate: so many won leads, and so many that were not won."""

MIN_LEADS: Final = 1_000
MIN_AUC: Final = 0.55
"""The likely range of the forward AUC lies above it."""

SLOPES: Final = (0.7, 1.3)
"""The likely range of the calibration slope touches this one."""

_DIGITS: Final = 9
_NO_TEST: Final = "no_forward_test: the table has no time, or too few wins to hold back; a CSV file needs --order"
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Weights:
    """A fitted model."""

    signals: tuple[str, ...]
    weights: Floats
    means: Floats
    intercept: float
    line: Line

    def log_odds(self, sample: Sample) -> Floats:
        """Return each row's log-odds before calibration."""
        return np.asarray(self.intercept + (_matrix(self.signals, sample) - self.means) @ self.weights, np.float64)

    def p(self, sample: Sample) -> Floats:
        """Return P(won) of each row."""
        return self.line.p(self.log_odds(sample))


def _matrix(signals: tuple[str, ...], sample: Sample) -> Floats:
    nothing = np.zeros(sample.rows)
    if not signals:
        return np.zeros((sample.rows, 0))
    return np.column_stack([sample.numbers.get(name, nothing) for name in signals])


def fit_weights(signals: tuple[str, ...], sample: Sample) -> Weights:
    """Fit weights, and calibrate them on folds of leads that were not fitted (Platt 1999)."""
    count = int(sample.leads.max()) + 1
    fold = np.random.default_rng(SEED).permutation(np.arange(count) % FOLDS)[sample.leads]
    unseen = np.zeros(sample.rows)
    for k in range(FOLDS):
        if (fold == k).any() and 0 < sample.won[fold != k].sum() < (fold != k).sum():
            part = _ridge(signals, sample.take(fold != k))
            unseen[fold == k] = part.log_odds(sample.take(fold == k))
    whole = _ridge(signals, sample)
    line = platt(unseen, sample.won) if sample.followed is None else line_of(unseen, sample)
    return Weights(whole.signals, whole.weights, whole.means, whole.intercept, line)


def _ridge(signals: tuple[str, ...], sample: Sample) -> Weights:
    x = _matrix(signals, sample)
    means, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows, levels, rate = sample, np.ones((sample.rows, 1)), float(sample.won.mean())
    if sample.followed is not None:
        spans = spans_of(sample)
        rows, levels, x, rate = spans.sample, spans.intercepts, x[spans.rows], spans.rate
    called = np.zeros(rows.rows) if rows.handed_over is None else rows.handed_over - rows.handed_over.mean()
    columns = np.column_stack((levels, called, (x - means) / spread))
    k = levels.shape[1]
    penalty = np.append(np.append(np.zeros(k), 1e-6), np.full(len(signals), RIDGE))
    y = rows.won.astype(np.float64)

    def loss(b: Floats) -> tuple[float, Floats]:
        eta = columns @ b
        value = float(np.sum(np.logaddexp(0, eta) - y * eta) + np.sum(penalty * b**2) / 2)
        return value, columns.T @ (special.expit(eta) - y) + penalty * b

    start = np.append(np.full(k, special.logit(y.mean())), np.zeros(len(signals) + 1))
    b = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "gtol": 1e-7}).x
    weights = np.clip(b[k + 1 :] / spread, -MOST_WEIGHT, MOST_WEIGHT)
    intercept = float(b[0]) if sample.followed is None else float(special.logit(rate))
    return Weights(signals, weights, means, intercept, Line(0.0, 1.0))


@dataclass(frozen=True)
class Model:
    """The text of model.json, or the reason why there is none."""

    text: bytes | None
    reason: str
    judged: Judged | None = None


def model_of(grid: Grid, sample: Sample, won_leads: int, horizon: str, cut: str | None) -> Model:
    """Return a model for *grid* on *sample*, which has its signals, if the gate opens.

    *cut*: the instant from which rows were kept back in the headline of the forward test.
    """
    signals = tuple(name for name in signals_of(grid) if np.ptp(sample.numbers.get(name, np.zeros(1))) > 0)
    leads = int(sample.judged().leads.max()) + 1
    reason = _too_few(won_leads, leads, bool(signals)) or ("" if sample.when is not None else _NO_TEST)
    if reason:
        return Model(None, reason)
    judged = judge(sample, lambda part: fit_weights(signals, part), earlier=False)
    reason = _not_good_enough(judged)
    if judged is None or reason:
        return Model(None, reason, judged)
    weights = fit_weights(signals, sample)
    shape = _shape(grid, weights, sample, horizon)
    times = (None, None) if sample.at_ms is None else (instant(int(sample.at_ms.min())), instant(int(sample.at_ms.max())))
    shape["trained"] = {
        "from": times[0], "to": times[1], "cut": cut, "leads": leads, "rows": sample.rows, "won": won_leads,
    }  # fmt: skip
    best = judged.headline
    shape["metrics"] = {
        "auc": [_short(one) for one in (best.auc, *best.auc_likely)],
        "slope": [_short(one) for one in (best.slope, *best.slope_likely)],
        "brier": _short(best.brier), "brier_skill": _short(best.brier_skill), "log_loss": _short(best.log_loss),
        "ece": _short(best.ece),
    }  # fmt: skip
    text = (json.dumps(shape, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    read_model_file(text, "model.json")
    return Model(text, "", judged)


def _shape(grid: Grid, weights: Weights, sample: Sample, horizon: str) -> dict[str, Any]:
    caps = {
        rule.id: rule.cap / abs(rule.points)
        for rule in grid.engagement.rules
        if rule.cap is not None and rule.points and rule.id in weights.signals
    }
    floors = {name: tier.min / tier.points for name, tier in tiers_of(grid) if tier.min is not None and tier.points < 0}
    caps |= {name: most for name, most in floors.items() if most > 0 and name in weights.signals}
    return {
        "model": 1,
        "features": {
            name: [_short(float(weight)), _short(float(mean))]
            for name, weight, mean in zip(weights.signals, weights.weights, weights.means, strict=True)
        },
        "caps": {name: _short(cap) for name, cap in caps.items()},
        "intercept": _short(weights.intercept),
        "calibration": [_short(weights.line.intercept), _short(weights.line.slope)],
        "horizon": horizon,
        "counted": counted_hash(grid),
        "parts": counted_parts(grid),
    }


def _short(number: float) -> float:
    """Return a number with nine digits: the last ones differ between machines."""
    return float(f"{number:.{_DIGITS}g}")


def instant(ms: int) -> str:
    """Return an instant as RFC 3339 text."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def duration_text(ms: int | None) -> str:
    """Return a horizon as a grid writes it."""
    if not ms:
        return EVER
    return f"{ms // _DAY_MS}d" if ms % _DAY_MS == 0 else f"{max(1, ms // 1000)}s"


def _too_few(won: int, leads: int, any_signal: bool) -> str:
    if won < MIN_WON:
        return f"too_few_wins: {won} of {MIN_WON}"
    if leads - won < MIN_WON:
        return f"too_few_losses: {leads - won} of {MIN_WON}"
    if leads < MIN_LEADS:
        return f"too_few_leads: {leads} of {MIN_LEADS:,}"
    return "" if any_signal else "no_signals: no rule of the grid matches any row"


def _not_good_enough(judged: Judged | None) -> str:
    if judged is None or not judged.forward:
        return _NO_TEST
    best = judged.headline
    if not best.auc_likely.low > MIN_AUC:
        return f"weak_order: forward AUC {best.auc:.2f} ({best.auc_likely.low:.2f}–{best.auc_likely.high:.2f})"
    low, high = best.slope_likely
    if not (low <= SLOPES[1] and high >= SLOPES[0]):
        return f"badly_calibrated: slope {best.slope:.2f} ({low:.2f}–{high:.2f}), and {SLOPES[0]} to {SLOPES[1]} is fair"
    return ""
