"""The default method: what each attribute tells in log-odds, and the share of it that other fields do not tell already.

Points are proportional to the log of the odds ratio, so that they can be added.
The share of a field, from 0 to 1, is what a ridge logistic regression leaves of it.
So interest that four rules count is not counted four times.
And no attribute that closes better than another of its field gets fewer points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, special

from worker.learning.bins import LEAST
from worker.learning.fields import Encoded
from worker.learning.intervals import Bools, Floats, lift, strength_of

RIDGE: Final = 10.0
_FARTHEST: Final = 20.0
"""No intercept and no weight of the handover goes farther from 0."""


class Told(NamedTuple):
    """What the attributes of one field tell alone."""

    rows: Floats
    """For each attribute, divided by the design effect."""
    won: Floats
    log_odds: Floats
    """Against the attribute that is worth 0, for each row that has it; 0 below five rows."""
    se: Floats
    """Of the log odds ratio against all other rows, from the counts."""
    units: Floats
    """The mean number of a signal that counts, where it is not 0."""

    @property
    def each(self) -> Floats:
        """Log-odds for one unit."""
        return self.log_odds / self.units


def strength_of_all(parts: Sequence[Encoded], won: Bools, design_effect: float, weight: Floats | None = None) -> float:
    """Return the strength of shrinkage, by the spread of the rates of all attributes of all fields."""
    rows = [part.counts(weight)[:-1] / design_effect for part in parts]
    winners = [part.counts(won.astype(np.float64))[:-1] / design_effect for part in parts]
    if not rows:
        return strength_of([], [], float(won.mean()))
    return strength_of(np.concatenate(winners).tolist(), np.concatenate(rows).tolist(), float(won.mean()))


def told(part: Encoded, won: Bools, strength: float, design_effect: float, weight: Floats | None = None) -> Told:
    """Return what a field's attributes tell, each alone. *weight*: as how many each row counts.

    Rates are shrunk towards the overall rate p̄: p̃ = (w + m·p̄)/(n + m), and L = logit(p̃) − logit(p̄). Shrinkage may turn the
    order of two rates with unequal counts. The order of the rates themselves then holds, with both at their mean.
    """
    overall = float(won.mean())
    rows = part.counts(weight) / design_effect
    winners = part.counts(won.astype(np.float64)) / design_effect
    if weight is not None:  # few rows where hardly any was won may hold a win, and weigh less than it
        rows = np.clip(rows, winners, np.maximum(winners, (won.size - won.sum()) / design_effect + winners))
    log_odds = special.logit((winners + strength * overall) / (rows + strength)) - special.logit(overall)
    fitted = rows * design_effect >= LEAST
    log_odds = np.where(fitted, _in_order(log_odds, winners, rows, fitted), 0.0)
    zero = part.field.zero if fitted[part.field.zero] else -1
    log_odds = np.where(fitted, log_odds - (log_odds[zero] if fitted[zero] else 0.0), 0.0)[:-1]
    all_rows, all_won = won.size / design_effect, won.sum() / design_effect
    se = [lift(w, n, all_won, all_rows).se for w, n in zip(winners[:-1], rows[:-1], strict=True)]
    return Told(rows[:-1], winners[:-1], log_odds, np.array(se), part.units())


def _in_order(log_odds: Floats, winners: Floats, rows: Floats, fitted: Bools) -> Floats:
    places = np.flatnonzero(fitted)
    rates = winners[places] / rows[places]
    order = places[np.lexsort((log_odds[places], rates))]
    found = log_odds.copy()
    if order.size:
        found[order] = optimize.isotonic_regression(log_odds[order], weights=rows[order]).x
    return found


class Shares(NamedTuple):
    """The fitted regression: intercept, a share for each field, and the weight of having been handed over."""

    intercept: float
    of: Floats
    handed_over: float


def shares(
    columns: Floats, won: Bools, handed_over: Bools | None = None, ridge: float = RIDGE, intercepts: Floats | None = None
) -> Shares:
    """Fit the share of each field by ridge logistic regression, within 0…1.

    *columns*: rows × fields, the log-odds that each field tells of each row. *handed_over* is a covariate: calls by sales raise
    the odds of leads that the grid in force prefers. Its weight becomes no points. *intercepts*: columns in place of the one
    intercept, such as one for each interval of a hazard.
    """
    fields = columns.shape[1]
    called = np.zeros(won.size) if handed_over is None else handed_over.astype(np.float64)
    called = called if 0 < called.sum() < called.size else np.zeros(won.size)
    levels = np.ones((won.size, 1)) if intercepts is None else intercepts
    k = levels.shape[1]
    whole = np.column_stack((levels, called, columns))
    penalty = np.append(np.append(np.zeros(k), 1e-6), np.full(fields, ridge))
    y = won.astype(np.float64)

    def loss(b: Floats) -> tuple[float, Floats]:
        eta = whole @ b
        value = float(np.sum(np.logaddexp(0, eta) - y * eta) + np.sum(penalty * b**2) / 2)
        return value, whole.T @ (special.expit(eta) - y) + penalty * b

    start = np.append(np.append(np.full(k, special.logit(y.mean())), 0.0), np.full(fields, 0.5))
    bounds = [(-_FARTHEST, _FARTHEST)] * (k + 1) + [(0.0, 1.0)] * fields
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7}
    ).x
    return Shares(float(found[0]), found[k + 1 :], float(found[k]))
