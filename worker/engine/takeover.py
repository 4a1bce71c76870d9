"""Taking a partition over: whatever the one before us left, go on from there exactly."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import NamedTuple

import msgspec

from worker.core.contract.folded import UNKNOWN, in_order, is_id
from worker.core.contract.journal import Cut, Cuts, GridText, decode_entry, is_folded
from worker.core.contract.model import Record, Unread
from worker.core.contract.unread import TOO_LARGE, as_passed
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry, numbered
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.batch_builder import SLICE, BatchBuilder, BatchStart
from worker.engine.failpoint import failpoint
from worker.engine.retrying_store import RetryingStore
from worker.engine.standing import RESTORE, Logs, check_inputs, check_left, check_truth, look, look_at_log, same
from worker.engine.witnesses import tell
from worker.errors import IncarnationEnded, LogUnavailable, WorkerMustStop
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Batch, Log, LogPartition, LogReader, OutboxEntry, Position
from worker.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_FETCH_S = 0.5
_FETCH_RECORDS = 5_000


class TakenOver(NamedTuple):
    """Where a partition stands once it is ours."""

    cut: Cut
    """Of the last applied batch; batch 0 before the first, with the offsets to begin at."""
    clock_ms: int | None
    published: int
    """W."""
    unpublished: list[OutboxEntry]
    """What was applied and not published, as far as anybody knows."""
    past: list[Entry]
    """What judged all its leads one after the other, as far as the store and the journal's cuts tell; the last still does."""


async def take_over(
    settings: Settings,
    partition: int,
    store: RetryingStore,
    folder: BatchBuilder,
    cluster: Log,
    metrics: Metrics,
) -> TakenOver:
    """Make *partition* ours in the store and return where it stands, with every batch up to W applied.

    The partition's producer has been started before: nobody else can publish for it, and what was left open is aborted. Redis
    behind W is brought up to it by folding the very same batches again, sending nothing. Raises `WorkerMustStop`, with what
    mends it, where going on would lose or double something; `IncarnationEnded` where only another try can tell.
    """
    position = await store.acquire(settings.partitions)
    failpoint("after_acquire")
    try:
        stands = await look(settings, partition, position, cluster)
        published, truth, found = stands.published, stands.truth, stands.logs
        tell(partition, stands.witnesses)
        begun = await _begun(store, folder.scorer, position)
        at = Cut(position.batch, dict(position.next), position.grid, position.words, FOLD_VERSION)
        at = msgspec.structs.replace(at, ids=in_order(at.next, position.ids))
        clock_ms = position.clock_ms
        if not position.batch:
            at = msgspec.structs.replace(at, next=found.starts)
        if position.batch < published:
            told = fields(
                "partition.folds_again", partition=partition, batch=position.batch, published=published, offsets=at.next
            )
            log.warning(
                "partition %d: the store is at batch %d, Kafka at %d: folding again",
                partition,
                position.batch,
                published,
                extra=told,
            )
            refold = Refold(settings, partition, store, folder, metrics, cluster, found)
            at, clock_ms = await refold.run(at, clock_ms, published)
            begun += refold.begun
            may_lose = settings.accept_loss
            found = await look_at_log(settings, partition, at.next, at.topic_ids(), cluster, may_lose=may_lose)
    except (LogUnavailable, TimeoutError, OSError) as err:
        raise IncarnationEnded(
            f"partition {partition}: Kafka does not say what was published and what there is: {err!r}"
        ) from err
    if found.afresh:
        at = await _without_the_lost(store, partition, at, clock_ms, found, metrics)
    if at.next.keys() != set(settings.topics):
        check_inputs(settings, partition, at.next, position.inputs)
        held = at.topic_ids()
        left = at.next.keys() - set(settings.topics)
        there = {topic for topic in left if topic in found.ids and same(held.get(topic, UNKNOWN), found.ids[topic])}
        unread = {topic: found.ends[topic] - at.next[topic] if topic in there else None for topic in sorted(left)}
        check_left(partition, unread, may_lose=settings.accept_loss)
        told = fields("partition.topics", partition=partition, batch=at.batch, topics=settings.topics)
        log.warning("partition %d: from here on its topics are %s", partition, ", ".join(settings.topics), extra=told)
        next_ = {topic: at.next.get(topic, found.starts[topic]) for topic in settings.topics}
        at = await _move(store, at, next_, clock_ms, _kept(at, found))
    at = await _adopt(store, at, clock_ms, found)
    unpublished = await store.outbox(max(0, published - 1))
    if unpublished and unpublished[0].cut.batch == published:  # not trimmed yet, or it never was what was published
        check_truth(partition, published, unpublished.pop(0).cut.next, truth)
    cuts = [entry.cut for entry in unpublished]
    if [cut.batch for cut in cuts] != [*range(published + 1, at.batch + 1)] or (cuts and dict(cuts[-1].next) != dict(at.next)):
        raise IncarnationEnded(f"partition {partition}: the store went back in time while it was taken over")
    return TakenOver(at, clock_ms, published, unpublished, numbered(begun))


async def _begun(store: RetryingStore, own: CompiledGrid, position: Position) -> list[tuple[int, int, str, str]]:
    """Return what judged all leads of the partition last, as its position says; see `numbered`."""
    if not position.grid:
        return []
    version = own.grid.version
    if position.grid != own.grid.sha256:
        try:
            version = parse_grid(await store.grid() or b"", "the partition's grid").version
        except GridError:
            version = 0  # of another version of the worker: what follows need not be higher
    return [(position.order, version, position.grid, position.begun or position.words)]


async def _without_the_lost(
    store: RetryingStore, partition: int, at: Cut, clock_ms: int | None, found: Logs, metrics: Metrics
) -> Cut:
    """Go on, as an operator allowed, where the log begins now; say of each topic how many records are known to be lost."""
    lost = {topic: max(0, found.starts[topic] - at.next[topic]) for topic in sorted(found.afresh)}
    log.error(
        "partition %d: going on without records that were deleted before they were read: %s",
        partition,
        lost,
        extra=fields("partition.lost_records", partition=partition, batch=at.batch, lost=lost),
    )
    metrics.lost.labels(str(partition)).inc(sum(lost.values()))
    next_ = {topic: found.starts[topic] if topic in found.afresh else offset for topic, offset in at.next.items()}
    return await _move(store, at, next_, clock_ms, _kept(at, found))


async def _adopt(store: RetryingStore, at: Cut, clock_ms: int | None, found: Logs) -> Cut:
    """Keep the ids of the topics where *at*, which an older version made, or older brokers, has none.

    They are the topics that were read, as far as anybody can tell. A batch of its own keeps them: the next one may be far away.
    """
    held, ids = at.topic_ids(), _kept(at, found)
    if at.batch and any(is_id(id_) and held.get(topic) != id_ for topic, id_ in ids.items()):
        return await _move(store, at, dict(at.next), clock_ms, ids)
    return msgspec.structs.replace(at, ids=in_order(at.next, ids))


def _kept(at: Cut, found: Logs) -> dict[str, str]:
    """Return topic → id as it is now; where brokers give none, the mark of what was read, if the topic goes on from there."""
    held = {topic: text for topic, text in at.topic_ids().items() if topic not in found.afresh}
    return {topic: id_ if is_id(id_) else held.get(topic, UNKNOWN) for topic, id_ in found.ids.items()}


async def _move(store: RetryingStore, at: Cut, next_: dict[str, int], clock_ms: int | None, ids: Mapping[str, str]) -> Cut:
    """Stand at *next_* without reading what is between, by a batch of its own; return its cut."""
    cut = Cut(at.batch + 1, next_, at.grid, at.words, FOLD_VERSION, lost=True, ids=in_order(next_, ids))
    await store.apply(_moving(at, cut, clock_ms))
    return cut


def _moving(at: Cut, cut: Cut, clock_ms: int | None, *, send: bool = True) -> Batch:
    return Batch(OutboxEntry(cut, ()), (), clock_ms, send, left=[topic for topic in at.next if topic not in cut.next])


def check_cut(partition: int, cut: Cut) -> None:
    """Raise `WorkerMustStop` for a *cut* that this program cannot fold to the same bytes, whatever the grid."""
    theirs, ours = (cut.words, cut.fold), (TABLES_VERSION, FOLD_VERSION)
    if theirs != ours:
        names = ("tables", "fold")
        differ = ", ".join(f"{name} {a} (here {b})" for name, a, b in zip(names, theirs, ours, strict=True) if a != b)
        raise WorkerMustStop(
            f"partition {partition}: the store is behind Kafka, and batch {cut.batch} was folded with {differ}: let a worker"
            " of that version take the partition over first; it catches up, then this one can follow"
        )


def check_topics_of(partition: int, at: Cut, cut: Cut, ids: Mapping[str, str]) -> None:
    """Raise `WorkerMustStop` where a topic that batch *cut* read, from *at* on, is another by now; *ids*: those of now."""
    another = [
        topic
        for topic, held in cut.topic_ids().items()
        if not cut.lost and at.next.get(topic) != cut.next[topic] and not same(held, ids.get(topic, held))
    ]
    if another:
        raise WorkerMustStop(
            f"partition {partition}: the store is behind Kafka, and {', '.join(another)} was deleted and recreated since batch"
            f" {cut.batch} was folded from it: {RESTORE}"
        )


def check_folded(partition: int, cut: Cut, again: Cut) -> None:
    """Raise `WorkerMustStop` where the batch *again*, which is not applied yet, was folded of other records than *cut* was."""
    if cut.digest and (cut.records, cut.digest) != (again.records, again.digest):
        there = f"{again.records} records (digest {again.digest})"
        raise WorkerMustStop(
            f"partition {partition}: batch {cut.batch} was folded from {cut.records} records (digest {cut.digest}), and the"
            f" topics now give {there} in their place: records were compacted or deleted, or this version decodes them"
            f" differently: {RESTORE}"
        )


class Refold:
    """Folds batches again by their cuts, from the store's batch up to W, and sends nothing of them."""

    def __init__(
        self,
        settings: Settings,
        partition: int,
        store: RetryingStore,
        folder: BatchBuilder,
        metrics: Metrics,
        cluster: Log,
        found: Logs,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._store = store
        self._folder = folder
        self._metrics = metrics
        self._cluster = cluster
        self._found = found
        self._scorers = {folder.scorer.grid.sha256: folder.scorer}
        self.begun: list[tuple[int, int, str, str]] = []
        """What each batch that began another grid or other tables says of it, for `numbered`."""
        self._texts: dict[str, bytes] = {}
        """Grids by SHA-256, as the journal gave them: only one that a cut names has to be readable."""

    async def run(self, at: Cut, clock_ms: int | None, published: int) -> tuple[Cut, int | None]:
        """Bring the store from *at* to batch *published*; return that batch's cut and the clock then."""
        internal = self._settings.internal_topic
        journal = LogPartition(internal, self._partition)
        async with self._cluster.reader([journal]) as ahead, self._cluster.reader([]) as behind:
            cuts = self._cuts(ahead, journal, at.next[internal])
            reader = RefoldReader(behind, self._partition, at.next) if at.batch else None
            async for cut in cuts:
                if cut.batch == 0 and at.batch == 0:  # written again by an owner that ended before its first batch
                    at = self._beginning(cut)
                    reader = RefoldReader(behind, self._partition, at.next)
                if cut.batch == at.batch > 0:
                    check_truth(self._partition, at.batch, at.next, cut.next)
                if cut.batch <= at.batch:
                    continue
                if cut.batch != at.batch + 1 or reader is None:
                    raise self._incomplete(at.batch + 1 if reader is not None else 0, cut.batch)
                check_cut(self._partition, cut)
                check_topics_of(self._partition, at, cut, self._found.ids)
                if cut.lost:
                    await self._store.apply(_moving(at, cut, clock_ms, send=False))
                    self._metrics.refolded.labels(str(self._partition)).inc()
                    reader = RefoldReader(behind, self._partition, cut.next)
                else:
                    clock_ms = await self._batch(cut, await reader.until(cut.next), clock_ms)
                at = cut
                if at.batch == published:
                    return at, clock_ms
        raise self._incomplete(at.batch + 1, None)

    def _beginning(self, cut: Cut) -> Cut:
        """Return the cut of batch 0, which says where the partition began to read, if all since then is still there."""
        gone = {topic: start for topic, start in self._found.starts.items() if cut.next.get(topic, start) < start}
        if gone:
            where = ", ".join(f"{topic} from {cut.next[topic]} (now {start})" for topic, start in gone.items())
            raise WorkerMustStop(
                f"partition {self._partition}: cannot be rebuilt, because retention deleted what it was built from:"
                f" {where}. Restore a copy of Redis, or start afresh under another LEADPULSE_NAMESPACE"
            )
        return cut

    def _incomplete(self, wanted: int, found: int | None) -> WorkerMustStop:
        then = "ends there" if found is None else f"goes on with that of batch {found}"
        return WorkerMustStop(
            f"partition {self._partition}: the journal ({self._settings.internal_topic}) lacks the cut of batch {wanted} and"
            f" {then}, so the store cannot be brought up to what Kafka published: restore a copy of Redis of a later batch, or"
            " start afresh under another LEADPULSE_NAMESPACE"
        )

    async def _cuts(self, reader: LogReader, tp: LogPartition, start: int) -> AsyncIterator[Cut]:
        """Yield the journal's cuts from offset *start* to its end; take the grids' texts that stand between them.

        The end is the high watermark: an open transaction (another partition's, forwarding strays) hides what comes after it
        until it is decided, and the cuts that we need may be there.
        """
        reader.seek(tp, start)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            got = (await reader.fetch([tp], _FETCH_S, _FETCH_RECORDS))[tp]
            for record in got.records:
                match decode_entry(record):
                    case Cuts(cuts):
                        for cut in cuts:
                            yield cut
                    case GridText(source):
                        self._texts[sha256(source).hexdigest()] = source
            end = reader.end(tp)
            if end is not None and got.next >= end:
                return
            if got.records:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise IncarnationEnded(
                    f"partition {self._partition}: {tp.topic} gave nothing for {_PATIENCE_S:g} s before offset {end}"
                )

    async def _batch(self, cut: Cut, records: list[Record], clock_ms: int | None) -> int | None:
        ids = cut.topic_ids()
        place = BatchStart(cut.batch, cut.next, clock_ms, send=False, ids=ids, fetched_ms=cut.fetched_ms)
        records = as_folded(self._partition, cut, records)
        self._folder.scorer = await self._scorer(cut)
        if cut.requeued:
            batch = self._folder.begin(self._folder.scorer, place, cut.requeued, cut.order)
            self.begun.append((cut.order, self._folder.scorer.grid.version, cut.grid, cut.words))
        elif cut.tick_ms is None:
            folded = [record for record in records if record.topic != self._settings.internal_topic or is_folded(record)]
            batch = (await self._folder.events(folded, place)).batch
            check_folded(self._partition, cut, batch.entry.cut)
        else:
            leads = (await self._store.due(cut.tick_ms, cut.judged or SLICE, cut.batch - 1)).leads
            batch = (await self._folder.slice(leads, cut.tick_ms, place, cut.next if cut.tick_done else None)).batch
        await self._store.apply(batch)
        self._metrics.refolded.labels(str(self._partition)).inc()
        return batch.clock_ms

    async def _scorer(self, cut: Cut) -> CompiledGrid:
        """Return the grid that judged *cut*: ours, the store's, or one that the journal held on the way here."""
        found = self._scorers.get(cut.grid)
        if found is None:
            source = self._texts.get(cut.grid) or await self._store.grid()
            if source is not None and sha256(source).hexdigest() == cut.grid:
                found = self._scorers[cut.grid] = self._parsed(source)
        if found is None:
            raise WorkerMustStop(
                f"partition {self._partition}: the store is behind Kafka, and neither it nor the journal holds the grid that"
                f" judged batch {cut.batch} (sha256 {cut.grid}): set LEADPULSE_GRID to it until the partition has caught up"
            )
        return found

    def _parsed(self, source: bytes) -> CompiledGrid:
        try:
            return CompiledGrid(parse_grid(source, "the journal's grid"), self._settings.source)
        except GridError as err:
            raise WorkerMustStop(
                f"partition {self._partition}: the store is behind Kafka, and the grid of that batch has mistakes for this"
                f" version: let the version that accepted it bring the partition up to date first:\n{err}"
            ) from err


def as_folded(partition: int, cut: Cut, records: list[Record]) -> list[Record]:
    """Return *records* as *cut* was folded: with the places that it passed over in the stead of what was not read then.

    Raises `WorkerMustStop` where one that was read then cannot be read now.
    """
    if cut.passed:
        records = as_passed(records, partition, cut.passed)
    for record in records:
        if type(record) is Unread and not any(
            p.topic == record.topic and p.first <= record.offset <= p.last for p in cut.passed
        ):
            what = (
                "raise LEADPULSE_MAX_UNPACKED to what it was then, until the partition has caught up"
                if record.reason == TOO_LARGE
                else "let a replica that is whole lead, or restore a copy of Redis of a later batch"
            )
            raise WorkerMustStop(
                f"partition {partition}: the store is behind Kafka, and batch {cut.batch} was folded with the batch of"
                f" {record.topic}[{partition}] that begins at offset {record.base}, which cannot be read now ({record.detail}):"
                f" {what}"
            )
    return records


class RefoldReader:
    """The partition's committed records again, up to one cut after the other, in a batch's order (topic, offset)."""

    def __init__(self, reader: LogReader, partition: int, next_: Mapping[str, int]) -> None:
        self._reader = reader
        self._partition = partition
        self._held: dict[str, deque[Record]] = {}
        reader.assign([LogPartition(topic, partition) for topic in next_])
        for topic, at in next_.items():
            reader.seek(LogPartition(topic, partition), at)
            self._held[topic] = deque()

    async def until(self, next_: Mapping[str, int]) -> list[Record]:
        """Return what is left of every topic before its offset in *next_*."""
        return [record for topic in sorted(next_) for record in await self._topic_until(topic, next_[topic])]

    async def _topic_until(self, topic: str, end: int) -> list[Record]:
        held = self._held[topic]
        tp = LogPartition(topic, self._partition)
        deadline = time.monotonic() + _PATIENCE_S
        while await self._reader.position(tp) < end:
            got = (await self._reader.fetch([tp], _FETCH_S, _FETCH_RECORDS))[tp].records
            held.extend(got)
            if got:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise IncarnationEnded(
                    f"partition {self._partition}: {topic} gave nothing for {_PATIENCE_S:g} s before offset {end}"
                )
        taken: list[Record] = []
        while held and held[0].offset < end:
            taken.append(held.popleft())
        return taken
