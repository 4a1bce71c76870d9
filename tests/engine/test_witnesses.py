"""What the witnesses of W make of offsets, copies and journals, without Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from worker.core.contract.journal import Cut, JournalError
from worker.core.contract.model import Unread
from worker.core.contract.unread import DAMAGED
from worker.engine.witnesses import Series, Witnesses, _cuts, group_published, weigh, windows
from worker.errors import WorkerMustStop
from worker.ports import Committed, Fetched, LogPartition

JOURNAL = LogPartition("leadpulse.x.internal", 3)


def series(*batches: int | tuple[int, int]) -> Series:
    """Return the series of cuts that end at ten times their batch, or at the offset beside it; each in a record of its own."""
    found = Series(JOURNAL)
    for place, one in enumerate(batches):
        batch, end = one if isinstance(one, tuple) else (one, one * 10)
        found.add(Cut(batch, {"web": end}, "g", "w", 6), 100 + place)
    return found


@pytest.mark.parametrize(
    ("batches", "last"),
    [
        ((), None),
        ((0,), 0),
        ((0, 0, 0, 1, 2, 3), 3),  # owners that ended before their first batch wrote batch 0 again
        ((41, 42, 43), 43),  # retention deleted what was before, or leads were moved into this namespace
        ((0, 1, 2, 5, 6), 6),  # a journal that lost cuts with a broker: a refold would see it
        ((0, 1, 2, 1, 2, 3), 3),  # sent again by an older version, the same
        ((7, 8, 7, 8), 8),
    ],
)
def test_one_series_is_told_by_its_greatest_batch(batches: tuple[int, ...], last: int | None) -> None:
    """Histories that a namespace may have are never refused."""
    found = series(*batches).last
    assert (None if found is None else found.batch) == last


@pytest.mark.parametrize(
    "batches",
    [
        (0, 1, 2, 3, 0),  # begun anew upon an emptied Redis and a deleted group
        (56, 57, 58, 0),
        (56, 57, 58, 1),
        (0, 1, 2, 0),  # the same beginning, but a beginning all the same
        (56, 57, 58, (57, 571), (58, 581)),  # an older Redis and a group that forgot: batches cut otherwise
        (103, 57, 104, 58),  # the journals of two clusters in one
    ],
)
def test_a_second_series_is_refused_by_name(batches: tuple[int, ...]) -> None:
    """Topic, partition and both batches stand in the line."""
    with pytest.raises(
        WorkerMustStop, match=r"partition 3: its journal \(leadpulse\.x\.internal\) holds two series of cuts: batch \d+ at"
    ):
        series(*batches)


def test_a_cut_is_known_again_for_as_long_as_two_transactions_are_long() -> None:
    """Only the last transaction can have been sent twice; the memory for it is bounded."""
    series(*range(1, 5_001), *range(1_001, 5_001))
    with pytest.raises(WorkerMustStop, match="two series"):
        series(*range(1, 5_001), 500)


@pytest.mark.parametrize(
    ("first", "end", "since", "read"),
    [
        (0, 0, 0, [(0, 0)]),
        (0, 100, 100, [(0, 100)]),
        (0, 1_000, 1_000, [(872, 1_000), (360, 872), (0, 360)]),
        (0, 1_000, 300, [(300, 1_000), (0, 300)]),
        (700, 1_000, 0, [(700, 1_000)]),
        (0, 1_000, 5_000, [(872, 1_000), (360, 872), (0, 360)]),
        (60_000, 99_000, 98_990, [(98_872, 99_000), (98_360, 98_872), (96_312, 98_360), (88_120, 96_312), (60_000, 88_120)]),
    ],
)
def test_a_journal_is_read_backwards_in_growing_windows(first: int, end: int, since: int, read: list[tuple[int, int]]) -> None:
    """Back to the log's start if need be, each offset once; the first window reaches back to what the store has read."""
    assert list(windows(first, end, since)) == read


def test_the_greatest_of_three_holds() -> None:
    """Whoever says less has forgotten; the store's copy is behind after each death between a commit and its trim."""
    assert Witnesses(58, 57, 58, {}).published == 58
    assert not Witnesses(58, 57, 58, {}).forgetful
    for group, store, journal in [(0, 40, 58), (58, 40, 40), (40, 58, 40), (58, 58, 0)]:
        found = Witnesses(group, store, journal, {})
        assert found.published == 58
        assert found.forgetful


def test_offsets_that_another_program_committed_say_nothing() -> None:
    """It writes no batch into the metadata, or words of its own."""
    said = {"web": Committed(17, "5"), "crm": Committed(3, ""), "x": Committed(3, "host-1")}
    assert group_published(said) == 5
    assert group_published({}) == 0


def test_the_group_and_the_journal_must_end_one_batch_alike() -> None:
    """Both are of one transaction. Offsets before the first batch, or of another program, are not compared."""
    cut = Cut(5, {"web": 50, "crm": 7}, "g", "w", 6)
    ours = {"web": Committed(50, "5"), "crm": Committed(7, "5")}
    assert weigh(JOURNAL, ours, 4, cut) == Witnesses(5, 4, 5, {"web": 50, "crm": 7})
    assert weigh(JOURNAL, {}, 5, cut).ends == cut.next
    assert weigh(JOURNAL, ours, 5, None).ends == {"web": 50, "crm": 7}
    overwritten = ours | {"web": Committed(3, "")}
    assert weigh(JOURNAL, overwritten, 0, cut) == Witnesses(5, 0, 5, {"web": 50, "crm": 7})
    with pytest.raises(WorkerMustStop, match="two series"):
        weigh(JOURNAL, ours | {"web": Committed(51, "5")}, 5, cut)
    first = Cut(0, {"web": 40}, "g", "w", 6)
    for said in ("", "0"):
        assert weigh(JOURNAL, {"web": Committed(3, said)}, 0, first) == Witnesses(0, 0, 0, {})


class DamagedJournal:
    """A consumer of a journal whose one batch cannot be read."""

    def seek(self, tp: LogPartition, offset: int) -> None:
        """Nothing."""

    def end(self, tp: LogPartition) -> int:
        """Where it ends."""
        return 5

    async def fetch(self, tps: Sequence[LogPartition], *_: Any) -> dict[LogPartition, Fetched]:
        """Give its place."""
        (tp,) = tps
        place: Any = Unread.at(tp.topic, tp.partition, 4, first=4, base=4, reason=DAMAGED, detail="its checksum is wrong")
        return {tp: Fetched([place], 5)}


async def test_a_journal_that_cannot_be_read_is_refused_and_not_passed_over() -> None:
    """The last cut may be in it: what was published is then not known, and would go out again."""
    damaged: Any = DamagedJournal()
    with pytest.raises(JournalError, match="its checksum is wrong"):
        [cut async for cut in _cuts(damaged, JOURNAL, 0, 5, to_watermark=True)]
