"""Drift: alarms that ring for a change and not for chance, by figures that were measured and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from worker.learning.accuracy import brier, ece
from worker.learning.drift import by_month, intercept_move, shift, unseen
from worker.learning.intervals import Floats

RUNS = 1_000


def test_months_are_counted_by_hand() -> None:
    """Ten rows at 20 %: two wins are expected, with a variance of 1.6."""
    p = np.full(20, 0.2)
    won = np.array([True] * 6 + [False] * 4 + [True] * 2 + [False] * 8)
    march, april = by_month(["2026-03"] * 10 + ["2026-04"] * 10, p, won)
    assert (march.month, march.rows, march.seen) == ("2026-03", 10, 6)
    assert march.expected == pytest.approx(2)
    assert march.z == pytest.approx(4 / math.sqrt(1.6))
    assert march.ratio == pytest.approx(3)
    assert not march.rings, "six wins are too few to tell"
    assert april.z == pytest.approx(0)
    assert by_month(["m"] * 20, p, won, design_effect=4.0)[0].z == pytest.approx(by_month(["m"] * 20, p, won)[0].z / 2)


def test_a_month_rings_for_another_rate_and_hardly_ever_for_chance() -> None:
    """A calibrated model is off by three standard errors in 0.3 % of months; a rate of 31 % in place of 5 % is always seen."""
    rng = np.random.default_rng(1)
    p = rng.beta(1, 9, (RUNS, 400))
    chance = [by_month(["m"] * 400, row, rng.random(400) < row)[0] for row in p]
    assert np.mean([one.rings for one in chance]) < 0.01
    assert np.std([one.z for one in chance]) == pytest.approx(1, abs=0.1)
    (drifted,) = by_month(["m"] * 400, np.full(400, 0.05), rng.random(400) < 0.31)
    assert drifted.rings
    assert drifted.z > 11
    (silent,) = by_month(["m"] * 400, np.full(400, 0.1), np.zeros(400, dtype=bool))
    assert silent.rings, "forty expected and none seen"
    assert silent.seen == 0


def test_nothing_expected_is_no_error() -> None:
    """Of a month in which the model gives no chance at all."""
    (month,) = by_month(["m"], np.zeros(1), np.array([False]))
    assert month.z == 0
    assert math.isnan(month.ratio)


def test_the_usual_limits_ring_for_most_small_samples_that_nothing_changed_in() -> None:
    """With 50 leads, 86 % pass 0.1 and 31 % pass 0.25, as it is usually computed. Its own noise is passed by 1 %."""
    rng = np.random.default_rng(2)
    samples = [(rng.normal(size=1_000), rng.normal(size=50)) for _ in range(RUNS)]
    plain = np.array([usual(*sample) for sample in samples])
    assert np.mean(plain > 0.1) == pytest.approx(0.86, abs=0.03)
    assert np.mean(plain > 0.25) == pytest.approx(0.31, abs=0.04)
    found = [shift(*sample) for sample in samples]
    assert np.mean([one.psi > 0.1 for one in found]) > 0.75
    assert np.mean([one.shifted for one in found]) < 0.02
    assert found[0].limit == pytest.approx(21.666 * (1 / 1_000 + 1 / 50), abs=1e-3)


def usual(before: Floats, now: Floats) -> float:
    """Return the index in ten bins, with a small share in place of none."""
    edges = np.quantile(before, np.arange(1, 10) / 10)
    one, other = (
        np.maximum(np.bincount(np.searchsorted(edges, sample), minlength=10) / sample.size, 0.002) for sample in (before, now)
    )
    return float(((other - one) * np.log(other / one)).sum())


def test_a_large_shift_is_seen_where_the_usual_limits_say_nothing() -> None:
    """Of thousands of rows, also a small one."""
    rng = np.random.default_rng(3)
    small = shift(rng.normal(size=20_000), rng.normal(0.1, size=20_000))
    assert small.psi < 0.1
    assert small.shifted
    assert shift(rng.normal(size=500), rng.normal(2, size=50)).shifted


def test_counts_with_many_zeros_have_fewer_bins() -> None:
    """A signal that nine of ten leads do not have is compared in the bins that there are."""
    rng = np.random.default_rng(4)
    unchanged = [shift(rng.poisson(0.1, 2_000).astype(float), rng.poisson(0.1, 200).astype(float)) for _ in range(RUNS)]
    assert {one.bins for one in unchanged} <= {1, 2, 3}
    assert np.mean([one.shifted for one in unchanged]) < 0.025
    assert shift(rng.poisson(0.1, 2_000).astype(float), rng.poisson(0.6, 200).astype(float)).shifted
    assert not shift(np.zeros(10), np.zeros(10)).shifted
    assert shift(np.zeros(100), np.ones(100)).shifted


def test_an_empty_sample_is_refused() -> None:
    """It says nothing of a shift."""
    with pytest.raises(ValueError, match="a sample is empty"):
        shift(np.zeros(0), np.ones(3))


def test_signals_that_were_never_seen_are_named() -> None:
    """With how many leads have them."""
    rows = [{"a"}, {"a", "new"}, {"new", "other"}, set()]
    assert unseen(rows, {"a", "b"}) == (0.5, [("new", 2), ("other", 1)])
    assert unseen([], {"a"}) == (0.0, [])


def test_moving_the_intercept_mends_a_changed_rate() -> None:
    """As measured on a drifted set: the error and the calibration error fall, and the order stays as it is."""
    rng = np.random.default_rng(5)
    true = rng.normal(-1.0, 1.0, 5_000)
    won = rng.random(5_000) < special.expit(true)
    logit = true - 2.0  # trained when few were won
    p = special.expit(logit)
    moved = special.expit(logit + intercept_move(float(won[:2_500].sum()), float(p[:2_500].sum())))
    assert brier(moved[2_500:], won[2_500:]) < brier(p[2_500:], won[2_500:]) - 0.02
    assert ece(moved[2_500:], won[2_500:]) < ece(p[2_500:], won[2_500:]) / 2
    assert intercept_move(30, 30) == 0
    assert intercept_move(0, 20) == pytest.approx(-math.log(41))
