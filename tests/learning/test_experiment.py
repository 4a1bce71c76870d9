"""A live test of two grids: its size, its arms, and how often it is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from worker.learning.experiment import (
    ARMS,
    Call,
    Moved,
    Plan,
    PlannedGrid,
    Rate,
    arm_of,
    difference_interval,
    disagreements,
    judge,
    leads_needed,
    smallest_difference,
)

DAY = 86_400_000
PLAN = Plan(
    experiment=1,
    name="autumn",
    seed=1,
    champion=PlannedGrid("old", 1, "a" * 64),
    challenger=PlannedGrid("new", 2, "b" * 64),
    outcome="won",
    within_ms=30 * DAY,
    from_ms=10 * DAY,
    to_ms=50 * DAY,
    rate=0.1,
    difference=0.05,
    leads_an_arm=700,
)


def calls(**at_days: float) -> dict[str, Call]:
    """The first handover of each lead, by the day."""
    return {lead: Call(round(day * DAY), "") for lead, day in at_days.items()}


def chance_of_a_call(leads: int, one: float, other: float) -> float:
    """How often a test of so many leads an arm shows a difference, by every outcome that it can have."""
    ways = [stats.binom.pmf(np.arange(leads + 1), leads, rate) for rate in (one, other)]
    likely = [np.flatnonzero(way > 1e-7) for way in ways]
    chance = 0.0
    for a in likely[0].tolist():
        for b in likely[1].tolist():
            low, high = difference_interval(Rate(a, leads), Rate(b, leads))
            if low > 0 or high < 0:
                chance += float(ways[0][a] * ways[1][b])
    return chance


@pytest.mark.parametrize(("leads", "rate"), [(120, 0.1), (120, 0.3), (400, 0.05)])
def test_the_same_grid_twice_is_called_different_in_one_of_twenty_tests_at_most(leads: int, rate: float) -> None:
    """Exactly, over all outcomes that such a test can have."""
    assert 0.02 < chance_of_a_call(leads, rate, rate) <= 0.05


@pytest.mark.parametrize(("rate", "difference"), [(0.2, 0.14), (0.3, 0.15), (0.1, 0.1)])
def test_a_difference_of_the_planned_size_is_found_in_four_of_five_tests(rate: float, difference: float) -> None:
    """With the planned number of leads in each arm."""
    leads = leads_needed(rate, difference)
    assert chance_of_a_call(leads, rate, rate + difference) == pytest.approx(0.8, abs=0.03)


def test_simulated_tests_are_right_as_often_as_planned() -> None:
    """From the hash that assigns to the judgement: 400 tests of grids that differ, and 400 of grids that do not."""
    rng = np.random.default_rng(5)
    leads = 2 * leads_needed(0.2, 0.14)
    found = {0.0: 0, 0.14: 0}
    for number in range(400):
        plan = PLAN.__class__(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | {"seed": number})
        moved = disagreements(plan, calls(**{f"l{lead}": 11.0 for lead in range(leads)}), {})
        for better in found:
            rates = [0.2 + better * (one.arm == "challenger") for one in moved]
            won = rng.random(leads) < np.array(rates)
            reached = {one.lead: [one.at_ms + 1] for one, is_won in zip(moved, won, strict=True) if is_won}
            found[better] += judge(plan, moved, reached).shown
    assert found[0.0] <= 0.05 * 400 + 8
    assert found[0.14] == pytest.approx(0.8 * 400, abs=25)


def test_sizes_are_those_of_the_formula() -> None:
    """And the smallest visible difference is its inverse."""
    assert leads_needed(0.075, 0.05) == 576
    assert leads_needed(0.1, 0.05) == 700
    assert smallest_difference(0.1, 700) == pytest.approx(0.05, abs=1e-4)
    found = smallest_difference(0.2, 120)
    assert found == pytest.approx(0.164, abs=0.001)
    assert smallest_difference(0.5, 3) is None
    for rate, difference in ((0.0, 0.1), (0.5, 0.5), (0.2, 0.0)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            leads_needed(rate, difference)


def test_leads_take_part_at_the_first_disagreement_and_keep_their_arm() -> None:
    """Agreement within a minute is none, and so is what comes before or after the plan's time."""
    champion = calls(a=11, both=12, later=13, early=9, late=50)
    challenger = calls(b=11, both=12.0003, later=20)
    found = {one.lead: one for one in disagreements(PLAN, champion, challenger)}
    assert {lead: one.by for lead, one in found.items()} == {"a": "champion", "b": "challenger", "later": "champion"}
    assert all(one.arm == arm_of(PLAN, one.lead) for one in found.values())
    assert found["later"].at_ms == 13 * DAY
    turned = Moved("a", 5, "challenger", "champion")
    again = disagreements(PLAN, champion, challenger, [turned])
    assert again[0] == turned
    assert len(again) == 3


def test_arms_are_even_and_of_this_experiment_alone() -> None:
    """Another experiment assigns the same leads anew."""
    ids = [f"lead-{number}" for number in range(4000)]
    other = PLAN.__class__(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | {"name": "winter"})
    arms = [[arm_of(plan, lead) for lead in ids] for plan in (PLAN, other)]
    assert abs(arms[0].count("champion") - 2000) < 100
    same = sum(a == b for a, b in zip(*arms, strict=True))
    assert abs(same - 2000) < 100


def test_leads_are_judged_by_the_arm_that_they_were_given() -> None:
    """An outcome counts after the disagreement, and within the plan's time."""
    at_ms = 20 * DAY
    moved = [Moved(f"{arm}{number}", at_ms, "champion", arm) for arm in ARMS for number in range(10)]
    reached = {
        "champion0": [at_ms + 1],
        "champion1": [at_ms - 1],
        "champion2": [at_ms + 31 * DAY],
        "challenger3": [at_ms + 30 * DAY],
    }
    found = judge(PLAN, moved, reached)
    assert (found.champion, found.challenger) == (Rate(1, 10), Rate(1, 10))
    assert (found.called, found.not_called) == (Rate(1, 10), Rate(1, 10))
    assert found.low < 0 < found.high
    assert not found.shown
    assert judge(PLAN, [], {}).shown is False


def test_the_interval_is_that_of_the_paper() -> None:
    """Newcombe 1998, table II, example (a): 56 of 70 less 48 of 80."""
    low, high = difference_interval(Rate(48, 80), Rate(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
