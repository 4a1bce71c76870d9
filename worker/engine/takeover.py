"""Taking a partition over: whatever the one before us left, go on from there exactly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.adapters.kafka import Admin, free_consumer, to_record
from worker.adapters.redis_store import redacted
from worker.core.contract.journal import Cut, Cuts, GridText, decode_entry
from worker.core.contract.model import Record
from worker.core.grid.models import GridError, parse_grid
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import Scorer
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.batch_builder import SLICE, Folder, Place
from worker.engine.errors import Lost, Stop
from worker.engine.failpoint import failpoint
from worker.engine.retrying_store import Patient
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Batch, OutboxEntry, Position
from worker.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_ENDS_ATTEMPTS = 4
_FETCH_MS = 500
_FETCH_RECORDS = 5_000


class Standing(NamedTuple):
    """Where a partition stands once it is ours."""

    cut: Cut
    """Of the last applied batch; batch 0 before the first, with the offsets to begin at."""
    clock_ms: int | None
    published: int
    """W."""
    unpublished: list[OutboxEntry]
    """What was applied and not published, as far as anybody knows."""


async def take_over(
    settings: Settings,
    partition: int,
    store: Patient,
    folder: Folder,
    admin: Admin,
    consumer: AIOKafkaConsumer,
    metrics: Metrics,
) -> Standing:
    """Make *partition* ours in the store and return where it stands, with every batch up to W applied.

    The partition's producer has been started before: nobody else can publish for it, and what was left open is aborted. Redis
    behind W is brought up to it by folding the very same batches again, sending nothing. Raises `Stop`, with what mends it,
    where going on would lose or double something; `Lost` where only another try can tell.
    """
    position = await store.acquire(settings.partitions)
    failpoint("after_acquire")
    try:
        committed = await admin.committed(partition)
    except (KafkaError, TimeoutError, OSError) as err:
        raise Lost(f"partition {partition}: the group's coordinator does not say what was published: {err!r}") from err
    published = max([position.published, *(_batch_of(at) for at in committed.values())])
    check_position(settings, partition, position, published)
    truth = {topic: at.offset for topic, at in committed.items() if _batch_of(at) == published}
    if position.batch and position.batch == published:
        check_truth(partition, published, position.next, truth)
    at = Cut(position.batch, dict(position.next), position.grid, position.words, FOLD_VERSION)
    clock_ms = position.clock_ms
    starts, ends = await _ends(consumer, settings, partition, at.next)
    beyond = frozenset(topic for topic, end in ends.items() if at.next.get(topic, 0) > end)
    if not position.batch:
        at = msgspec.structs.replace(at, next=starts)
    if position.batch < published:
        told = fields("partition.folds_again", partition=partition, batch=position.batch, published=published, offsets=at.next)
        log.warning(
            "partition %d: the store is at batch %d, Kafka at %d: folding again",
            partition,
            position.batch,
            published,
            extra=told,
        )
        check_offsets(settings, partition, at.next, starts, beyond, may_lose=False)
        at, clock_ms = await Refold(settings, partition, store, folder, metrics, starts).run(at, clock_ms, published)
    elif check_offsets(settings, partition, at.next, starts, beyond, may_lose=settings.accept_loss):
        lost = {topic: max(0, start - at.next[topic]) for topic, start in starts.items()}
        log.error(
            "partition %d: going on without records that were deleted before they were read: %s",
            partition,
            lost,
            extra=fields("partition.lost_records", partition=partition, batch=at.batch, lost=lost),
        )
        metrics.lost.labels(str(partition)).inc(sum(lost.values()))
        next_ = {topic: starts[topic] if lost[topic] or topic in beyond else offset for topic, offset in at.next.items()}
        at = await _move(store, at, next_, clock_ms)
    if at.next.keys() != set(settings.topics):
        check_inputs(settings, partition, at.next, position.inputs)
        starts, ends = await _ends(consumer, settings, partition, at.next)
        unread = {topic: ends[topic] - offset for topic, offset in at.next.items() if topic not in settings.topics}
        check_left(partition, unread, may_lose=settings.accept_loss)
        told = fields("partition.topics", partition=partition, batch=at.batch, topics=settings.topics)
        log.warning("partition %d: from here on its topics are %s", partition, ", ".join(settings.topics), extra=told)
        at = await _move(store, at, {topic: at.next.get(topic, starts[topic]) for topic in settings.topics}, clock_ms)
    unpublished = await store.outbox(max(0, published - 1))
    if unpublished and unpublished[0].cut.batch == published:  # not trimmed yet, or it never was what was published
        check_truth(partition, published, unpublished.pop(0).cut.next, truth)
    cuts = [entry.cut for entry in unpublished]
    if [cut.batch for cut in cuts] != [*range(published + 1, at.batch + 1)] or (cuts and dict(cuts[-1].next) != dict(at.next)):
        raise Lost(f"partition {partition}: the store went back in time while it was taken over")
    return Standing(at, clock_ms, published, unpublished)


async def _move(store: Patient, at: Cut, next_: dict[str, int], clock_ms: int | None) -> Cut:
    """Stand at *next_* without reading what is between, by a batch of its own; return its cut."""
    cut = Cut(at.batch + 1, next_, at.grid, at.words, FOLD_VERSION, lost=True)
    await store.apply(_moving(at, cut, clock_ms))
    return cut


def _moving(at: Cut, cut: Cut, clock_ms: int | None, *, send: bool = True) -> Batch:
    return Batch(OutboxEntry(cut, ()), (), clock_ms, send, left=[topic for topic in at.next if topic not in cut.next])


def check_position(settings: Settings, partition: int, position: Position, published: int) -> None:
    """Raise `Stop` when the state in the store is not one that these settings may go on with."""
    if position.partitions not in (0, settings.partitions):
        raise Stop(
            f"partition {partition}: its state was made with {position.partitions} partitions, LEADPULSE_PARTITIONS says"
            f" {settings.partitions}: a lead's owner depends on the number; set it to {position.partitions}, or move the leads"
            " into another LEADPULSE_NAMESPACE with `leadpulse repartition`"
        )
    if position.batch and not position.next:
        raise Stop(
            f"partition {partition}: a copy into {settings.namespace} was cut short: delete its keys ({{{settings.namespace}:*)"
            " and run `leadpulse repartition` again"
        )
    if position.next:
        check_inputs(settings, partition, position.next, position.inputs)
    if position.batch == 0 and published > 0 and not position.rebuild:
        redis = redacted(settings.redis.get_secret_value())
        raise Stop(
            f"partition {partition}: the store is empty, but Kafka says that batches up to {published} were published: is it"
            f" the right Redis ({redis}) and namespace ({settings.namespace})? If its data is lost, restore a copy, or fill it"
            f" again from the topics with `leadpulse rebuild --partition {partition}`"
        )


def check_inputs(settings: Settings, partition: int, next_: Collection[str], allowed: tuple[str, ...]) -> None:
    """Raise `Stop` unless the state's topics *next_* are the settings', or an operator *allowed* those to follow."""
    if set(next_) != set(settings.topics) and allowed != tuple(sorted(settings.input_topics)):
        raise Stop(
            f"partition {partition}: its state remembers the topics {', '.join(sorted(next_))}, LEADPULSE_INPUT_TOPICS"
            f" and LEADPULSE_NAMESPACE say {', '.join(settings.topics)}: all workers must read the same ones, and a"
            " replay too; set them back, or, if the inputs are to change, say so once with `leadpulse topics change`"
        )


def check_truth(partition: int, batch: int, held: Mapping[str, int], published: Mapping[str, int]) -> None:
    """Raise `Stop` when the store's *batch* ends elsewhere than the one that was published under that number.

    Redis went back in time, another batch took the number, and then Redis went forth again, to a copy of what was never to be.
    """
    differ = {topic: (offset, published[topic]) for topic, offset in held.items() if published.get(topic, offset) != offset}
    if differ:
        where = ", ".join(f"{topic} {ours}, published {theirs}" for topic, (ours, theirs) in differ.items())
        raise Stop(
            f"partition {partition}: the store's batch {batch} is not the one that was published as {batch} ({where}): it is of"
            " a past that Redis went back from. Restore another copy, or delete the partition's keys and fill it again with"
            f" `leadpulse rebuild --partition {partition}`"
        )


def check_left(partition: int, unread: Mapping[str, int], *, may_lose: bool) -> None:
    """Raise `Stop` when a topic that is no longer an input holds records that nobody read; *unread*: how many, about."""
    left = {topic: count for topic, count in unread.items() if count > 0}
    if left and not may_lose:
        said = ", ".join(f"{topic} ({count} records)" for topic, count in left.items())
        raise Stop(
            f"partition {partition}: {said} is no longer an input, and was not read to its end: stop who writes to it and let"
            " a worker with the LEADPULSE_INPUT_TOPICS of before read the rest, or lose it with LEADPULSE_ACCEPT_LOSS=true"
        )


def check_cut(partition: int, cut: Cut) -> None:
    """Raise `Stop` for a *cut* that this program cannot fold to the same bytes, whatever the grid."""
    theirs, ours = (cut.words, cut.fold), (TABLES_VERSION, FOLD_VERSION)
    if theirs != ours:
        names = ("tables", "fold")
        differ = ", ".join(f"{name} {a} (here {b})" for name, a, b in zip(names, theirs, ours, strict=True) if a != b)
        raise Stop(
            f"partition {partition}: the store is behind Kafka, and batch {cut.batch} was folded with {differ}: let a worker"
            " of that version take the partition over first; it catches up, then this one can follow"
        )


def _batch_of(committed: OffsetAndMetadata) -> int:
    """Return b from the metadata of a committed offset; 0 where another program committed."""
    return int(committed.metadata) if str(committed.metadata).isdecimal() else 0


async def _ends(
    consumer: AIOKafkaConsumer, settings: Settings, partition: int, next_: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return where each topic's log begins and ends: that of the settings' and those in *next_*.

    A broker that has just become leader may for a moment know of less than it holds: where a log ends before *next_*, it is
    asked again.
    """
    tps = [TopicPartition(topic, partition) for topic in sorted({*settings.topics, *next_})]
    attempt = 0
    while True:
        starts, ends = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
        attempt += 1
        if attempt == _ENDS_ATTEMPTS or all(next_.get(tp.topic, 0) <= ends[tp] for tp in tps):
            return {tp.topic: starts[tp] for tp in tps}, {tp.topic: ends[tp] for tp in tps}
        await asyncio.sleep(attempt)


def check_offsets(
    settings: Settings,
    partition: int,
    next_: Mapping[str, int],
    starts: Mapping[str, int],
    beyond: Collection[str],
    *,
    may_lose: bool,
) -> bool:
    """Return whether records that were to be read are gone; raise `Stop` for that unless *may_lose*.

    *beyond*: the topics whose log ends before *next_*.
    """
    afresh = f"start afresh under another LEADPULSE_NAMESPACE than {settings.namespace}"
    behind = {topic: offset for topic, offset in next_.items() if offset < starts[topic]}
    if may_lose or not (behind or beyond):
        return bool(behind or beyond)
    if behind:
        gone = ", ".join(f"{topic} {offset} to {starts[topic] - 1}" for topic, offset in behind.items())
        raise Stop(
            f"partition {partition}: retention deleted records before they were read ({gone}). Go on without them with"
            f" LEADPULSE_ACCEPT_LOSS=true, or restore a newer copy of Redis, or {afresh}; keep the topics for longer"
        )
    ended = ", ".join(f"{topic} before {next_[topic]}" for topic in sorted(beyond))
    raise Stop(
        f"partition {partition}: the log ends before what was read of it ({ended}): was the topic made anew, or is this another"
        f" cluster than before? Check LEADPULSE_KAFKA; read it from its start with LEADPULSE_ACCEPT_LOSS=true, or {afresh}"
    )


class Refold:
    """Folds batches again by their cuts, from the store's batch up to W, and sends nothing of them."""

    def __init__(
        self,
        settings: Settings,
        partition: int,
        store: Patient,
        folder: Folder,
        metrics: Metrics,
        starts: Mapping[str, int],
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._store = store
        self._folder = folder
        self._metrics = metrics
        self._starts = starts
        self._scorers = {folder.scorer.grid.sha256: folder.scorer}
        self._texts: dict[str, bytes] = {}
        """Grids by SHA-256, as the journal gave them: only one that a cut names has to be readable."""

    async def run(self, at: Cut, clock_ms: int | None, published: int) -> tuple[Cut, int | None]:
        """Bring the store from *at* to batch *published*; return that batch's cut and the clock then."""
        internal = self._settings.internal_topic
        journal = TopicPartition(internal, self._partition)
        async with free_consumer(self._settings, [journal]) as ahead, free_consumer(self._settings, []) as behind:
            cuts = self._cuts(ahead, journal, at.next[internal])
            reader = Reader(behind, self._partition, at.next) if at.batch else None
            async for cut in cuts:
                if cut.batch == 0 and at.batch == 0:  # written again by an owner that ended before its first batch
                    at = self._beginning(cut)
                    reader = Reader(behind, self._partition, at.next)
                if cut.batch == at.batch > 0:
                    check_truth(self._partition, at.batch, at.next, cut.next)
                if cut.batch <= at.batch:
                    continue
                if cut.batch != at.batch + 1 or reader is None:
                    raise self._incomplete(at.batch + 1 if reader is not None else 0, cut.batch)
                check_cut(self._partition, cut)
                if cut.lost:
                    await self._store.apply(_moving(at, cut, clock_ms, send=False))
                    self._metrics.refolded.labels(str(self._partition)).inc()
                    reader = Reader(behind, self._partition, cut.next)
                else:
                    clock_ms = await self._batch(cut, await reader.until(cut.next), clock_ms)
                at = cut
                if at.batch == published:
                    return at, clock_ms
        raise self._incomplete(at.batch + 1, None)

    def _beginning(self, cut: Cut) -> Cut:
        """Return the cut of batch 0, which says where the partition began to read, if all since then is still there."""
        gone = {topic: start for topic, start in self._starts.items() if cut.next.get(topic, start) < start}
        if gone:
            where = ", ".join(f"{topic} from {cut.next[topic]} (now {start})" for topic, start in gone.items())
            raise Stop(
                f"partition {self._partition}: cannot be rebuilt, because retention deleted what it was built from:"
                f" {where}. Restore a copy of Redis, or start afresh under another LEADPULSE_NAMESPACE"
            )
        return cut

    def _incomplete(self, wanted: int, found: int | None) -> Stop:
        then = "ends there" if found is None else f"goes on with that of batch {found}"
        return Stop(
            f"partition {self._partition}: the journal ({self._settings.internal_topic}) lacks the cut of batch {wanted} and"
            f" {then}, so the store cannot be brought up to what Kafka published: restore a copy of Redis of a later batch, or"
            " start afresh under another LEADPULSE_NAMESPACE"
        )

    async def _cuts(self, consumer: Any, tp: TopicPartition, start: int) -> AsyncIterator[Cut]:
        """Yield the journal's cuts from offset *start* to its end; take the grids' texts that stand between them.

        The end is the high watermark: an open transaction (another partition's, forwarding strays) hides what comes after it
        until it is decided, and the cuts that we need may be there.
        """
        consumer.seek(tp, start)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            got = await consumer.getmany(tp, timeout_ms=_FETCH_MS, max_records=_FETCH_RECORDS)
            for raw in got.get(tp, ()):
                match decode_entry(to_record(raw)):
                    case Cuts(cuts):
                        for cut in cuts:
                            yield cut
                    case GridText(source):
                        self._texts[sha256(source).hexdigest()] = source
            end = consumer.highwater(tp)
            if end is not None and await consumer.position(tp) >= end:
                return
            if got:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise Lost(f"partition {self._partition}: {tp.topic} gave nothing for {_PATIENCE_S:g} s before offset {end}")

    async def _batch(self, cut: Cut, records: list[Record], clock_ms: int | None) -> int | None:
        place = Place(cut.batch, cut.next, clock_ms, send=False)
        self._folder.scorer = await self._scorer(cut)
        if cut.requeued:
            batch = self._folder.begin(self._folder.scorer, place, cut.requeued)
        elif cut.tick_ms is None:
            batch = (await self._folder.events(records, place)).batch
        else:
            leads = (await self._store.due(cut.tick_ms, cut.judged or SLICE, cut.batch - 1)).leads
            batch = (await self._folder.slice(leads, cut.tick_ms, place, cut.next if cut.tick_done else None)).batch
        await self._store.apply(batch)
        self._metrics.refolded.labels(str(self._partition)).inc()
        return batch.clock_ms

    async def _scorer(self, cut: Cut) -> Scorer:
        """Return the grid that judged *cut*: ours, the store's, or one that the journal held on the way here."""
        found = self._scorers.get(cut.grid)
        if found is None:
            source = self._texts.get(cut.grid) or await self._store.grid()
            if source is not None and sha256(source).hexdigest() == cut.grid:
                found = self._scorers[cut.grid] = self._parsed(source)
        if found is None:
            raise Stop(
                f"partition {self._partition}: the store is behind Kafka, and neither it nor the journal holds the grid that"
                f" judged batch {cut.batch} (sha256 {cut.grid}): set LEADPULSE_GRID to it until the partition has caught up"
            )
        return found

    def _parsed(self, source: bytes) -> Scorer:
        try:
            return Scorer(parse_grid(source, "the journal's grid"), self._settings.source)
        except GridError as err:
            raise Stop(
                f"partition {self._partition}: the store is behind Kafka, and the grid that judged then has mistakes for this"
                f" version: let the version that took it bring the partition up to date first:\n{err}"
            ) from err


class Reader:
    """The partition's committed records again, up to one cut after the other, in a batch's order (topic, offset)."""

    def __init__(self, consumer: Any, partition: int, next_: Mapping[str, int]) -> None:
        self._consumer = consumer
        self._partition = partition
        self._held: dict[str, deque[Record]] = {}
        consumer.assign([TopicPartition(topic, partition) for topic in next_])
        for topic, at in next_.items():
            consumer.seek(TopicPartition(topic, partition), at)
            self._held[topic] = deque()

    async def until(self, next_: Mapping[str, int]) -> list[Record]:
        """Return what is left of every topic before its offset in *next_*."""
        return [record for topic in sorted(next_) for record in await self._topic_until(topic, next_[topic])]

    async def _topic_until(self, topic: str, end: int) -> list[Record]:
        held = self._held[topic]
        tp = TopicPartition(topic, self._partition)
        deadline = time.monotonic() + _PATIENCE_S
        while await self._consumer.position(tp) < end:
            got = await self._consumer.getmany(tp, timeout_ms=_FETCH_MS, max_records=_FETCH_RECORDS)
            held.extend(to_record(raw) for raw in got.get(tp, ()))
            if got:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise Lost(f"partition {self._partition}: {topic} gave nothing for {_PATIENCE_S:g} s before offset {end}")
        taken: list[Record] = []
        while held and held[0].offset < end:
            taken.append(held.popleft())
        return taken
