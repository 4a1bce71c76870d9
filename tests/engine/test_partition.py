"""A whole partition on a log and a store in memory, killed between any two steps and taken over again."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from tests.kit.waits import until
from worker.adapters.memory import MemoryStore, Snapshot
from worker.adapters.memory_log import MemoryLog, MemoryReader
from worker.core.contract.journal import Cuts, decode_entry
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine import partition as partition_module
from worker.engine import publisher, retrying_store, takeover
from worker.engine.grid_file import GridFile
from worker.engine.partition import Context, Partition
from worker.errors import WorkerMustStop
from worker.metrics import Metrics
from worker.ports import LogPartition
from worker.settings import Settings

GRID: Final = b"""\
grid: whole
version: 1
engagement: {half_life: 30d, rules: [{id: demo, points: 40, on: demo.requested}]}
stages: {mql: {enter: 30, leave: 20}}
"""
DAY_MS: Final = 86_400_000
STEPS: Final = (
    "after_fence", "after_acquire", "before_ready", "before_apply", "after_apply", "before_transaction", "in_transaction",
    "before_commit", "after_commit", "before_trim", "after_trim",
)  # fmt: skip
HANG_S: Final = 300.0


class Death(Exception):
    """Ends an incarnation where it stands."""


class House:
    """One partition with everything around it."""

    def __init__(self) -> None:
        self.settings = Settings.load(
            {
                "LEADPULSE_INPUT_TOPICS": "web",
                "LEADPULSE_PARTITIONS": "1",
                "LEADPULSE_TICK_INTERVAL": "0.01",
                "LEADPULSE_PUBLISH_INTERVAL": "0",
                "LEADPULSE_MAX_BATCH": "7",
            }
        )
        self.ahead_ms = 0
        self.log = MemoryLog(self.settings, lambda: int(time.time() * 1000) + self.ahead_ms)
        self.store = MemoryStore()
        self.metrics = Metrics(CollectorRegistry())
        self.over = False
        self.ends: list[BaseException] = []
        self.partition: Partition | None = None
        compiled = CompiledGrid(parse_grid(GRID, "whole"), self.settings.source)
        reader = MemoryReader(self.log)
        reader.assign(LogPartition(topic, 0) for topic in self.settings.topics)
        safe = asyncio.Event()
        safe.set()
        self.context = Context(
            settings=self.settings,
            grid=GridFile(self.settings, compiled, self.metrics),
            group=reader,
            cluster=self.log,
            store_of=lambda _: self.store,
            metrics=self.metrics,
            neighbours=lambda _: (),
            draining=asyncio.Event(),
            safe=safe,
            fold_lock=asyncio.Lock(),
            compacted=(),
        )

    def ask(self, lead: str, event: int) -> None:
        """Have *lead* ask for a demo."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.log._now_ms() / 1000))
        event_ = {"specversion": "1.0", "id": f"{lead}-{event}", "source": "/t", "type": "demo.requested", "subject": lead}
        self.log.append("web", 0, json.dumps({**event_, "time": at}).encode(), lead.encode())

    async def incarnations(self) -> None:
        """Run one incarnation after the other, until the test is over or the worker must stop."""
        self.over = False
        while not self.over:
            partition = self.partition = Partition(self.context, 0)
            try:
                await partition.run()
            except Exception as group:  # noqa: BLE001 (kept for the test to judge)
                errors = list(leaves(group))
                self.ends += errors
                if any(isinstance(err, WorkerMustStop) for err in errors):
                    return

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until *holds*, while the partition works."""
        running = asyncio.create_task(self.incarnations())
        try:
            end = time.monotonic() + HANG_S
            while not holds():
                assert not running.done(), self.ends
                assert time.monotonic() < end, f"never came about; ends: {self.ends}"
                await asyncio.sleep(0.002)
        finally:
            self.over = True  # where it fails as it is cancelled, its errors take the place of the cancellation
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def outputs(self, kind: str) -> Counter[bytes | None]:
        """Return how often each lead is in the committed records of an output topic."""
        return Counter(record.key for record in self.log.committed_records(kind))

    def settled(self) -> bool:
        """Return whether the last batch is published and trimmed."""
        held = self.store.snapshot()
        return held.position.next.get("web") == self.log._topics["web"][0].end and not held.outbox

    def states(self) -> dict[str, bytes]:
        """Return every lead's packed state."""
        return {lead: write.state for lead, write in self.store.snapshot().leads.items()}


def leaves(err: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group."""
    if isinstance(err, BaseExceptionGroup):
        for one in err.exceptions:
            yield from leaves(one)
    else:
        yield err


@pytest.fixture
async def house() -> House:
    """Return a partition without an owner."""
    return House()


def die_at(monkeypatch: pytest.MonkeyPatch, step: str, times: int) -> None:
    """Have the incarnation die when it gets to *step* for the *times*-th time, once."""
    reached: list[str] = []

    def failpoint(name: str) -> None:
        reached.append(name)
        if name == step and reached.count(step) == times:
            raise Death(step)

    for module in (partition_module, publisher, retrying_store, takeover):
        monkeypatch.setattr(module, "failpoint", failpoint)


async def test_what_comes_in_goes_out_once(house: House) -> None:
    """Each lead's transition, its state, and offsets with the batch's number."""
    for n in range(20):
        house.ask(f"lead-{n}", 1)
    await house.until(house.settled)
    assert house.outputs("lead.mql") == {b"lead-%d" % n: 1 for n in range(20)}
    assert sorted(house.states()) == sorted(f"lead-{n}" for n in range(20))
    position = await house.store.position()
    committed = await house.log.committed(0)
    assert committed["web"].offset == 20
    assert int(committed["web"].metadata) == position.published
    assert house.ends == []


async def test_tombstones_are_passed_over_and_stop_nobody(house: House) -> None:
    """A compacted input topic holds many. They are no bad records, whatever their share."""
    for n in range(300):
        house.ask(f"lead-{n}", 1)
        for _ in range(4):
            house.log.append("web", 0, None, b"lead-%d" % n)
    await house.until(house.settled)
    assert house.outputs("lead.mql").total() == 300
    assert house.outputs("lead.dead").total() == 0
    assert house.metrics.registry.get_sample_value("leadpulse_tombstones_total") == 1_200
    assert house.ends == []


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
async def test_a_death_at_any_step_loses_and_doubles_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    """Its heir finds state and outbox, the log's open transaction is aborted, and what was committed is not sent again."""
    die_at(monkeypatch, step, times)
    for begin in (0, 10, 20):  # three take-overs, for the steps that each has once
        for n in range(begin, begin + 10):
            house.ask(f"lead-{n}", 1)
        await house.until(house.settled)
    assert [str(err) for err in house.ends] == [step]
    assert house.outputs("lead.mql") == {b"lead-%d" % n: 1 for n in range(30)}
    cuts = [
        cut.batch
        for record in house.log.committed_records(house.settings.internal_topic)
        if isinstance(entry := decode_entry(record), Cuts)
        for cut in entry.cuts
        if cut.batch
    ]
    assert cuts == sorted(set(cuts)), "each batch is published once, in order"


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_store_that_went_back_is_brought_up_to_what_was_published(house: House, *, emptied: bool) -> None:
    """By the same batches as before, without sending any of them again."""
    for n in range(10):
        house.ask(f"lead-{n}", 1)
    await house.until(house.settled)
    before = Snapshot() if emptied else house.store.snapshot()
    for n in range(5, 15):
        house.ask(f"lead-{n}", 2)
    await house.until(house.settled)
    states = house.states()
    house.store.restore(before)
    if emptied:
        await house.store.allow_rebuild()
    house.ask("one-more", 1)
    await house.until(house.settled)
    assert house.ends == []
    assert house.outputs("lead.mql") == {**{b"lead-%d" % n: 1 for n in range(15)}, b"one-more": 1}
    after = house.states()
    assert {lead: after[lead] for lead in states} == states


async def test_an_emptied_store_is_refused_without_an_operators_word(house: House) -> None:
    """It may be the wrong Redis."""
    house.ask("lead", 1)
    await house.until(house.settled)
    house.store.restore(Snapshot())
    await house.incarnations()
    (why,) = house.ends
    assert isinstance(why, WorkerMustStop)
    assert "the store is empty" in str(why)


async def test_records_that_retention_deleted_before_they_were_read_end_the_worker(house: House) -> None:
    """With the offsets that are gone."""
    house.ask("lead", 1)
    await house.until(house.settled)
    for n in range(4):
        house.ask(f"lead-{n}", 1)
    house.log.truncate(LogPartition("web", 0), 3)
    await house.incarnations()
    (why,) = house.ends
    assert isinstance(why, WorkerMustStop)
    assert "web 1 to 2" in str(why)


async def test_time_alone_brings_a_lead_down(house: House) -> None:
    """A tick goes through the journal, and judges the leads that are due by the log's clock."""
    house.ask("lead", 1)
    await house.until(house.settled)
    assert house.outputs("lead.cooled") == {}
    house.ahead_ms += 60 * DAY_MS
    await house.until(lambda: house.outputs("lead.cooled") == {b"lead": 1} and house.settled())
    assert house.ends == []


async def test_lag_is_shown_while_records_wait(house: House) -> None:
    """In records, and by the age of the oldest of them; 0 once they are taken."""

    def shown(name: str) -> Any:
        assert house.partition is not None
        house.partition.observe()
        return house.metrics.registry.get_sample_value(f"leadpulse_{name}", {"partition": "0"})

    house.ask("lead", 1)
    await house.until(lambda: house.settled() and shown("lag_records") == 0)
    hold = asyncio.Lock()
    await hold.acquire()
    house.context.fold_lock = hold  # nobody folds
    for n in range(30):
        house.ask(f"lead-{n}", 2)
    await house.until(lambda: shown("lag_records") == 30)
    assert shown("lag_seconds") is None, "forgotten with the incarnation"


async def test_a_second_owner_fences_the_first(house: House) -> None:
    """The first ends with its next transaction or write; nothing comes out twice."""
    house.ask("lead", 1)
    running = asyncio.create_task(Partition(house.context, 0).run())
    await until(house.settled)
    for n in range(10):
        house.ask(f"lead-{n}", 1)
    await house.until(house.settled)
    with pytest.raises(BaseExceptionGroup) as ended:
        await asyncio.wait_for(running, HANG_S)
    assert {type(err).__name__ for err in leaves(ended.value)} <= {"ProducerFailed", "Fenced", "IncarnationEnded"}
    assert set(house.outputs("lead.mql").values()) == {1}
