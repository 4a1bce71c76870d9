"""Kinds of velocity: what grids name, what is counted, and what a report says of it."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid import velocity_kinds
from worker.core.grid.models import Velocity
from worker.core.scoring.state import VelocityWindow
from worker.core.scoring.velocity import KINDS

DAYS = st.lists(st.tuples(st.integers(20_000, 20_020), st.integers(0, 30)), max_size=60)


def test_grids_name_the_kinds_that_are_counted() -> None:
    """A kind on one side alone would stop a grid, or never be used."""
    assert set(get_args(Velocity.model_fields["count"].annotation)) == set(velocity_kinds.KINDS) == set(KINDS)
    assert all(name == kind.name == velocity_kinds.KINDS[name].name for name, kind in KINDS.items())


@pytest.mark.parametrize("name", KINDS)
@given(matches=DAYS, within=st.integers(1, 7), data=st.data())
def test_a_number_is_within_its_bound_and_does_not_depend_on_order(
    name: str, matches: list[tuple[int, int]], within: int, data: st.DataObject
) -> None:
    """The lint warns of steps beyond the bound, and events come late."""
    kind = KINDS[name]
    numbers = set()
    for ordered in (matches, data.draw(st.permutations(matches))):
        window = None
        for day, session in ordered:
            match = kind.match(day, {"session_id": f"s{session}"})
            assert match is not None
            window = match if window is None else kind.merge(window, match)
        number = 0 if window is None else kind.count(window, within, 20_020)
        most = velocity_kinds.KINDS[name].most(within)
        assert most is None or number <= most
        numbers.add(number)
    assert len(numbers) == 1


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.once_a_day])
@given(days=st.lists(st.integers(20_000, 20_200), min_size=1, max_size=60))
def test_a_second_match_of_a_day_changes_nothing(name: str, days: list[int]) -> None:
    """The fold skips it, if the kind says so."""
    kind = KINDS[name]
    window = VelocityWindow(days[0], b"\1")
    for day in days:
        match = kind.match(day, {})
        assert match is not None
        window = kind.merge(window, match)
        latest = kind.match(window.day, {})
        assert latest is not None
        assert kind.merge(window, latest) == window
