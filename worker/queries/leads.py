"""Leads read from the store, judged at one instant by the same core as the worker's."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec

from worker.adapters.redis_client import connect
from worker.adapters.redis_scan import ids_of
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.core.batch.lead import Lead
from worker.core.contract.marks import shown_mark
from worker.core.grid.messages import GridError
from worker.core.grid.models import Grid, parse_grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE
from worker.core.scoring.prediction import model_of
from worker.core.scoring.score import read
from worker.core.scoring.state import STAGES, LeadState
from worker.errors import OtherPartitions
from worker.ports import OrderStore, Position, Store
from worker.presets import read_grid
from worker.settings import ReaderSettings

_PAGE: Final = 100
_REPLY_BYTES: Final = 2_000_000
"""Of states in one answer, passed by the last of them at most: while Redis writes it, every worker waits."""


class Leads(NamedTuple):
    """The leads of one namespace in Redis, partition by partition, and the grids that judge them."""

    stores: Sequence[Store]
    scorers: Sequence[CompiledGrid]
    positions: Sequence[Position]


@asynccontextmanager
async def held_leads(settings: ReaderSettings, grid: str | None = None) -> AsyncIterator[Leads]:
    """Open the leads of *settings*' namespace for reading, judged by the grid in force or, for a what-if, by *grid*.

    Raises `OtherPartitions`, and for *grid* `GridNotFound` or `GridError`.
    """
    instead = None if grid is None else CompiledGrid(read_grid(grid), settings.source)
    client = connect(settings.redis.get_secret_value())
    try:
        stores = [RedisStore(client, settings.namespace, p) for p in range(settings.partitions)]
        positions = [await store.position() for store in stores]
        for partition, position in enumerate(positions):
            if position.partitions not in (0, settings.partitions):
                raise OtherPartitions(
                    f"partition {partition} was made with {position.partitions} partitions, LEADPULSE_PARTITIONS says"
                    f" {settings.partitions}: set it to {position.partitions}"
                )
        scorers = (
            [instead] * len(stores)
            if instead is not None
            else await _in_force(stores, RedisOrder(client, settings.namespace), settings)
        )
        yield Leads(stores, scorers, positions)
    finally:
        await client.aclose()


async def leads_with_mark(settings: ReaderSettings, mark: str) -> list[str]:
    """Return the ids whose mark begins with *mark*. Logs and errors show a mark in place of an id. Reads all ids."""
    client = connect(settings.redis.get_secret_value())
    try:
        return sorted([lead async for lead in ids_of(client, settings.namespace) if shown_mark(lead).startswith(mark)])
    finally:
        await client.aclose()


async def _in_force(stores: Sequence[Store], order: OrderStore, settings: ReaderSettings) -> list[CompiledGrid]:
    """Return the grid that judged each partition last; the settings' grid for one that has none, and so no leads."""
    known: dict[bytes | None, CompiledGrid] = {}
    sources = [await store.grid() for store in stores]
    for source in sources:
        if source not in known:
            grid = read_grid(settings.grid) if source is None else parse_grid(source, "the grid in force")
            known[source] = CompiledGrid(await _with_labels(order, grid), settings.source)
    return [known[source] for source in sources]


async def _with_labels(order: OrderStore, grid: Grid) -> Grid:
    """Return *grid* as the namespace's order has it, where only the labels may be others: they are edited without a batch."""
    text = await order.text()
    if text is None or text == grid.source:
        return grid
    try:
        latest = parse_grid(text, "the namespace's grid")
    except GridError:
        return grid
    return latest if latest.sha256 == grid.sha256 else grid


async def states_of(store: Store, leads: Sequence[str]) -> list[bytes | None]:
    """Return each lead's packed state, in the order asked; `None` for a lead that is not held. In calls of a bounded size."""
    states: list[bytes | None] = []
    while len(states) < len(leads):
        states += await store.load(leads[len(states) :], most=_REPLY_BYTES)
    return states


class Hot(msgspec.Struct, frozen=True):
    """One lead of a top-N list."""

    lead_id: str
    score: float
    fit: float
    engagement: float
    grade: str | None
    stage: str
    as_of: str
    p: float | msgspec.UnsetType | None = msgspec.UNSET
    """Under a grid with a model: the chance that the lead is won; null: none is given."""


async def hottest(stores: Sequence[Store], scorers: Sequence[CompiledGrid], count: int, at_ms: int | None = None) -> list[Hot]:
    """Return the *count* leads of *stores* with the highest scores, exactly; equal scores by id.

    Each lead is judged at its clock, or at *at_ms* where that is later. `rank` bounds each score from above. Leads are taken
    in its order, until no bound is as high as the lowest score found. A bound is by the grid that judged the lead last.
    Under another of *scorers* (one for each store), the list is exact among the leads that were looked at.
    """
    queues = [await _Queue.of(store, scorer) for store, scorer in zip(stores, scorers, strict=True)]
    leads: list[Hot] = []
    scores: list[float] = []
    """A heap of the *count* highest."""
    while queue := _highest(queues):
        if len(scores) >= count and queue.bound < scores[0] - ALLOWANCE:
            break
        hot = await queue.judge_next(at_ms or 0)
        if hot is not None:
            leads.append(hot)
            (heapq.heappush if len(scores) < count else heapq.heappushpop)(scores, hot.score)
    return sorted(leads, key=lambda lead: (-lead.score, lead.lead_id))[:count]


async def likeliest(stores: Sequence[Store], scorers: Sequence[CompiledGrid], count: int) -> list[Hot]:
    """Return the *count* leads of *stores* with the highest chances, exactly; equal chances by score, then by id.

    Nothing bounds a chance, so every lead is read. Leads without a chance are left out.
    """
    queues = [await _Queue.of(store, scorer) for store, scorer in zip(stores, scorers, strict=True)]
    leads: list[Hot] = []
    while queue := _highest(queues):
        hot = await queue.judge_next(0)
        if hot is not None and isinstance(hot.p, float):
            leads.append(hot)
            if len(leads) >= 2 * count + _PAGE:
                leads = _first(leads, count)
    return _first(leads, count)


def _first(leads: list[Hot], count: int) -> list[Hot]:
    return sorted(leads, key=lambda lead: (-lead.p if isinstance(lead.p, float) else 0.0, -lead.score, lead.lead_id))[:count]


def _highest(queues: Sequence[_Queue]) -> _Queue | None:
    """Return the queue with the highest bound; `None` when all are empty."""
    queue = max(queues, key=lambda queue: queue.bound, default=None)
    return None if queue is None or queue.bound == -float("inf") else queue


def judged(scorer: CompiledGrid, lead: str, state: LeadState, at_ms: int) -> Hot:
    """Return *lead* at *at_ms*, which is not before its clock."""
    reading = read(scorer, state, at_ms)
    grade = scorer.grade(reading.fit, reading.engagement)
    model = model_of(scorer)
    p = msgspec.UNSET if model is None else model.p(state, at_ms)
    return Hot(lead, reading.score, reading.fit, reading.engagement, grade, STAGES[state.stage], rfc3339(at_ms), p)


class _Queue:
    """One partition's leads by falling bound, fetched a page at a time with their states."""

    def __init__(self, store: Store, scorer: CompiledGrid, clock_ms: int) -> None:
        self._store = store
        self.scorer = scorer
        self._page: deque[tuple[str, float, bytes | None]] = deque()
        self._offset = 0
        self.clock_ms = clock_ms
        self.bound = -float("inf")
        """Of the next lead; −∞ when there is none."""

    @classmethod
    async def of(cls, store: Store, scorer: CompiledGrid) -> _Queue:
        queue = cls(store, scorer, (await store.position()).clock_ms or 0)
        await queue._fill()
        return queue

    async def judge_next(self, at_ms: int) -> Hot | None:
        """Take the next lead, judged at its clock or at *at_ms* where that is later; `None` for a lead that is gone."""
        lead, _, packed = self._page.popleft()
        await self._fill()
        at_hand = Lead(self.scorer, lead, packed, max(self.clock_ms, at_ms))
        return judged(self.scorer, lead, at_hand.state, at_hand.at_ms) if at_hand.state.alive else None

    async def _fill(self) -> None:
        if not self._page:
            ranked = await self._store.top(_PAGE, self._offset)
            self._offset += len(ranked)
            states = await states_of(self._store, [lead for lead, _ in ranked])
            self._page.extend((lead, bound, packed) for (lead, bound), packed in zip(ranked, states, strict=True))
        self.bound = self._page[0][1] if self._page else -float("inf")
