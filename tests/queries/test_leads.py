"""The hottest leads: exactly those that judging everybody would give."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import pytest

from tests.kit.batches import a_batch, a_write
from tests.kit.grids import parsed
from tests.kit.models import with_a_model
from worker.adapters.memory import MemoryStore
from worker.cli.common import load_grid
from worker.core.batch.plan import plan_events
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.core.contract.partitioner import owner
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import unpack
from worker.demo.agenda import DAY_MS, START_MS
from worker.demo.simulate import Scenario, events
from worker.queries.leads import Hot, hottest, judged, likeliest, states_of

PARTITIONS = 4
TOKEN = "1:0:test"


@pytest.fixture(scope="module")
def scorer() -> CompiledGrid:
    """Return the grid that the leads are judged by."""
    return CompiledGrid(load_grid("saas-b2b"), "/leadpulse/test")


@pytest.fixture
async def stores(scorer: CompiledGrid) -> list[MemoryStore]:
    """Return four partitions with what 250 simulated people did in a fortnight, written as a worker writes it."""
    of_partition: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for record in events(Scenario(seed=3, leads=250, days=14)):
        decoded = decode(Record(record.topic, 0, 0, None, record.key, record.value))
        if isinstance(decoded, Event):
            of_partition[owner(decoded.lead, PARTITIONS)].append(decoded)
    stores = []
    for mine in of_partition:
        store = MemoryStore()
        await store.acquire(TOKEN, PARTITIONS)
        plan = plan_events(scorer, dict.fromkeys({event.lead for event in mine}), mine, None)
        await store.apply(TOKEN, a_batch(1, plan.writes))
        stores.append(store)
    return stores


async def everybody(stores: list[MemoryStore], scorer: CompiledGrid, at_ms: int) -> list[Hot]:
    """Judge all leads, one by one, and put them in order."""
    found = []
    for store in stores:
        for lead, packed in zip(store.held(), await store.load(store.held()), strict=True):
            state = unpack(packed or b"")
            if state.alive:
                found.append(judged(scorer, lead, state, max(state.clock_ms, at_ms)))
    return sorted(found, key=lambda one: (-one.score, one.lead_id))


@pytest.mark.parametrize("later_days", [0, 14, 20, 45])
async def test_the_hottest_are_those_that_judging_everybody_gives(
    stores: list[MemoryStore], scorer: CompiledGrid, later_days: int
) -> None:
    """Bounds order the reading, scores order the answer: also weeks after the bounds were written, when decay has moved all."""
    at_ms = START_MS + later_days * DAY_MS
    expected = await everybody(stores, scorer, at_ms)
    assert len(expected) > 150
    for count in (1, 2, 7, 30, 1_000):
        assert await hottest(stores, [scorer] * len(stores), count, at_ms) == expected[:count]


async def test_the_hottest_are_found_without_reading_everybody(stores: list[MemoryStore], scorer: CompiledGrid) -> None:
    """A top-10 of a million leads must not read a million states: the bounds end the search."""
    read: list[str] = []

    class Counting(MemoryStore):
        async def load(
            self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = math.inf
        ) -> list[bytes | None]:
            read.extend(leads)
            return await super().load(leads)

    rnd = random.Random(1)
    counting = []
    for store in stores:
        more = Counting()
        snapshot = store.snapshot()
        cold = min(snapshot.leads.values(), key=lambda write: float(write.score or "inf"))
        for number in range(5_000):  # many of whom the bound says that they are lukewarm at most
            snapshot.leads[f"cold-{number}"] = cold
            snapshot.rank[f"cold-{number}"] = rnd.random() * 40 - 40
        more.restore(snapshot)
        counting.append(more)
    assert [one.lead_id for one in await hottest(counting, [scorer] * len(counting), 10)] == [
        one.lead_id for one in await hottest(stores, [scorer] * len(stores), 10)
    ]
    assert len(read) < 1_000


async def test_the_likeliest_are_those_that_reading_everybody_gives(stores: list[MemoryStore], scorer: CompiledGrid) -> None:
    """In order of their chances, which is another order than that of the scores."""
    grid = parsed(with_a_model(scorer.grid.source.decode()))
    likely = CompiledGrid(grid, "/leadpulse/test")
    everyone = [one for one in await everybody(stores, likely, 0) if isinstance(one.p, float)]
    expected = sorted(everyone, key=lambda one: (-(one.p or 0), -one.score, one.lead_id))
    assert len({one.p for one in expected}) > 20
    assert [one.lead_id for one in expected] != [one.lead_id for one in everyone]
    assert any(one.p is None for one in await everybody(stores, likely, 0)), "a client has no chance"
    for count in (1, 7, 60, 1_000):
        assert await likeliest(stores, [likely] * len(stores), count) == expected[:count]
    assert all(one.p is msgspec.UNSET for one in await hottest(stores, [scorer] * len(stores), 10))


async def test_no_leads_are_an_empty_list(scorer: CompiledGrid) -> None:
    """A namespace that begins."""
    assert await hottest([MemoryStore()], [scorer], 10) == []


async def test_states_come_in_answers_of_a_bounded_size_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred leads of 60 kB are one answer of 6 MB, while which Redis answers nobody else."""
    store, asked = MemoryStore(), list[int]()
    await store.acquire(TOKEN, 1)
    await store.apply(TOKEN, a_batch(1, [a_write(f"lead-{n}", b"s" * 60_000) for n in range(100)]))
    load = store.load

    async def counted(leads: Sequence[str], most: float) -> list[bytes | None]:
        found = await load(leads, most=most)
        asked.append(sum(len(state or b"") for state in found))
        return found

    monkeypatch.setattr(store, "load", counted)
    leads = [f"lead-{n}" for n in range(101)]
    assert await states_of(store, leads) == [*[b"s" * 60_000] * 100, None]
    assert max(asked) < 2_100_000
    assert await states_of(store, []) == []
