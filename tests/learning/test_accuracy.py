"""Order, error and calibration of scores: against scikit-learn, and against truth that is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from worker.learning.accuracy import auc, brier, brier_skill, calibration_line, ece, isotonic, log_loss, platt
from worker.learning.bootstrap import draws_by_lead, interval_by_lead
from worker.learning.intervals import Bools, Floats

ROWS = st.lists(st.tuples(st.integers(-5, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


def drawn(seed: int, rows: int, intercept: float = -1.0, slope: float = 1.0) -> tuple[Floats, Bools]:
    """Log-odds x, and outcomes at σ(intercept + slope · x)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return x, random.random(rows) < 1 / (1 + np.exp(-(intercept + slope * x)))


@given(ROWS)
def test_auc_is_that_of_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    """With ties and weights; not a number where nothing can be ordered."""
    score, won, weight = (np.array(column) for column in zip(*rows, strict=True))
    found = auc(score.astype(float), won, weight.astype(float))
    if weight[won].sum() == 0 or weight[~won].sum() == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(metrics.roc_auc_score(won, score, sample_weight=weight))
        assert auc(-score.astype(float), won, weight.astype(float)) == pytest.approx(1 - found)


def test_errors_are_those_of_scikit_learn() -> None:
    """Brier and log loss; skill 0 is the mean rate, and 1 is never wrong."""
    x, won = drawn(1, 500)
    p = 1 / (1 + np.exp(1 - x))
    assert brier(p, won) == pytest.approx(metrics.brier_score_loss(won, p))
    assert log_loss(p, won) == pytest.approx(metrics.log_loss(won, p))
    assert brier_skill(np.full(500, won.mean()), won) == pytest.approx(0)
    assert brier_skill(won.astype(float), won) == 1


def test_calibration_error_is_the_distance_of_said_and_seen() -> None:
    """Said 0.4 and 0.8 where 0.3 and 0.5 were seen: (0.1 + 0.3)/2."""
    p = np.array([0.4] * 10 + [0.8] * 10)
    won = np.array([True] * 3 + [False] * 7 + [True] * 5 + [False] * 5)
    assert ece(p, won, bins=2) == pytest.approx(0.2)
    assert ece(p[::-1], won[::-1], bins=2) == pytest.approx(0.2)


@pytest.mark.parametrize(("intercept", "slope"), [(-1.0, 1.0), (-3.0, 0.4), (0.5, 2.0)])
def test_the_line_finds_the_truth(intercept: float, slope: float) -> None:
    """Scores that shout, or whisper, and a wrong level."""
    x, won = drawn(3, 40_000, intercept, slope)
    for line in (calibration_line(x, won), platt(x, won)):
        assert line.intercept == pytest.approx(intercept, abs=0.06)
        assert line.slope == pytest.approx(slope, abs=0.06)


def test_the_line_is_that_of_scikit_learn() -> None:
    """Logistic regression without a penalty, with weights; rows of weight 2 are rows twice."""
    x, won = drawn(4, 300)
    weight = np.random.default_rng(5).integers(0, 4, 300).astype(float)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], won, sample_weight=weight)
    ours = calibration_line(x, won, weight)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-5)
    assert calibration_line(np.repeat(x, 2), np.repeat(won, 2)) == pytest.approx(calibration_line(x, won))


def test_scores_that_separate_give_a_finite_line() -> None:
    """Platt's aims keep it modest; a score that is the same for all has no slope to speak of."""
    x = np.linspace(-1, 1, 20)
    line, modest = calibration_line(x, x > 0), platt(x, x > 0)
    assert np.isfinite(line).all()
    assert 0 < modest.slope < line.slope
    assert modest.p(x).max() < 0.99 < line.p(x).max()
    flat = calibration_line(np.ones(10), np.arange(10) < 3)
    assert flat.p(np.ones(1))[0] == pytest.approx(0.3)


@given(ROWS)
def test_isotonic_is_that_of_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    """It never falls, and keeps the mean."""
    x, won, _ = (np.array(column) for column in zip(*rows, strict=True))
    found = isotonic(x.astype(float), won)
    assert found == pytest.approx(IsotonicRegression().fit_transform(x, won.astype(float)))
    assert found.mean() == pytest.approx(won.mean())


def test_draws_take_whole_leads_and_repeat() -> None:
    """Rows of one lead have one weight; the same seed gives the same draws."""
    leads = np.array([0, 0, 1, 2, 2, 2])
    draws = list(draws_by_lead(leads, draws=5))
    assert all(w[0] == w[1] and w[3] == w[4] == w[5] and w[0] + w[2] + w[3] == 3 for w in draws)
    assert np.array_equal(draws, list(draws_by_lead(leads, draws=5)))
    assert not np.array_equal(draws, list(draws_by_lead(leads, draws=5, seed=1)))


def test_intervals_by_lead_are_as_wide_as_the_leads_allow() -> None:
    """Copies of rows do not narrow an interval; a bootstrap by row would halve it."""
    x, won = drawn(6, 400)
    leads = np.arange(400)
    alone = interval_by_lead(lambda w: auc(x, won, w), leads)
    copied = interval_by_lead(lambda w: auc(np.repeat(x, 4), np.repeat(won, 4), w), np.repeat(leads, 4))
    assert copied == pytest.approx(alone)
    assert alone.low < auc(x, won) < alone.high
    nothing = interval_by_lead(lambda w: auc(x, won & False, w), leads)
    assert np.isnan(nothing).all()
