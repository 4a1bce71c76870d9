"""A change of the grid, in the core and the memory store alone: it judges everybody, and a refold gives the same bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import a_grid, compiled
from worker.adapters import memory
from worker.adapters.memory import MemoryStore, Snapshot
from worker.core.contract.model import Record
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import unpack
from worker.engine.batch_builder import SLICE, BatchBuilder, BatchStart
from worker.ports import Applied, Batch
from worker.settings import Settings

SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": "1"})
WEB, JOURNAL, TOKEN = "lead.events.web", SETTINGS.internal_topic, "1:1:t"
START_MS = 1_767_225_600_000


def grid(version: int, points: int, half_life: str) -> CompiledGrid:
    """Return a grid of its own."""
    rule = f"{{id: demo, points: {points}, on: demo.requested, half_life: {half_life}}}"
    return compiled(a_grid(version=version, engagement=f"{{rules: [{rule}]}}", stages="{mql: {enter: 30, leave: 20}}"))


GRIDS = [grid(1, 20, "none"), grid(2, 10, "none"), grid(3, 40, "none"), grid(4, 25, "10s")]
"""Three by which no lead is ever due by itself."""
events = st.tuples(st.just("events"), st.lists(st.integers(0, 11), min_size=1, max_size=5))
ticks = st.tuples(st.just("tick"), st.integers(1, 8_000))
grids = st.tuples(st.just("grid"), st.integers(0, 3), st.sampled_from([1, 2, 1_000]))
plans = st.lists(events | ticks | grids, min_size=4, max_size=24)


class Worker:
    """One partition's worker without Kafka: `Partition`'s steps, each of which it keeps for whoever folds again."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.compiled = GRIDS[0]
        self.builder = BatchBuilder(SETTINGS, self.compiled, 0, self._load, asyncio.Lock())
        self.at = BatchStart(0, {WEB: 0, JOURNAL: 0}, None)
        self.records: list[Record] = []
        self.batches: list[Batch] = []
        self.copies: list[Snapshot] = []

    async def _load(self, leads: Any, batch: int, most: float) -> list[bytes | None]:
        return await self.store.load(leads, TOKEN, batch, most)

    async def apply(self, batch: Batch) -> None:
        self.copies.append(self.store.snapshot())
        assert await self.store.apply(TOKEN, batch) is Applied.DONE
        self.batches.append(batch)
        self.at = BatchStart(batch.entry.cut.batch, batch.entry.cut.next, batch.clock_ms)

    def place(self, **more: Any) -> BatchStart:
        return self.at._replace(batch=self.at.batch + 1, **more)

    async def events(self, now_ms: int, leads: list[int]) -> None:
        first = len(self.records)
        for number, lead in enumerate(leads, start=first):
            event = {
                "specversion": "1.0",
                "id": str(number),
                "source": "/s",
                "type": "demo.requested",
                "subject": f"lead-{lead}",
            }
            value = json.dumps(event | {"time": rfc3339(now_ms)}).encode()
            self.records.append(Record(WEB, 0, number, now_ms, None, value))
        next_ = {WEB: len(self.records), JOURNAL: 0}
        await self.apply((await self.builder.events(self.records[first:], self.place(next=next_))).batch)

    async def tick(self, at_ms: int) -> None:
        while self.at.clock_ms is None or self.at.clock_ms < at_ms:
            leads, unlisted = await self.store.due(at_ms, SLICE, TOKEN, self.at.batch)
            if unlisted:
                await self.apply((await self.builder.events((), self.place())).batch)
            else:
                past = self.at.next if len(leads) < SLICE else None
                await self.apply((await self.builder.slice(leads, at_ms, self.place(), past)).batch)

    async def begin(self, compiled: CompiledGrid, rate: int) -> None:
        self.compiled = compiled
        await self.apply(self.builder.begin(compiled, self.place(), rate, self.at.batch + 1))

    async def run(self, plan: list[tuple[Any, ...]]) -> int:
        """Do the steps of *plan*; return the time then."""
        await self.store.acquire(TOKEN, 1)
        now_ms = START_MS
        for name, *given_ in plan:
            if name == "tick":
                now_ms += given_[0]
                await self.tick(now_ms)
            elif name == "grid":
                await self.begin(GRIDS[given_[0]], given_[1])
            else:
                await self.events(now_ms, given_[0])
        return now_ms

    async def again(self, batch: Batch) -> None:
        """Fold *batch* of this worker once more upon what `store` holds, as `Refold` does: by its cut alone."""
        cut = batch.entry.cut
        before = self.batches[cut.batch - 2].entry.cut.next if cut.batch > 1 else {WEB: 0}
        place = BatchStart(cut.batch, cut.next, (await self.store.position()).clock_ms)
        self.builder.compiled = next(one for one in GRIDS if one.grid.sha256 == cut.grid)
        if cut.requeued:
            folded = self.builder.begin(self.builder.compiled, place, cut.requeued, cut.order)
        elif cut.tick_ms is None:
            folded = (await self.builder.events(self.records[before[WEB] : cut.next[WEB]], place)).batch
        else:
            leads = (await self.store.due(cut.tick_ms, cut.judged or SLICE, TOKEN, cut.batch - 1)).leads
            folded = (await self.builder.slice(leads, cut.tick_ms, place, cut.next if cut.tick_done else None)).batch
        assert folded.entry == batch.entry
        assert await self.store.apply(TOKEN, folded) is Applied.DONE


@examples(60)
@given(plans, st.randoms(use_true_random=False))
def test_everybody_is_judged_by_the_last_grid_and_a_refold_gives_the_same(plan: list[tuple[Any, ...]], rnd: Any) -> None:
    """Whatever moves leads meanwhile, and however many grids follow each other before one is through."""

    async def go() -> None:
        worker = Worker(MemoryStore())
        now_ms = await worker.run(plan)
        await worker.tick(now_ms + 20_000)  # a dozen leads, one a second at least
        held = await worker.store.load(worker.store.held())
        tags = {state.grid for packed in held if packed is not None and (state := unpack(packed)).alive}
        assert tags <= {worker.compiled.tag}
        ends = worker.store.snapshot()
        assert ends.requeue is None
        first = rnd.randrange(len(worker.batches))
        worker.store.restore(worker.copies[first])
        for batch in worker.batches[first:]:
            await worker.again(batch)
        assert worker.store.snapshot() == ends

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "LISTED", 2)
        asyncio.run(go())
