"""The verdict sees every kind of mistake, on a log that two partitions wrote in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.kit.grids import GRID
from tests.kit.traffic import people
from tests.kit.verdict import Verdict, Wrong
from worker.adapters.memory import MemoryStore
from worker.core.contract.journal import Cut, cuts_output
from worker.core.contract.model import Output, Record
from worker.core.contract.partitioner import owner
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import BatchBuilder, BatchStart
from worker.ports import LISTED, Applied, Batch
from worker.settings import Settings

PARTITIONS = 2
SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": str(PARTITIONS), "LEADPULSE_INPUT_TOPICS": "web"})
JOURNAL = SETTINGS.internal_topic
SCORER = CompiledGrid(parse_grid(GRID, "verdict.yaml"), SETTINGS.source)


@dataclass
class Log:
    """A recorded log, with what its workers left."""

    settings: Settings = SETTINGS
    listed: int = LISTED
    made_again: list[Record] = field(default_factory=list)
    records: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    outputs: list[Record] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)

    def scorer_of(self, cut: Cut) -> CompiledGrid:
        """There is one grid."""
        return SCORER

    def logs(self) -> str:
        """No worker is a process here."""
        return ""

    def add(self, output: Output, partition: int) -> None:
        """Append *output* to its topic."""
        records = self.records[partition] if output.topic == JOURNAL else self.outputs
        offset = sum(record.topic == output.topic for record in records)
        records.append(Record(output.topic, partition, offset, 1, output.key, output.value, output.headers))

    def verdict(self) -> Verdict:
        """Judge all of it."""
        verdict = Verdict(self)
        for partition, records in enumerate(self.records):
            verdict.fold(partition, sorted(records, key=lambda r: r[:3]))
        verdict.hold_states(self.states)
        verdict.hold_passed_on()
        verdict.hold_outputs(self.outputs)
        return verdict


class Partition:
    """One partition's steps, with the engine's own builder of batches and the memory store."""

    def __init__(self, log: Log, number: int) -> None:
        self.log, self.number, self.token = log, number, f"{number}:1:t"
        self.store = MemoryStore()
        self.at = BatchStart(0, {"web": 0, JOURNAL: 0}, None)
        self.builder = BatchBuilder(SETTINGS, SCORER, number, self._load, asyncio.Lock())
        log.add(cuts_output(JOURNAL, number, [Cut(0, dict(self.at.next), "", "", 0)]), number)

    async def _load(self, leads: Sequence[str], batch: int, most: float) -> list[bytes | None]:
        return await self.store.load(leads, self.token, batch, most)

    async def _apply(self, batch: Batch) -> None:
        assert await self.store.apply(self.token, batch) is Applied.DONE
        cut = batch.entry.cut
        for output in batch.entry.outputs:
            self.log.add(output, self.number if output.partition is None else output.partition)
        self.log.add(cuts_output(JOURNAL, self.number, [cut]), self.number)
        self.at = BatchStart(cut.batch, cut.next, batch.clock_ms)

    async def drain(self) -> bool:
        """Take what has come in one batch; return whether anything had."""
        records = [r for r in self.log.records[self.number] if r.offset >= self.at.next[r.topic]]
        folded = [r for r in records if r.topic != JOURNAL or r.headers[0][1] != b"cuts"]
        if not folded:
            return False
        next_ = {topic: max([at, *(r.offset + 1 for r in records if r.topic == topic)]) for topic, at in self.at.next.items()}
        folded.sort(key=lambda r: r[:3])
        await self._apply((await self.builder.events(folded, self.at._replace(batch=self.at.batch + 1, next=next_))).batch)
        return True

    async def tick(self, at_ms: int) -> None:
        """Let time pass."""
        leads, _ = await self.store.due(at_ms, 1_000, self.token, self.at.batch)
        place = self.at._replace(batch=self.at.batch + 1)
        await self._apply((await self.builder.slice(leads, at_ms, place, self.at.next)).batch)


async def _written() -> Log:
    """Return what two partitions make of made-up traffic with strays, aliases and a record that is no event."""
    log = Log()
    partitions = [Partition(log, number) for number in range(PARTITIONS)]
    for partition in partitions:
        await partition.store.acquire(partition.token, 1)
    events = people(3, 30, 400)
    for start in range(0, len(events), 100):
        for number, event in enumerate(events[start : start + 100]):
            stray = number % 10 == 0
            place = (owner(event["subject"], PARTITIONS) + stray) % PARTITIONS
            offset = sum(r.topic == "web" for r in log.records[place])
            log.records[place].append(Record("web", place, offset, 1, None, json.dumps(event).encode()))
        offset = sum(r.topic == "web" for r in log.records[0])
        log.records[0].append(Record("web", 0, offset, 1, None, b"no event"))
        while any([await partition.drain() for partition in partitions]):
            pass
    for partition in partitions:
        await partition.tick(1_760_000_000_000 + 10 * 60_000)
    while any([await partition.drain() for partition in partitions]):
        pass
    for partition in partitions:
        leads = partition.store.held()
        held = dict(zip(leads, await partition.store.load(leads), strict=True))
        log.states |= {lead: packed for lead, packed in held.items() if packed is not None}
    return log


@pytest.fixture(scope="module")
def whole() -> Log:
    """The log of workers that made no mistake."""
    return asyncio.run(_written())


def test_workers_without_a_mistake_pass(whole: Log) -> None:
    """The log holds some of everything that is judged."""
    verdict = whole.verdict()
    assert verdict.transitions.total() > 20
    assert verdict.dead.total() >= 4
    assert verdict.strays > 20
    assert verdict.passed_on.total() > 20
    assert verdict.ticks == PARTITIONS
    assert len(verdict.states) > 20


Spoil = Callable[[Log], Log]


def _transition(outputs: Sequence[Record]) -> int:
    return next(n for n, record in enumerate(outputs) if record.topic != "lead.dead")


def _outputs(change: Callable[[list[Record]], None]) -> Spoil:
    """Return a mistake that *change* makes in the outputs."""

    def spoil(log: Log) -> Log:
        outputs = list(log.outputs)
        change(outputs)
        return replace(log, outputs=outputs)

    return spoil


def _changed(log: Log) -> Log:
    at = _transition(log.outputs)
    wrong = json.loads(log.outputs[at].value or b"") | {"time": "2026-01-01T00:00:00Z"}
    outputs = list(log.outputs)
    outputs[at] = outputs[at]._replace(value=json.dumps(wrong).encode())
    return replace(log, outputs=outputs)


def _lose(outputs: list[Record]) -> None:
    del outputs[_transition(outputs)]


def _double(outputs: list[Record]) -> None:
    outputs.append(outputs[_transition(outputs)])


def _lose_a_letter(outputs: list[Record]) -> None:
    outputs.remove(next(r for r in outputs if r.topic == "lead.dead"))


def _double_a_letter(outputs: list[Record]) -> None:
    outputs.append(next(r for r in outputs if r.topic == "lead.dead"))


def _another_state(log: Log) -> Log:
    lead, other = sorted(log.states)[:2]
    return replace(log, states=log.states | {lead: log.states[other]})


def _lost_state(log: Log) -> Log:
    return replace(log, states=dict(sorted(log.states.items())[1:]))


def _journal(kind: bytes, change: Callable[[list[Record], int], None]) -> Spoil:
    """Return a mistake that *change* makes with the first record of *kind* in a journal."""

    def spoil(log: Log) -> Log:
        records = [list(of_one) for of_one in log.records]
        at, n = next(
            (of_one, n)
            for of_one in records
            for n, record in enumerate(of_one)
            if record.topic == JOURNAL and record.headers[0][1] == kind
        )
        change(at, n)
        return replace(log, records=records)

    return spoil


def _again(records: list[Record], at: int) -> None:
    last = max(record.offset for record in records if record.topic == JOURNAL)
    records.append(records[at]._replace(offset=last + 1))


MISTAKES: dict[str, tuple[Spoil, dict[str, int]]] = {
    "a wrong output": (_changed, {"lost": 1, "doubled": 1}),
    "a lost output": (_outputs(_lose), {"lost": 1}),
    "a doubled output": (_outputs(_double), {"doubled": 1}),
    "a lost dead letter": (_outputs(_lose_a_letter), {"lost": 1}),
    "a doubled dead letter": (_outputs(_double_a_letter), {"doubled": 1}),
    "a differing state": (_another_state, {"states": 1}),
    "a lost state": (_lost_state, {"states": 1}),
    "a stray forwarded twice": (_journal(b"stray", _again), {"doubled": 1}),
    "a message doubled": (_journal(b"message", _again), {"doubled": 1}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_seen_and_counted(whole: Log, name: str) -> None:
    """Exactly what was planted is counted, and nothing else."""
    spoil, counts = MISTAKES[name]
    with pytest.raises(Wrong) as seen:
        spoil(whole).verdict()
    found = {name: getattr(seen.value, name) for name in ("states", "lost", "doubled")}
    assert found == {"states": 0, "lost": 0, "doubled": 0} | counts


def test_a_wrong_order_is_seen(whole: Log) -> None:
    """The multiset is the same, and one lead's outputs stand the other way round."""
    outputs = list(whole.outputs)
    of_lead: dict[tuple[str, bytes | None], list[int]] = {}
    for at, record in enumerate(outputs):
        if record.topic != "lead.dead":
            of_lead.setdefault((record.topic, record.key), []).append(at)
    first, second = next(places for places in of_lead.values() if len(places) > 1)[:2]
    outputs[first], outputs[second] = outputs[second], outputs[first]
    with pytest.raises(AssertionError, match="not in order"):
        replace(whole, outputs=outputs).verdict()


def test_a_missing_batch_is_seen(whole: Log) -> None:
    """Cuts are numbered, so a lost one cannot go unnoticed."""
    records = [list(of_one) for of_one in whole.records]
    cuts = [n for n, record in enumerate(records[0]) if record.topic == JOURNAL and record.headers[0][1] == b"cuts"]
    del records[0][cuts[1]]
    with pytest.raises(AssertionError, match="cuts of 0"):
        replace(whole, records=records).verdict()


def test_events_that_no_batch_took_are_seen(whole: Log) -> None:
    """A worker that leaves the end of a topic unread."""
    records = [list(of_one) for of_one in whole.records]
    offset = sum(record.topic == "web" for record in records[0])
    records[0].append(Record("web", 0, offset, 1, None, b"no event"))
    with pytest.raises(AssertionError, match="read up to"):
        replace(whole, records=records).verdict()


def test_states_are_readable_in_messages(whole: Log) -> None:
    """Who reads the report sees both states, not bytes."""
    lead = min(whole.states)
    with pytest.raises(Wrong, match=rf"{lead}\n +held: +nothing"):
        replace(whole, states={name: packed for name, packed in whole.states.items() if name != lead}).verdict()
