"""Publishes a partition's outputs, cuts, ticks and offsets, in transactions beside the hot path."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from worker.core.batch.plan import MOST_BYTES
from worker.core.contract.journal import Tick, cuts_outputs, tick_output
from worker.core.contract.model import Output
from worker.engine.failpoint import failpoint
from worker.engine.retrying_store import RetryingStore
from worker.metrics import Metrics
from worker.ports import Cut, LogProducer, OutboxEntry, Tracer
from worker.settings import Settings

MOST_OUTPUTS = 5_000
MOST_ENTRIES = 2_000
"""Limits of one transaction, as `MOST_BYTES` is. It holds whole batches, so a larger batch is sent alone."""

FULL_OUTPUTS = 20_000
FULL_BYTES = 8 * 1024 * 1024
"""Unpublished outputs and bytes beyond which the partition takes no more records. A worker has many partitions."""

_CUT_BYTES = 400


class UnpublishedBatch(NamedTuple):
    """One applied batch that is not published yet, as far as is known."""

    entry: OutboxEntry
    bytes: int
    idle: bool
    """A tick that judged no lead. It needs a cut, but no tick after it."""
    oldest_ms: int | None
    """Kafka timestamp of the oldest record of the batch; `None` without any, and for batches of a predecessor."""
    applied_s: float
    """When it was applied, by `time.monotonic`. For batches of a predecessor, the time of the take-over."""


class Publisher:
    """Publishes the outbox entries of one incarnation, in order, each once.

    It keeps its own copy of the outbox's end, so Redis is read at take-over only. *propose* returns the tick that may be
    written now, and the partition's horizon. Either is `None` if it is not known.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        partition: int,
        producer: LogProducer,
        store: RetryingStore,
        metrics: Metrics,
        start: Cut,
        published: int,
        propose: Callable[[], tuple[Tick | None, int | None]],
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._producer = producer
        self._store = store
        self._metrics = metrics
        self._propose = propose
        self._tracer = tracer
        self._cut = start
        """The last published cut. Before the first, the cut at which the partition begins."""
        self.published = published
        self._pending: deque[UnpublishedBatch] = deque()
        self._outputs = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._sent_s = 0.0

    def add(self, entry: OutboxEntry, idle: bool = False, oldest_ms: int | None = None) -> None:
        """Send *entry*, which is stored already, with one of the next transactions."""
        size = _CUT_BYTES + sum(_size(output) for output in entry.outputs)
        self._pending.append(UnpublishedBatch(entry, size, idle, oldest_ms, time.monotonic()))
        self._count(len(entry.outputs), size)
        if entry.outputs or len(self._pending) >= MOST_ENTRIES:
            self._changed.set()

    @property
    def waiting(self) -> int:
        """Number of batches that are applied and not published, as far as is known."""
        return len(self._pending)

    @property
    def next(self) -> Mapping[str, int]:
        """Topic → the next offset after the last published batch."""
        return self._cut.next

    def pending_s(self) -> float:
        """Return how long the oldest output has waited; 0 without any. Outputs of a predecessor count from the take-over."""
        oldest_s = next((waiting.applied_s for waiting in self._pending if waiting.entry.outputs), None)
        return 0.0 if oldest_s is None else time.monotonic() - oldest_s

    def oldest_ms(self) -> int | None:
        """Return the Kafka timestamp of the oldest record whose outputs wait; `None` without any."""
        return min((one.oldest_ms for one in self._pending if one.entry.outputs and one.oldest_ms is not None), default=None)

    def full(self) -> bool:
        """Return whether the partition must wait for `room` before it takes more."""
        return self._outputs > FULL_OUTPUTS or self._bytes > FULL_BYTES

    async def room(self) -> None:
        """Wait until there is room again, for half a second at most. Then the caller checks whether it must end."""
        try:
            async with asyncio.timeout(0.5):
                await self._room.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Publish the batches that wait, then end. No more may be added."""
        self._closing = True
        self._changed.set()

    async def first(self) -> None:
        """Publish the batches of the predecessor, in at least one transaction. That proves that this producer is not fenced.

        On a new partition the transaction has a cut of batch 0 with the first offsets. A rebuild needs them.
        """
        await self._transaction(None)
        while self._pending:
            await self._transaction(None)
        await self._trim(None)

    async def run(self) -> None:
        """Publish until closed: soon if there are outputs, else about every tick interval.

        Any error ends the incarnation. It is then unknown which transactions are committed, so the next incarnation asks Kafka.
        """
        self._sent_s = time.monotonic()
        next_tick_s = self._sent_s + self._settings.tick_interval
        while not self._closing or self._pending:
            await self._until_due(next_tick_s)
            tick, horizon_ms = None, None
            if time.monotonic() >= next_tick_s and not self._closing:
                next_tick_s = time.monotonic() + self._settings.tick_interval
                tick, horizon_ms = await self._tick()
            if self._pending or tick is not None:
                everything = await self._transaction(tick)
                await self._trim(horizon_ms if everything else None)
            elif horizon_ms is not None:
                await self._trim(horizon_ms)

    async def _tick(self) -> tuple[Tick | None, int | None]:
        """Return the tick to write now, if any is needed, and the partition's horizon."""
        tick, horizon_ms = self._propose()
        return tick if tick is not None and await self._is_needed(tick) else None, horizon_ms

    async def _until_due(self, next_tick_s: float) -> None:
        while not self._closing and not self._transaction_full():
            due_s = min(next_tick_s, self._sent_s + self._settings.publish_interval) if self._outputs else next_tick_s
            wait_s = due_s - time.monotonic()
            if wait_s <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _transaction_full(self) -> bool:
        return self._outputs >= MOST_OUTPUTS or self._bytes >= MOST_BYTES or len(self._pending) >= MOST_ENTRIES

    async def _is_needed(self, tick: Tick) -> bool:
        """Return whether *tick* has an effect: it follows a batch that is not idle, or a lead is due by it.

        Otherwise each tick of a partition at rest would cause the next transaction, without end.
        """
        return any(not waiting.idle for waiting in self._pending) or await self._store.anyone_due(tick.time_ms)

    async def _transaction(self, tick: Tick | None) -> bool:
        """Publish the next whole batches and *tick*; return whether these were all batches that waited at the beginning."""
        taken = self._take()
        everything = len(taken) == len(self._pending)
        cut = taken[-1].entry.cut if taken else self._cut
        records = [*(output for waiting in taken for output in waiting.entry.outputs), *self._journal_records(taken, tick)]
        self._sent_s = time.monotonic()
        with self._metrics.transaction_seconds.time():
            await self._producer.send(records, cut.next, cut.batch, failpoint)
        self._cut, self.published = cut, cut.batch
        self._metrics.transaction_records.inc(len(records))
        self._remove(taken)
        return everything

    def _journal_records(self, taken: Sequence[UnpublishedBatch], tick: Tick | None) -> list[Output]:
        """Return the cuts of *taken*, and *tick*, as records of the journal."""
        topic = self._settings.internal_topic
        cuts = [waiting.entry.cut for waiting in taken]
        if not cuts and self._cut.batch == 0:
            cuts = [self._cut]
        records = cuts_outputs(topic, self._partition, cuts)
        if tick is not None:
            records.append(tick_output(topic, self._partition, tick))
        return records

    def _remove(self, taken: Sequence[UnpublishedBatch]) -> None:
        """Remove the batches *taken*, which are published, and count them."""
        now_ms = time.time() * 1000
        for waiting in taken:
            outputs = waiting.entry.outputs
            if self._tracer is not None:
                self._tracer.sent(self._partition, waiting.entry, waiting.applied_s)
            if outputs and waiting.oldest_ms is not None:
                self._metrics.published_age_seconds.observe(max(0.0, now_ms - waiting.oldest_ms) / 1000)
            self._pending.popleft()
            self._count(-len(outputs), -waiting.bytes)
        for topic, count in Counter(output.topic for waiting in taken for output in waiting.entry.outputs).items():
            self._metrics.outputs.labels(topic).inc(count)

    def _take(self) -> list[UnpublishedBatch]:
        taken: list[UnpublishedBatch] = []
        outputs = size = 0
        for waiting in self._pending:
            outputs += len(waiting.entry.outputs)
            size += waiting.bytes
            if taken and (outputs > MOST_OUTPUTS or size > MOST_BYTES or len(taken) >= MOST_ENTRIES):
                break
            taken.append(waiting)
        return taken

    async def _trim(self, horizon_ms: int | None) -> None:
        failpoint("before_trim")
        await self._store.trim(self.published, horizon_ms)
        failpoint("after_trim")

    def _count(self, outputs: int, size: int) -> None:
        self._outputs += outputs
        self._bytes += size
        partition = str(self._partition)
        self._metrics.pending_outputs.labels(partition).set(self._outputs)
        self._metrics.pending_bytes.labels(partition).set(self._bytes)
        if self.full():
            self._room.clear()
        else:
            self._room.set()


def _size(output: Output) -> int:
    headers = sum(len(name) + len(value) for name, value in output.headers)
    return len(output.key or b"") + len(output.value or b"") + headers + 32
