"""One incarnation of a partition, from take-over to the first error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.core.batch.plan import MOST_BYTES
from worker.core.contract.journal import Tick
from worker.core.contract.marks import shown_mark
from worker.core.contract.model import Record
from worker.core.contract.unread import begins
from worker.core.grid.order import must_begin
from worker.core.grid.tables import TABLES_VERSION
from worker.engine.bad_share import BadShare
from worker.engine.batch_builder import SLICE, BatchBuilder, BatchStart, JudgedBy
from worker.engine.failpoint import failpoint
from worker.engine.fetch_time import FetchTime
from worker.engine.grid_file import GridFile
from worker.engine.journal_queue import JournalQueue
from worker.engine.lag import Lag, report, report_slice
from worker.engine.passed_over import check_passed, producers_faults, tell_passed
from worker.engine.publisher import Publisher
from worker.engine.reader import PartitionReader
from worker.engine.retrying_store import RetryingStore
from worker.engine.takeover import TakenOver, take_over
from worker.engine.ticks import PATIENCE_MS, Neighbour, candidate, held_back
from worker.errors import StoreFull, WorkerMustStop
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Batch, Fetched, Log, LogGroup, LogProducer, Store, Tracer
from worker.settings import Settings

log = logging.getLogger(__name__)

_FETCH_WAIT_S = 0.2


@dataclass
class Context:
    """Everything that the partitions of a worker share."""

    settings: Settings
    grid: GridFile
    """The grid in force. A partition takes a new one between two batches."""
    group: LogGroup
    cluster: Log
    store_of: Callable[[int], Store]
    metrics: Metrics
    neighbours: Callable[[int], Iterable[Neighbour]]
    """Returns the positions of all partitions but the given one, as far as they are known."""
    draining: asyncio.Event
    safe: asyncio.Event
    """Cleared while Redis may evict leads. Partitions fold nothing then."""
    fold_lock: asyncio.Lock
    """Held while a partition folds."""
    compacted: Sequence[str]
    """Output topics that Kafka compacts. A record without a value removes an erased lead from them."""
    tracer: Tracer | None = None
    """`None` if tracing is off."""
    fetch_time: FetchTime = field(default_factory=FetchTime)


class Partition:
    """One incarnation of a partition. It ends when one of its tasks does. The supervisor then makes the next one."""

    def __init__(self, context: Context, partition: int) -> None:
        self._context = context
        self._settings = context.settings
        self._partition = partition
        self._metrics = context.metrics
        self._label = str(partition)
        self._inputs = sorted(self._settings.input_topics)
        self._internal = self._settings.internal_topic
        self._journal = JournalQueue(self._saw)
        self._lag = Lag(self._metrics, partition, self._inputs)
        self._bad = BadShare(self._settings.max_bad_share, partition)
        self._applied: Mapping[str, int] = {}
        self._applied_s = 0.0
        self._judged_by = JudgedBy("", "")
        self._fetched_ms = 0
        """When the present records were fetched."""
        self._busy = False
        """Work is left that needs no new record, so the next fetch does not wait for one."""
        self.owner = ""
        """The token by which this incarnation owns the partition; empty until the producer has started."""
        self.ready = False
        self.batch = 0
        self.clock_ms: int | None = None
        self.next: dict[str, int] = {}
        self.ids: Mapping[str, str] = {}
        """Topic → its id, or the mark of its last record that was read."""

    @property
    def published(self) -> int:
        """W, as far as is known."""
        return self._publisher.published if self.ready else 0

    def standing(self) -> dict[str, Any]:
        """Return where the incarnation stands, for the log."""
        return {"partition": self._partition, "owner": self.owner, "batch": self.batch, "offsets": dict(self.next)}

    async def run(self) -> None:
        """Take the partition over and work on it until drained. Every other end is an exception."""
        producer = self._context.cluster.producer(self._partition)
        self._metrics.state_is(self._partition, "taking_over")
        try:
            await self._context.safe.wait()
            await producer.start()
            self.owner = producer.new_token()
            failpoint("after_fence")
            await self._take_over(producer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publisher.run())
                tasks.create_task(self._read())
        finally:
            self.ready = False
            self._metrics.forget_figures(self._partition)
            self._metrics.state_is(self._partition, "waiting")
            await producer.close()

    async def _take_over(self, producer: LogProducer) -> None:
        context = self._context
        self._store = RetryingStore(context.store_of(self._partition), self._partition, self.owner, self._metrics)
        self._builder = BatchBuilder(
            self._settings, context.grid.compiled, self._partition, self._store.load, context.fold_lock, context.compacted
        )
        taken: TakenOver = await take_over(
            self._settings, self._partition, self._store, self._builder, context.cluster, self._metrics
        )
        self.batch, self.clock_ms, self.next = taken.cut.batch, taken.clock_ms, dict(taken.cut.next)
        self.ids = taken.cut.topic_ids()
        self._applied, self._applied_s = taken.cut.next, time.monotonic()
        self._judged_by = JudgedBy(grid=taken.cut.grid, tables=taken.past[-1].tables if taken.past else "")
        text = await self._store.grid() if taken.past else None
        await context.grid.settle(taken.past, text)
        self._publisher = Publisher(
            settings=self._settings,
            partition=self._partition,
            producer=producer,
            store=self._store,
            metrics=self._metrics,
            start=taken.cut,
            published=taken.published,
            propose=self._propose,
            tracer=context.tracer,
        )
        for entry in taken.unpublished:
            self._publisher.add(entry)
        await self._publisher.first()
        failpoint("before_ready")
        self._reader = PartitionReader(context.group, self._partition, self.next)
        self._reader.ready()
        self.ready = True
        self._metrics.state_is(self._partition, "ready")
        took_s = round(time.time() - self._lag.began_ms / 1000, 3)
        details = fields("partition.ready", **self.standing(), seconds=took_s)
        log.info("partition %d: ready at batch %d, %s", self._partition, self.batch, self.next, extra=details)

    async def _read(self) -> None:
        while not self._context.draining.is_set():
            if self._publisher.full():
                await self._publisher.room()
                continue
            if not self._context.safe.is_set():
                await asyncio.sleep(_FETCH_WAIT_S)
                continue
            await self._take_grid()
            await self._take(await self._fetch())
        self._publisher.close()

    async def _take_grid(self) -> None:
        """Begin the grid in force if another grid judged the last batch. Ticks then judge every lead again, in slices."""
        compiled, entry = self._context.grid.compiled, self._context.grid.entry
        if not must_begin(entry, TABLES_VERSION, *self._judged_by):
            self._builder.compiled = compiled  # the take-over may have set another
            return
        if self.batch:
            details = fields("partition.grid", **self.standing(), sha256=compiled.grid.sha256)
            log.info("partition %d: another grid than before: all leads will be judged again", self._partition, extra=details)
        rate = max(1, self._settings.regrade_rate // self._settings.partitions)
        await self._apply(self._builder.begin(compiled, self._start(self.next), rate, entry.number))
        self._metrics.batches.labels("grid").inc()

    async def _fetch(self) -> Mapping[str, Fetched]:
        """Fetch all topics, but the internal topic only while no tick is held."""
        topics = self._inputs if self._journal.is_held else [*self._inputs, self._internal]
        return await self._reader.take(topics, self._settings.max_batch, 0 if self._busy else _FETCH_WAIT_S)

    async def _take(self, fetched: Mapping[str, Fetched]) -> None:
        """Process the fetched records: the events as one batch, then a slice of the tick if it is ripe.

        A tick may have many leads to judge. One slice between two fetches lets events go on beside it.
        """
        records, ends = self._noted(fetched)
        records[self._internal], tick, ends[self._internal] = self._journal.take()
        await self._events(records, ends)
        if self._context.draining.is_set():  # some records may be left, and no tick may overtake them
            return
        self._busy = tick is not None and ripe(tick, self.next, lambda topic: self._reader.polled(topic)[0])
        if tick is not None and self._busy:
            await self._slice(tick, self._journal.first())

    def _noted(self, fetched: Mapping[str, Fetched]) -> tuple[dict[str, Sequence[Record]], dict[str, int]]:
        """Keep the journal's records and the times of the fetch; return records and next offsets by topic."""
        journal = fetched.get(self._internal)
        if journal is not None:
            self._journal.add(journal)
            for record in journal.records[-1:]:
                self._context.fetch_time.saw(record.timestamp_ms)
        self._fetched_ms = self._context.fetch_time.now_ms(self.clock_ms)
        for part in fetched.values():
            self._lag.fetched(part.records[:1])
        return {topic: part.records for topic, part in fetched.items()}, {topic: part.next for topic, part in fetched.items()}

    async def _events(self, by_topic: Mapping[str, Sequence[Record]], ends: Mapping[str, int]) -> None:
        """Fold records in one batch, or in several if one would be too large. Afterwards the next offsets are *ends*.

        The outputs (transitions, dead letters, strays) are written to the outbox together with the state, and published later.
        A crash before `apply` leaves nothing. A crash after it leaves the outbox to the next owner. So does a worker that is
        drained between two batches.
        """
        next_ = {**self.next, **ends}
        records: Sequence[Record] = [record for topic in sorted(by_topic) for record in by_topic[topic]]
        if not records and not self._idle_move(next_):
            self.next = next_
            return
        try:
            await self._batches(records, next_)
        except StoreFull:
            await self._smaller(by_topic, ends)
            raise

    async def _batches(self, left: Sequence[Record], next_: Mapping[str, int]) -> None:
        while True:
            left = await self._batch(left, next_)
            while left and self._publisher.full() and not self._context.draining.is_set():
                await self._publisher.room()
            if not left or self._context.draining.is_set():
                return

    async def _batch(self, records: Sequence[Record], next_: Mapping[str, int]) -> Sequence[Record]:
        """Fold as many of *records* as one batch takes; return the rest. After the last one the next offsets are *next_*."""
        began = time.perf_counter()
        start = self._start(next_)._replace(fetched_ms=self._fetched_ms)
        taken = await self._builder.events(records, start, MOST_BYTES)
        records, left = records[: taken.records], records[taken.records :]
        self._bad.add(len(records), producers_faults(taken.reasons))
        if taken.batch.entry.cut.passed:
            check_passed(self._settings, records)
        folded = time.perf_counter()
        await self._apply(taken.batch, oldest_ms=_oldest_ms(records))
        tell_passed(self._partition, taken.batch.entry.cut.passed)
        self._metrics.step_seconds.labels("apply").inc(time.perf_counter() - folded)
        if self._context.tracer is not None:
            self._context.tracer.applied(self._partition, taken.batch.entry, len(records), began, taken.seconds)
        for record in {record.topic: record for record in records}.values():
            self._saw(record)
        report(self._metrics, taken, records, began)
        return left

    async def _smaller(self, by_topic: Mapping[str, Sequence[Record]], ends: Mapping[str, int]) -> None:
        """Fold records that need no more memory of a full store, so that erasures do not wait.

        Each topic is folded record by record, up to the first record that needs more memory. So its order stays.
        """
        for topic in sorted(by_topic):
            records = [record for record in by_topic[topic] if record.offset >= self.next[topic]]
            following = [*(begins(record) for record in records[1:]), ends[topic]]
            with contextlib.suppress(StoreFull):
                for record, end in zip(records, following, strict=False):
                    await self._batch([record], {**self.next, topic: end})

    def _idle_move(self, next_: Mapping[str, int]) -> bool:
        """Return whether only markers have moved the inputs for a tick interval. An empty batch then stores the offsets."""
        moved = any(next_[topic] != self._applied[topic] for topic in self._inputs)
        return moved and time.monotonic() - self._applied_s > self._settings.tick_interval

    async def _slice(self, tick: Tick, record: Record) -> None:
        """Judge up to `SLICE` of the leads that are due by *tick*. The last slice moves the tick's offset and the clock.

        Events between two slices find some leads judged by the tick and others not. Each lead's own clock shows which.
        The tick's time is at most the append time of its *record*, which the broker sets. So a worker's clock that runs ahead
        does not move the leads.
        """
        time_ms = tick.time_ms if record.timestamp_ms is None else min(tick.time_ms, record.timestamp_ms)
        past = self.next | {self._internal: record.offset + 1}
        if self.clock_ms is not None and time_ms <= self.clock_ms:
            self.next = past
        elif not await self._judge_due(time_ms, past):
            return
        else:
            self._metrics.ticks.labels(self._label).inc()
        self._journal.pop()
        if self.clock_ms is not None:
            self._metrics.clock.labels(self._label).set(self.clock_ms / 1000)

    async def _judge_due(self, time_ms: int, past: Mapping[str, int]) -> bool:
        """Judge leads that are due by *time_ms*, the earliest first; return whether all of them are judged."""
        leads, unlisted = await self._store.due(time_ms, SLICE, self.batch)
        start = self._start(self.next)
        if unlisted:  # more leads must be listed first, or leads would be judged out of order
            await self._apply((await self._builder.events((), start)).batch)
            self._metrics.batches.labels("grid").inc()
            return False
        judged = await self._builder.slice(leads, time_ms, start, past if len(leads) < SLICE else None, MOST_BYTES)
        cut = judged.batch.entry.cut
        if not cut.tick_done and not _all_later(judged.batch, leads[: cut.judged], time_ms):
            raise WorkerMustStop(
                f"partition {self._partition}: leads due by {time_ms} are still due after being judged then, with the marks"
                f" {', '.join(map(shown_mark, leads[:3]))}"
            )
        await self._apply(judged.batch, idle=not leads)
        report_slice(self._metrics, judged)
        return cut.tick_done

    def _start(self, next_: Mapping[str, int]) -> BatchStart:
        return BatchStart(self.batch + 1, next_, self.clock_ms, ids=self.ids)

    async def _apply(self, batch: Batch, idle: bool = False, oldest_ms: int | None = None) -> None:
        await self._store.apply(batch)
        # No suspension point from here on: position, unpublished batches and attributes change together.
        cut = batch.entry.cut
        self.batch, self.next, self.clock_ms = cut.batch, dict(cut.next), batch.clock_ms
        self.ids = cut.topic_ids()
        self._applied, self._applied_s = cut.next, time.monotonic()
        if cut.requeued:
            self._judged_by = JudgedBy(grid=cut.grid, tables=cut.words)
        self._publisher.add(batch.entry, idle, oldest_ms)

    def _propose(self) -> tuple[Tick | None, int | None]:
        """Return the tick that may be written now, and the partition's horizon."""
        views = self._lag.views(self._reader, self.next)
        own_ms = candidate(views) if self._settings.clock == "wall" else None
        if own_ms is None:
            return None, None
        time_ms = held_back(own_ms, self._context.neighbours(self._partition))
        self._metrics.tick_held_back.labels(self._label).set((own_ms - time_ms) / 1000)
        if own_ms - time_ms >= PATIENCE_MS:
            self._metrics.tick_overdue.labels(self._label).inc()
        tick = Tick(time_ms, dict(self.next)) if self.clock_ms is None or time_ms > self.clock_ms else None
        return tick, own_ms

    def observe(self) -> None:
        """Update the metrics of the lag. A partition that hangs has no batch that would update them."""
        if self.ready:
            self._lag.observe(self._reader, self._publisher, self.next)

    def _saw(self, record: Record) -> None:
        self._lag.saw(record, self._reader.polled(record.topic)[1])


def _oldest_ms(records: Sequence[Record]) -> int | None:
    """Return the earliest Kafka timestamp among *records*. Producers' clocks may differ, so it need not be the first."""
    return min((record.timestamp_ms for record in records if record.timestamp_ms is not None), default=None)


def ripe(tick: Tick, next_: Mapping[str, int], end: Callable[[str], int | None]) -> bool:
    """Return whether every record that *tick* must not overtake is applied. *end* returns the end of a topic's log.

    The tick's writer had applied all these records. A log that ends before them was recreated, so the tick does not wait for
    records that are gone.
    """
    for topic, wanted in tick.next.items():
        applied = next_.get(topic, wanted)
        if applied < wanted:
            log_end = end(topic)
            if log_end is None or log_end >= wanted or applied < log_end:
                return False
    return True


def _all_later(batch: Batch, leads: Sequence[str], time_ms: int) -> bool:
    """Return whether all of *leads* are now due later or never. Otherwise the next slice would be the same again."""
    later = {write.lead for write in batch.writes if write.due_ms is None or write.due_ms > time_ms}
    return later.issuperset(leads)
