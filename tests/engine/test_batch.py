"""What becomes of a batch's records."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from worker.adapters.memory import MemoryStore
from worker.core.batch.decode import decode_batch
from worker.core.contract.instants import MAX_AHEAD_MS
from worker.core.contract.journal import Cut, Tick, cuts_output, stray_output, tick_output
from worker.core.contract.model import Event, Output, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import unpack
from worker.engine.batch_builder import BatchBuilder, BatchStart
from worker.ports import Batch
from worker.settings import Settings

SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": "1"})
EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"demo.requested","subject":"L","time":"2026-01-01T00:00:00Z"}'


def in_journal(output: Output, offset: int) -> Record:
    """Return *output* as the journal gives it back."""
    return Record(output.topic, 0, offset, 5, output.key, output.value, output.headers)


def test_a_tick_that_came_too_late_is_passed_over_among_a_batchs_records() -> None:
    """A partition that folds again reads it where its predecessor found it not worth a batch: between other records."""
    journal = SETTINGS.internal_topic
    stray = stray_output(journal, 0, Record("lead.events.web", 3, 7, 5, None, EVENT))
    records = [
        in_journal(tick_output(journal, 0, Tick(1, {})), 0),
        in_journal(stray, 1),
        in_journal(cuts_output(journal, 0, []), 2),
    ]
    sifted = decode_batch(records, SETTINGS.internal_topic, 0, SETTINGS.partitions)
    assert [(event.lead, event.topic, event.offset) for event in sifted.items if isinstance(event, Event)] == [
        ("L", "lead.events.web", 7)
    ]
    assert not sifted.rejected
    assert not sifted.strays


async def test_traits_past_their_limit_go_to_the_dead_letters_under_the_name_that_is_published() -> None:
    """The lead keeps nothing of the event, and who reads `lead.dead` finds the reason in the schema."""
    event = json.loads(EVENT) | {"type": "profile.updated", "data": {"traits": {"note": "x" * 70_000}}}
    record = Record("lead.events.profile", 0, 4, 5, b"L", json.dumps(event).encode())
    compiled = CompiledGrid(parse_grid("grid: g\nversion: 1\n", "g.yaml"), SETTINGS.source)
    store = MemoryStore()
    builder = BatchBuilder(SETTINGS, compiled, 0, lambda leads, _, most: store.load(leads, most=most), asyncio.Lock())
    taken = await builder.events([record], BatchStart(1, {"lead.events.profile": 5}, None))
    (dead,) = taken.batch.entry.outputs
    told = dict(dead.headers)
    assert (dead.topic, dead.key, dead.value) == ("lead.dead", record.key, record.value)
    assert (told["lp-reason"], told["__connect.errors.offset"]) == (b"traits_refused", b"4")
    assert taken.batch.writes == []


async def test_a_list_that_no_lead_holds_is_refused_alone() -> None:
    """The other traits of the event are taken, what was there stays, and the dead letters name the list."""
    events = [
        json.loads(EVENT) | {"id": f"p{n}", "type": "profile.updated", "data": {"traits": traits}}
        for n, traits in enumerate([{"role": "cto", "tags": ["a"]}, {"role": "ceo", "tags": ["x"] * 65, "more": [{}]}])
    ]
    records = [Record("lead.events.profile", 0, n, 5, b"L", json.dumps(event).encode()) for n, event in enumerate(events)]
    grid = """{grid: g, version: 1, fit: {rules: [
        {id: ceo, points: 1, where: {role: ceo}}, {id: a, points: 2, where: {tags: a}},
        {id: x, points: 4, where: {tags: x}}, {id: more, points: 8, where: {more: {exists: true}}}]}}"""
    compiled = CompiledGrid(parse_grid(grid, "g.yaml"), SETTINGS.source)
    store = MemoryStore()
    builder = BatchBuilder(SETTINGS, compiled, 0, lambda leads, _, most: store.load(leads, most=most), asyncio.Lock())
    taken = await builder.events(records, BatchStart(1, {"lead.events.profile": 0}, None))
    (dead,) = taken.batch.entry.outputs
    told = dict(dead.headers)
    assert (told["lp-reason"], told["__connect.errors.offset"]) == (b"traits_refused", b"1")
    assert b"data.traits.tags, data.traits.more: a list must have at most 64" in told["__connect.errors.exception.message"]
    (write,) = taken.batch.writes
    assert write.fit == "3.0"


HEAVY = """\
grid: heavy
version: 1
engagement:
  half_life: 5s
  rules:
    - {id: demo, points: 40, on: demo.requested, intent: true}
stages:
  mql: {enter: 15, leave: 10}
  sql: {enter: 30, leave: 20}
"""
TOPICS = ("lead.events.crm", "lead.events.web", SETTINGS.internal_topic)
MOST = 200_000
DOSSIER = 61_000
AT_MS = 1_767_225_600_000
"""When all of these events happened."""


class Partition:
    """Applies what a builder makes, and keeps all of it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        compiled = CompiledGrid(parse_grid(HEAVY, "g.yaml"), SETTINGS.source)
        self.builder = BatchBuilder(
            SETTINGS, compiled, 0, lambda leads, _, most: self.store.load(leads, most=most), asyncio.Lock()
        )
        self.cut = Cut(0, dict.fromkeys(TOPICS, 0), "", "", 0)
        self.batches: list[Batch] = []

    async def take(self, records: list[Record], next_: dict[str, int], most: float = math.inf) -> int:
        """Take the first of *records*, as many as make one batch; return how many."""
        taken = await self.builder.events(records, BatchStart(self.cut.batch + 1, next_, None), most)
        await self.apply(taken.batch)
        return taken.records

    async def take_all(self, records: list[Record], next_: dict[str, int]) -> None:
        """Take *records*, in batches of `MOST` bytes."""
        while records:
            records = records[await self.take(records, next_, MOST) :]
        assert self.cut.next == next_

    async def tick(self, at_ms: int, past: dict[str, int], most: float = math.inf) -> None:
        """Judge those who are due, as many as make one batch."""
        leads = (await self.store.due(at_ms, 1_000)).leads
        await self.apply(
            (await self.builder.slice(leads, at_ms, BatchStart(self.cut.batch + 1, self.cut.next, None), past, most)).batch
        )

    async def again(self, other: Batch, records: list[Record]) -> None:
        """Fold the batch once more by its cut, as whoever has an older store does."""
        cut = other.entry.cut
        place = BatchStart(cut.batch, cut.next, None, fetched_ms=cut.fetched_ms)
        if cut.tick_ms is None:
            mine = [r for r in records if self.cut.next[r.topic] <= r.offset < cut.next[r.topic]]
            await self.apply((await self.builder.events(mine, place)).batch)
        else:
            leads = (await self.store.due(cut.tick_ms, cut.judged)).leads
            await self.apply((await self.builder.slice(leads, cut.tick_ms, place, cut.next if cut.tick_done else None)).batch)

    async def apply(self, batch: Batch) -> None:
        """Apply *batch* and stand at its end."""
        await self.store.acquire("1:1:t", 1)
        await self.store.apply("1:1:t", batch)
        self.cut = batch.entry.cut
        self.batches.append(batch)

    def outputs(self) -> list[Output]:
        """Return all that goes out."""
        return [output for batch in self.batches for output in batch.entry.outputs]


def asked(lead: int, offset: int, type_: str, **data: object) -> Record:
    """Return a record of `web`, or as a stray of the journal's: every seventh came to another partition."""
    event = json.loads(EVENT) | {"type": type_, "subject": f"L{lead}", "id": f"{type_}{lead}", "data": data}
    record = Record("lead.events.web", 0, offset, 5, b"L", json.dumps(event).encode())
    return in_journal(stray_output(SETTINGS.internal_topic, 0, record), offset) if lead % 7 == 0 else record


async def test_a_batch_ends_where_it_would_be_too_large_and_folds_again_the_same() -> None:
    """Five hundred leads with 60 kB of traits that all come to sql at once make 60 MB: one transaction must not."""
    partition, whole, later = Partition(), Partition(), Partition()
    traits = {f"t{n}": "x" * 1_000 for n in range(60)}
    records = sorted(asked(n, n, "profile.updated", traits=traits) for n in range(40))
    for one in (partition, whole, later):
        await one.take(records, dict.fromkeys(TOPICS, 40))
    bad = [Record("lead.events.web", 0, 80 + n, 5, b"L", b"not json") for n in range(3)]
    bad += [Record("lead.events.crm", 0, 40 + n, 5, b"L", b"not json") for n in range(3)]
    moving = sorted([asked(n, 40 + n, "demo.requested") for n in range(40)] + bad)
    staying = sorted(asked(n, 100 + n, "page.viewed", url="/") for n in range(40))
    past = dict.fromkeys(TOPICS, 100)
    await partition.take_all(moving, dict.fromkeys(TOPICS, 90))
    await whole.take(moving, dict.fromkeys(TOPICS, 90))
    while partition.cut.next != past:
        assert partition.cut.next == dict.fromkeys(TOPICS, 90)
        await partition.tick(AT_MS + 60_000, past, MOST)
    await whole.tick(AT_MS + 60_000, past)
    await partition.take_all(staying, dict.fromkeys(TOPICS, 140))
    await whole.take(staying, dict.fromkeys(TOPICS, 140))
    for batch in partition.batches[1:]:
        assert sum(len(o.value or b"") for o in batch.entry.outputs) <= MOST + 2 * DOSSIER
        assert sum(len(write.state) for write in batch.writes) <= MOST + DOSSIER
        await later.again(batch, [*moving, *staying])
        assert later.batches[-1] == batch
    assert (len(partition.batches), len(whole.batches)) == (1 + 20 + 20 + 10, 4)
    assert Counter(partition.outputs()) == Counter(whole.outputs())
    names = partition.store.held()
    assert await partition.store.load(names) == await whole.store.load(names)


STAMPS = st.sampled_from([None, 5, AT_MS - 10**8, AT_MS, AT_MS + 10**7, 2**62])
TIMES = st.sampled_from(["2025-12-31T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z", "9998-01-01T00:00:00Z"])


@examples(100)
@given(st.lists(st.tuples(STAMPS, TIMES, st.integers(0, 2)), min_size=1, max_size=12), st.integers(1, 12))
def test_an_event_held_to_its_fetch_is_folded_again_alike_at_any_later_time(
    sent: list[tuple[int | None, str, int]], size: int
) -> None:
    """The cut says when the records were fetched, where that matters; where it does not, their own timestamps say enough."""
    asyncio.run(_fetched_again(sent, size))


async def _fetched_again(sent: list[tuple[int | None, str, int]], size: int) -> None:
    records = []
    for offset, (stamp, time, lead) in enumerate(sent):
        event = json.loads(EVENT) | {"id": f"{offset}", "time": time, "subject": f"L{lead}"}
        records.append(Record("lead.events.web", 0, offset, stamp, b"L", json.dumps(event).encode()))
    first, again = Partition(), Partition()
    for start in range(0, len(records), size):
        part = records[start : start + size]
        fetched_ms = AT_MS + 1 + start
        place = BatchStart(first.cut.batch + 1, dict.fromkeys(TOPICS, start + len(part)), None, fetched_ms=fetched_ms)
        await first.apply((await first.builder.events(part, place)).batch)
        latest = max(unpack(write.state).clock_ms for write in first.batches[-1].writes)
        assert latest <= fetched_ms + MAX_AHEAD_MS
        unheld = decode_batch(part, SETTINGS.internal_topic, 0, 1)
        times = [item.at_ms for item in unheld.items if isinstance(item, Event)]
        if all(at_ms <= fetched_ms for at_ms in times):
            assert first.cut.fetched_ms is None
    for batch in first.batches:
        await again.again(batch, records)
        assert again.batches[-1] == batch
