"""What leaves a partition: outputs, cuts, ticks and offsets, in transactions beside the hot path."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
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
"""Of one transaction, as is `MOST_BYTES`: whole batches, so a single larger one goes alone."""

FULL_OUTPUTS = 20_000
FULL_BYTES = 8 * 1024 * 1024
"""Unpublished, past which the partition takes no more records until some are out. A worker has many partitions."""

_CUT_BYTES = 400


class UnpublishedBatch(NamedTuple):
    """One applied batch that is not known to be published."""

    entry: OutboxEntry
    bytes: int
    idle: bool
    """A tick that judged nobody: worth a cut, but no tick after it."""
    oldest_ms: int | None
    """Kafka timestamp of the oldest record of the batch; `None` where there is none, and of what a predecessor left."""
    since: float
    """When it was applied, by `time.monotonic`, as far as this incarnation knows."""


class Publisher:
    """Publishes what the batches of one incarnation left in the outbox, in order, each once.

    It keeps its own copy of the outbox's end, so that Redis is read only at take-over. *propose* returns the tick that may be
    written now and the partition's horizon, or `None` twice.
    """

    def __init__(
        self,
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
        """Last one published, or where the partition stands."""
        self.published = published
        self._pending: deque[UnpublishedBatch] = deque()
        self._outputs = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._last = 0.0

    def add(self, entry: OutboxEntry, idle: bool = False, oldest_ms: int | None = None) -> None:
        """Take over the sending of *entry*, which the store holds already."""
        size = _CUT_BYTES + sum(_size(output) for output in entry.outputs)
        self._pending.append(UnpublishedBatch(entry, size, idle, oldest_ms, time.monotonic()))
        self._count(len(entry.outputs), size)
        if entry.outputs or len(self._pending) >= MOST_ENTRIES:
            self._changed.set()

    @property
    def waiting(self) -> int:
        """Batches applied and not known to be published."""
        return len(self._pending)

    @property
    def next(self) -> Mapping[str, int]:
        """Topic → the next offset after what is published."""
        return self._cut.next

    def pending_s(self) -> float:
        """Return for how long the oldest output has waited; 0 without any.

        What a predecessor left waits since the take-over.
        """
        oldest = next((waiting.since for waiting in self._pending if waiting.entry.outputs), None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def oldest_ms(self) -> int | None:
        """Return the Kafka timestamp of the oldest record whose outputs wait; `None` without any."""
        return min((one.oldest_ms for one in self._pending if one.entry.outputs and one.oldest_ms is not None), default=None)

    def full(self) -> bool:
        """Return whether the partition must wait for `room` before it takes more."""
        return self._outputs > FULL_OUTPUTS or self._bytes > FULL_BYTES

    async def room(self) -> None:
        """Wait until there is room again, or half a second: whoever waits has other things to look after."""
        try:
            async with asyncio.timeout(0.5):
                await self._room.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """No more will be added: publish what there is, then end."""
        self._closing = True
        self._changed.set()

    async def first(self) -> None:
        """Publish all that the predecessor left. At least one transaction: it proves that we are the one who may write.

        On a partition that begins, it carries a cut of batch 0, which says from which offsets; a rebuild needs to know.
        """
        await self._transaction(None)
        while self._pending:
            await self._transaction(None)
        await self._trim(None)

    async def run(self) -> None:
        """Publish until closed, soon where there is output, else about every tick interval.

        Any error ends the incarnation: after it nobody knows what this producer got through, and the next one asks Kafka.
        """
        self._last = time.monotonic()
        next_tick = self._last + self._settings.tick_interval
        while not self._closing or self._pending:
            await self._until_due(next_tick)
            tick, horizon_ms = None, None
            if time.monotonic() >= next_tick and not self._closing:
                next_tick = time.monotonic() + self._settings.tick_interval
                tick, horizon_ms = self._propose()
                if tick is not None and not await self._worth(tick):
                    tick = None
            everything = horizon_ms is not None
            if self._pending or tick is not None:
                everything = await self._transaction(tick) and everything
            elif horizon_ms is None:
                continue
            await self._trim(horizon_ms if everything else None)

    async def _until_due(self, next_tick: float) -> None:
        while not self._closing:
            now = time.monotonic()
            if self._outputs >= MOST_OUTPUTS or self._bytes >= MOST_BYTES or len(self._pending) >= MOST_ENTRIES:
                return
            due = min(next_tick, self._last + self._settings.publish_interval) if self._outputs else next_tick
            if now >= due:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(due - now):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _worth(self, tick: Tick) -> bool:
        """Return whether *tick* would say anything: it follows a batch that did, or somebody is due by it.

        Without this, each tick would be the reason for the next one's transaction, for ever, on a partition at rest.
        """
        return any(not waiting.idle for waiting in self._pending) or await self._store.anyone_due(tick.time_ms)

    async def _transaction(self, tick: Tick | None) -> bool:
        """Publish the next whole batches and *tick*; return whether nothing is left that was pending at its beginning."""
        taken = self._take()
        outputs = [output for waiting in taken for output in waiting.entry.outputs]
        sent = Counter(output.topic for output in outputs)
        topic = self._settings.internal_topic
        cuts = [waiting.entry.cut for waiting in taken]
        if not cuts and self._cut.batch == 0:
            cuts = [self._cut]
        outputs += cuts_outputs(topic, self._partition, cuts)
        if tick is not None:
            outputs.append(tick_output(topic, self._partition, tick))
        cut = taken[-1].entry.cut if taken else self._cut
        everything = len(taken) == len(self._pending)
        self._last = time.monotonic()
        with self._metrics.transaction_seconds.time():
            await self._producer.send(outputs, cut.next, cut.batch, failpoint)
        self._cut, self.published = cut, cut.batch
        self._metrics.transaction_records.inc(len(outputs))
        now_ms = time.time() * 1000
        for waiting in taken:
            if self._tracer is not None:
                self._tracer.sent(self._partition, waiting.entry, waiting.since)
            if waiting.entry.outputs and waiting.oldest_ms is not None:
                self._metrics.published_age_seconds.observe(max(0.0, now_ms - waiting.oldest_ms) / 1000)
            self._pending.popleft()
            self._count(-len(waiting.entry.outputs), -waiting.bytes)
        for name, count in sent.items():
            self._metrics.outputs.labels(name).inc(count)
        return everything

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
