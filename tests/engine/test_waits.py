"""What a partition waits for, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from worker.core.contract.journal import Tick
from worker.core.contract.model import Record
from worker.engine import reader
from worker.engine.partition import ripe
from worker.engine.reader import PartitionReader
from worker.engine.supervisor import next_wait
from worker.ports import Fetched, LogPartition


def test_what_fails_after_every_take_over_is_tried_less_and_less_often() -> None:
    """Though each take-over may apply a batch: it would be tried five times a second for ever."""
    waits = [0.2]
    for _ in range(7):
        waits.append(next_wait(waits[-1], lasted_s=1.0))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert next_wait(10.0, lasted_s=31.0) == 0.2


@pytest.mark.parametrize(
    ("next_", "ends", "taken"),
    [
        ({"web": 10, "crm": 5}, {"web": 12, "crm": 5}, True),
        ({"web": 9, "crm": 5}, {"web": 12, "crm": 5}, False),
        ({"web": 9, "crm": 5}, {"web": 10, "crm": 5}, False),
        ({"web": 9, "crm": 5}, {"web": None, "crm": 5}, False),
        ({"web": 3, "crm": 5}, {"web": 3, "crm": 5}, True),
        ({"web": 2, "crm": 5}, {"web": 3, "crm": 5}, False),
        ({"web": 3, "crm": 4}, {"web": 3, "crm": 5}, False),
        ({"crm": 5}, {"crm": 5}, True),
    ],
)
def test_a_tick_waits_for_what_is_there_and_not_for_what_is_gone(
    next_: dict[str, int], ends: dict[str, int | None], taken: bool
) -> None:
    """A topic that was made anew ends before what the tick's writer had read: strays behind the tick would wait for ever."""
    assert ripe(Tick(1, {"web": 10, "crm": 5}), next_, ends.get) is taken


class OneFetch:
    """Stands in for the consumer's side of one fetch; the system tests have the real one."""

    def __init__(self, records: int) -> None:
        self.tps = frozenset({LogPartition("web", 0)})
        self.at = 0
        self.fetches = 0
        self.raw = [Record("web", 0, n, 1, None, b"x" * 100) for n in range(records)]

    def assignment(self) -> frozenset[LogPartition]:
        """Return what is ours."""
        return self.tps

    def seek(self, tp: LogPartition, at: int) -> None:
        """Go there."""
        self.at = at

    async def position(self, tp: LogPartition) -> int:
        """Return where it stands."""
        return self.at

    async def fetch(self, tps: Sequence[LogPartition], wait_s: float, most: int) -> dict[LogPartition, Fetched]:
        """Return all that is left at once, as a batch that compressed well does."""
        self.fetches += 1
        got, self.at = self.raw[self.at :], len(self.raw)
        return {LogPartition("web", 0): Fetched(got, self.at)}


async def test_what_is_cut_off_a_fetch_is_kept_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client unpacks the whole compressed batch at each fetch: gigabytes, for each piece of 2 MB."""
    monkeypatch.setattr(reader, "MOST_BYTES", 250)
    consumer: Any = OneFetch(7)
    one = PartitionReader(consumer, 0, {"web": 0})
    took: list[int] = []
    while not took or took[-1] < 6:
        part = (await one.take(["web"], 500, 0))["web"]
        assert len(part.records) <= 2
        assert part.next == part.records[-1].offset + 1
        took += [record.offset for record in part.records]
    assert took == list(range(7))
    assert consumer.fetches == 1


async def test_what_was_kept_is_forgotten_with_its_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rebalance the position is sought anew: the same records are fetched, and none is given twice."""
    monkeypatch.setattr(reader, "MOST_BYTES", 250)
    consumer: Any = OneFetch(5)
    one = PartitionReader(consumer, 0, {"web": 0})
    first = (await one.take(["web"], 500, 0))["web"].records
    consumer.tps = frozenset({LogPartition("web", 0), LogPartition("web", 1)})
    second = (await one.take(["web"], 500, 0))["web"].records
    assert [record.offset for record in first + second] == [0, 1, 2, 3]
    assert consumer.fetches == 2
