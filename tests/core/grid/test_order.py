"""The order of a namespace's grids: it only grows, and all workers come to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid.order import KEPT, Entry, Order, followed, forced, joined, must_begin, numbered, packed, refusal, unpacked

A, B, C = (Entry(1, 1, "a", "t1"), Entry(2, 2, "b", "t1"), Entry(3, 2, "c", "t1"))


def test_the_first_grid_is_in_force() -> None:
    """Of a namespace that has none."""
    assert followed((), 7, "a", "t1") == (Entry(1, 7, "a", "t1"),)


@pytest.mark.parametrize(
    ("version", "sha256", "why"),
    [
        (3, "d", None),
        (2, "d", None),  # edited, its version not raised
        (2, "c", None),  # the one in force
        (1, "d", "its version 1 is lower than 2"),
        (1, "a", "its version 1 is lower than 2"),
        (2, "b", "it was in force before"),
    ],
)
def test_a_grid_follows_unless_it_would_lead_back(version: int, sha256: str, why: str | None) -> None:
    """By its version, or by what was in force before."""
    order = (A, B, C)
    found = refusal(order, version, sha256)
    assert (found is None) if why is None else (found is not None and why in found)
    after = followed(order, version, sha256, "t1")
    assert after == (order if why is not None or sha256 == "c" else (*order, Entry(4, version, sha256, "t1")))


def test_what_is_forced_is_in_force_and_what_was_is_past() -> None:
    """Also an older one; the one before it does not come back by itself then."""
    order = forced((A, B, C), 1, "a", "t1")
    assert order[-1] == Entry(4, 1, "a", "t1")
    assert followed(order, 1, "a", "t1") == order
    assert refusal(order, 2, "c") is not None
    assert refusal(order, 1, "d") is None


def test_new_tables_follow_and_old_ones_stay_behind() -> None:
    """A worker with old tables takes part in a new grid all the same."""
    order = followed((A,), 1, "a", "t2")
    assert order == (A, Entry(2, 1, "a", "t2"))
    assert followed(order, 1, "a", "t1") == order
    assert followed(order, 2, "b", "t1")[-1] == Entry(3, 2, "b", "t2")
    assert followed(order, 0, "refused", "t3")[-1] == Entry(3, 1, "a", "t3")


def test_a_partition_that_moves_between_tables_is_judged_again_once() -> None:
    """Old, new, old, new: a batch begins where the grid is another, or where the tables in force never judged it."""
    now = Entry(2, 1, "a", "t2")
    begun = "t1"
    begins = []
    for tables in ("t1", "t2", "t1", "t2", "t1"):
        begins.append(must_begin(now, tables, "a", begun))
        begun = tables if begins[-1] else begun
    assert begins == [False, True, False, False, False]
    assert must_begin(now, "t1", "b", "t1")
    assert must_begin(now, "t2", "", "")


def test_what_journals_remember_completes_the_order() -> None:
    """Nothing of it goes before what the store holds, unless the store went back in time."""
    assert joined((), (A, B)) == (A, B)
    assert joined((A,), (B,)) == (A, B)
    assert joined((B,), (A,)) == (A, B)
    other = Entry(2, 9, "x", "t1")
    assert joined((A, B), (other,)) == (A, other, B)
    assert joined((A, B), (A, B)) == (A, B)


def test_journals_of_older_versions_count_by_themselves() -> None:
    """They hold no numbers."""
    assert numbered([(0, 1, "a", "t"), (0, 2, "b", "t"), (7, 3, "c", "t")]) == [
        Entry(1, 1, "a", "t"),
        Entry(2, 2, "b", "t"),
        Entry(7, 3, "c", "t"),
    ]


grids = st.sampled_from([(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")])
files = st.tuples(grids, st.sampled_from(["t1", "t2", "t3"])).map(lambda pair: (*pair[0], pair[1]))


@given(st.lists(files, min_size=1, max_size=4), st.data())
def test_workers_with_any_files_come_to_one_and_stay(workers: list[tuple[int, str, str]], data: st.DataObject) -> None:
    """Each looks again and again, in any turn: soon nothing changes, and no grid was ever in force twice."""
    order: Order = ()
    for turn in data.draw(st.lists(st.integers(0, len(workers) - 1), max_size=12)):
        order = followed(order, *workers[turn])
    for _ in range(2):
        for worker in workers:
            order = followed(order, *worker)
    for worker in workers:
        assert followed(order, *worker) == order
    named = [entry.sha256 for entry in order]
    runs = [grid for place, grid in enumerate(named) if place == 0 or named[place - 1] != grid]
    assert len(runs) == len(set(runs)) <= len({sha256 for _, sha256, _ in workers})
    versions = [entry.version for entry in order]
    assert versions == sorted(versions)


def test_the_order_is_bounded_and_packs() -> None:
    """A namespace lives for years."""
    order: Order = ()
    for number in range(3 * KEPT):
        order = followed(order, number, str(number), "t")
    assert len(order) == KEPT
    assert order[-1] == Entry(3 * KEPT, 3 * KEPT - 1, str(3 * KEPT - 1), "t")
    assert unpacked(packed(order)) == order
    assert unpacked(None) == ()
    with pytest.raises(ValueError, match="array"):
        unpacked(b'{"a": 1}')
