"""Intervals, shrinkage and lifts: against published figures and other programs' answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from worker.learning.intervals import (
    STRENGTH,
    STRONGEST,
    WEAKEST,
    benjamini_hochberg,
    design_effect,
    exact_p,
    jeffreys,
    lift,
    logit,
    shrunk,
    strength_of,
)


@pytest.mark.parametrize(("rate", "coverage"), [(0.01, 0.99), (0.03, 0.98), (0.10, 0.94)])
def test_jeffreys_covers_as_computed(rate: float, coverage: float) -> None:
    """Exact coverage at 50 rows; Wald's interval covers 0.40, 0.78 and 0.88 there."""
    covered = sum(
        stats.binom.pmf(won, 50, rate) for won in range(51) if jeffreys(won, 50).low <= rate <= jeffreys(won, 50).high
    )
    assert covered == pytest.approx(coverage, abs=0.005)


@pytest.mark.parametrize(("won", "rows"), [(0, 10), (1, 10), (5, 10), (10, 10), (3.7, 41.2), (120, 9000)])
def test_jeffreys_is_made_of_quantiles_of_a_beta_distribution(won: float, rows: float) -> None:
    """Those of SciPy's distribution, but for the ends."""
    low, high = stats.beta.ppf([0.025, 0.975], won + 0.5, rows - won + 0.5)
    found = jeffreys(won, rows)
    assert found.low == pytest.approx(0 if won == 0 else low)
    assert found.high == pytest.approx(1 if won == rows else high)


def test_counts_that_are_no_part_are_refused() -> None:
    """More won than there are rows is a mistake of the caller."""
    with pytest.raises(ValueError, match="11 won of 10"):
        jeffreys(11, 10)
    with pytest.raises(ValueError, match="5 of 9 is no part of 4 of 20"):
        lift(5, 9, 4, 20)


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 399))
def test_an_interval_holds_its_rate_and_narrows_with_level(rows: int, won: int, more: int) -> None:
    """It also rises with each win."""
    won = min(won, rows)
    low, high = jeffreys(won, rows)
    assert 0 <= low <= won / rows <= high <= 1
    assert jeffreys(won, rows, 0.8).low >= low
    assert jeffreys(won, rows, 0.8).high <= high
    if won < rows:
        assert jeffreys(won + 1, rows).high >= high


def test_lift_is_the_odds_ratio_of_a_table() -> None:
    """With ½ in each cell: 9.5·180.5/(32.5·20.5), and the standard error of the four."""
    found = lift(9, 41, 29, 241)
    assert found.log_odds == pytest.approx(np.log((9.5 / 32.5) / (20.5 / 180.5)))
    assert found.se == pytest.approx(np.sqrt(1 / 9.5 + 1 / 32.5 + 1 / 20.5 + 1 / 180.5))
    assert found.interval == pytest.approx((found.log_odds - 1.96 * found.se, found.log_odds + 1.96 * found.se), abs=1e-4)


@given(st.integers(0, 30), st.integers(1, 60), st.integers(0, 200), st.integers(1, 400))
def test_chance_is_that_of_fishers_test(won: int, rows: int, other_won: int, other_rows: int) -> None:
    """The one-sided tests of SciPy, the nearer one doubled."""
    won, other_won = min(won, rows), min(other_won, other_rows)
    table = [[won, rows - won], [other_won, other_rows - other_won]]
    sides = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert exact_p(won, rows, won + other_won, rows + other_rows) == pytest.approx(min(1, 2 * min(sides)))


def test_benjamini_hochberg_keeps_what_the_paper_keeps() -> None:
    """The 15 tests of Benjamini and Hochberg (1995), section 3.2: four stay at 5 %, where Bonferroni keeps three."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert benjamini_hochberg(p, 0.05) == [True] * 4 + [False] * 11
    assert benjamini_hochberg(p[::-1], 0.05) == [False] * 11 + [True] * 4
    assert benjamini_hochberg([], 0.1) == []


@given(st.lists(st.floats(0, 1), max_size=30), st.sampled_from([0.01, 0.1, 0.3]))
def test_benjamini_hochberg_agrees_with_scipy(p: list[float], share: float) -> None:
    """SciPy adjusts the values in place of the limits."""
    expected = stats.false_discovery_control(p) if p else []
    found = benjamini_hochberg(p, share)
    assert [kept for kept, adjusted in zip(found, expected, strict=True) if abs(adjusted - share) > 1e-9] == [
        adjusted <= share for adjusted in expected if abs(adjusted - share) > 1e-9
    ]


def test_strength_finds_the_spread_that_made_the_attributes() -> None:
    """Rates drawn from Beta(a, b) have a strength of a + b."""
    random = np.random.default_rng(1)
    rates = random.beta(6, 14, 3000)
    rows = random.integers(30, 200, 3000)
    assert strength_of(random.binomial(rows, rates).tolist(), rows.tolist(), 0.3) == pytest.approx(20, rel=0.1)


def test_strength_is_held_between_bounds() -> None:
    """Equal rates shrink as far as may be, opposite ones as little; one attribute tells nothing."""
    assert strength_of([10, 10, 10], [100, 100, 100], 0.1) == STRONGEST
    assert strength_of([0, 100], [100, 100], 0.5) == WEAKEST
    assert strength_of([1], [10], 0.1) == STRENGTH
    assert strength_of([0, 0], [10, 10], 0.0) == STRENGTH


def test_shrinkage_moves_small_counts_most() -> None:
    """3 of 3 is nearly the overall rate, 300 of 300 hardly."""
    assert shrunk(3, 3, 0.1, 20) == pytest.approx(5 / 23)
    assert shrunk(300, 300, 0.1, 20) == pytest.approx(302 / 320)
    assert shrunk(0, 0, 0.1, 20) == pytest.approx(0.1)
    assert logit(shrunk(0, 0, 0.1, 20)) == pytest.approx(np.log(1 / 9))


def test_design_effect_counts_repeated_rows_once() -> None:
    """Four copies of each lead carry a quarter of the rows' information; one row a lead carries it all."""
    random = np.random.default_rng(2)
    won = random.random(500) < 0.3
    assert design_effect(np.repeat(np.arange(500), 4), np.repeat(won, 4)) == pytest.approx(4)
    assert design_effect(np.arange(500), won) == 1
    assert design_effect(np.arange(0), won[:0]) == 1
    assert design_effect(np.arange(3), np.array([True] * 3)) == 1


def test_a_lift_of_nearly_all_leads_takes_counts_that_are_fractions() -> None:
    """Counts divided by a design effect: what is left over for the rest is 0, but for the last bit of a sum."""
    almost = lift(51.9016526500294, 660.3043587142629, 52.262080793432375, 660.6647868576658)
    assert almost.se == pytest.approx(math.sqrt(1 / 52.4016526 + 1 / 608.9027061 + 1 / 0.8604281 + 1 / 0.5), rel=1e-6)
    with pytest.raises(ValueError, match="no part of"):
        lift(5, 6, 4, 60)
