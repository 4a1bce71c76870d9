"""Which time a tick may carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.ticks import CAUTION_MS, PATIENCE_MS, STRAYING_MS, Neighbour, View, candidate, held_back

NOW = 1_800_000_000_000
instants = st.integers(NOW - 3 * STRAYING_MS, NOW)
neighbours = st.lists(st.builds(Neighbour, strayed_ms=st.none() | instants, horizon_ms=st.none() | instants), max_size=5)


def test_a_partition_that_read_everything_stands_a_little_before_its_last_fetch() -> None:
    """Records on their way to the broker have older times than the fetch that did not see them."""
    assert candidate([View(7, 7, NOW, None)]) == NOW - CAUTION_MS


def test_a_partition_that_is_behind_stands_at_what_it_applied_last() -> None:
    """Time must not overtake an event that still waits."""
    assert candidate([View(6, 7, NOW, 123)]) == 123


def test_an_open_transaction_counts_as_being_behind() -> None:
    """Nothing past it may be read, so its position stays before the high watermark; its events may turn out to be old."""
    assert candidate([View(6, 9, NOW, 123), View(1, 1, NOW, 5)]) == 123


def test_the_topic_that_is_furthest_behind_decides() -> None:
    """A tick is for all topics of the partition."""
    assert candidate([View(7, 7, NOW, None), View(1, 5, NOW, 77), View(3, 3, NOW - 9, None)]) == 77


def test_nothing_is_said_before_the_first_fetch_of_every_topic() -> None:
    """An unread topic may hold anything."""
    assert candidate([View(7, 7, NOW, 5), View(0, None, None, None)]) is None
    assert candidate([View(0, 3, NOW, None)]) is None


@given(neighbours)
def test_a_tick_is_never_later_than_our_own_time_nor_held_longer_than_our_patience(others: list[Neighbour]) -> None:
    """A partition that is down must not stop the clock of all the others."""
    assert NOW - PATIENCE_MS <= held_back(NOW, others) <= NOW


def test_a_partition_that_forwards_strays_holds_the_others_back_to_its_own_horizon() -> None:
    """It may still forward one that is as old as that."""
    slow = Neighbour(strayed_ms=NOW - 60_000, horizon_ms=NOW - 30_000)
    assert held_back(NOW, [slow, Neighbour(NOW, NOW)]) == NOW - 30_000


def test_partitions_without_recent_strays_hold_nobody_back() -> None:
    """One stray must not slow a namespace for ever."""
    horizon = NOW - 30_000
    assert held_back(NOW, [Neighbour(None, horizon)]) == NOW
    assert held_back(NOW, [Neighbour(horizon - STRAYING_MS, horizon)]) == NOW
    assert held_back(NOW, [Neighbour(horizon - STRAYING_MS + 1, horizon)]) == horizon


def test_a_straying_partition_without_a_horizon_holds_back_as_long_as_patience_lasts() -> None:
    """Nobody knows how far it has read."""
    assert held_back(NOW, [Neighbour(NOW, None)]) == NOW - PATIENCE_MS


@given(instants, instants)
def test_two_partitions_that_forward_to_each_other_do_not_wait_for_each_other(one: int, two: int) -> None:
    """What a partition tells the others is its own time before they hold it back: else both would stand still."""
    first = held_back(one, [Neighbour(two, two)])
    second = held_back(two, [Neighbour(one, one)])
    assert max(first, second) >= min(one, two)
