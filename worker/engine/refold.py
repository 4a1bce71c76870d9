"""Folds batches again by their cuts, after the store went back in time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping

from worker.core.contract.journal import Cut, Cuts, GridText, decode_entry, is_folded
from worker.core.contract.model import Record, Unread
from worker.core.contract.unread import TOO_LARGE, as_passed
from worker.core.grid.content import content_sha256
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.batch_builder import SLICE, BatchBuilder, BatchStart
from worker.engine.retrying_store import RetryingStore
from worker.engine.standing import RESTORE, Logs, check_truth, same
from worker.errors import IncarnationEnded, WorkerMustStop
from worker.metrics import Metrics
from worker.ports import Batch, Log, LogPartition, LogReader, OutboxEntry
from worker.settings import Settings

_PATIENCE_S = 60.0
_FETCH_S = 0.5
_FETCH_RECORDS = 5_000


def moving(at: Cut, cut: Cut, clock_ms: int | None, *, send: bool = True) -> Batch:
    """Return the batch of *cut*, which moves the offsets from *at* without reading the records between."""
    return Batch(OutboxEntry(cut, ()), (), clock_ms, send, left=[topic for topic in at.next if topic not in cut.next])


def check_cut(partition: int, cut: Cut) -> None:
    """Raise `WorkerMustStop` for a *cut* that this version cannot fold to the same bytes with any grid."""
    theirs, ours = (cut.words, cut.fold), (TABLES_VERSION, FOLD_VERSION)
    if theirs != ours:
        names = ("tables", "fold")
        differ = ", ".join(f"{name} {a} (here {b})" for name, a, b in zip(names, theirs, ours, strict=True) if a != b)
        raise WorkerMustStop(
            f"partition {partition}: the store is behind Kafka, and batch {cut.batch} was folded with {differ}: let a worker"
            " of that version take the partition over first; it catches up, then this one can follow"
        )


def check_topics_of(partition: int, at: Cut, cut: Cut, ids: Mapping[str, str]) -> None:
    """Raise `WorkerMustStop` if a topic that batch *cut* read, from *at* on, was recreated. *ids* are the present ones."""
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
    """Raise `WorkerMustStop` if *again*, which is not applied yet, was folded from other records than *cut*."""
    if cut.digest and (cut.records, cut.digest) != (again.records, again.digest):
        there = f"{again.records} records (digest {again.digest})"
        raise WorkerMustStop(
            f"partition {partition}: batch {cut.batch} was folded from {cut.records} records (digest {cut.digest}), and the"
            f" topics now give {there} in their place: records were compacted or deleted, or this version decodes them"
            f" differently: {RESTORE}"
        )


class Refold:
    """Folds batches again by their cuts, from the store's batch up to W, and sends no output of them."""

    def __init__(
        self,
        settings: Settings,
        partition: int,
        store: RetryingStore,
        builder: BatchBuilder,
        metrics: Metrics,
        cluster: Log,
        found: Logs,
    ) -> None:
        self._settings = settings
        self._partition = partition
        self._store = store
        self._builder = builder
        self._metrics = metrics
        self._cluster = cluster
        self._found = found
        self._compiled = {builder.compiled.grid.sha256: builder.compiled}
        self.begun: list[tuple[int, int, str, str]] = []
        """Each grid or tables that a batch began: order, version, sha256, tables. For `numbered`."""
        self._texts: dict[str, bytes] = {}
        """Texts of grids in the journal, by SHA-256. A text is parsed only if a cut names it."""

    async def run(self, at: Cut, clock_ms: int | None, published: int) -> tuple[Cut, int | None]:
        """Bring the store from *at* to batch *published*; return that batch's cut and the clock then."""
        internal = self._settings.internal_topic
        journal = LogPartition(internal, self._partition)
        async with self._cluster.reader([journal]) as ahead, self._cluster.reader([]) as behind:
            reader = RefoldReader(behind, self._partition, at.next) if at.batch else None
            async for cut in self._cuts(ahead, journal, at.next[internal]):
                if cut.batch == 0 and at.batch == 0:  # an owner that ended before its first batch left one more
                    at = self._beginning(cut)
                    reader = RefoldReader(behind, self._partition, at.next)
                if not self._follows(at, cut, begun=reader is not None):
                    continue
                assert reader is not None
                if cut.lost:
                    await self._store.apply(moving(at, cut, clock_ms, send=False))
                    self._metrics.refolded.labels(str(self._partition)).inc()
                    reader = RefoldReader(behind, self._partition, cut.next)
                else:
                    clock_ms = await self._batch(cut, await reader.until(cut.next), clock_ms)
                at = cut
                if at.batch == published:
                    return at, clock_ms
        raise self._incomplete(at.batch + 1, None)

    def _follows(self, at: Cut, cut: Cut, *, begun: bool) -> bool:
        """Return whether *cut* is the next one to fold after *at*; False if it is not later than *at*.

        Raises `WorkerMustStop` if *cut* belongs to another history, leaves out a batch, or cannot be folded again.
        """
        if cut.batch == at.batch > 0:
            check_truth(self._partition, at.batch, at.next, cut.next)
        if cut.batch <= at.batch:
            return False
        if cut.batch != at.batch + 1 or not begun:
            raise self._incomplete(at.batch + 1 if begun else 0, cut.batch)
        check_cut(self._partition, cut)
        check_topics_of(self._partition, at, cut, self._found.ids)
        return True

    def _beginning(self, cut: Cut) -> Cut:
        """Return the cut of batch 0, with the first offsets. Raises `WorkerMustStop` if records after them are gone."""
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
        """Yield the journal's cuts from offset *start* to its end. Keep the texts of grids among them.

        The end is the high watermark. Another partition that forwards strays may have an open transaction. It hides later cuts
        until it is decided, and they may be needed.
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
                        self._texts[content_sha256(source)] = source
            end = reader.end(tp)
            if end is not None and got.next >= end:
                return
            if got.records:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise IncarnationEnded(
                    f"partition {self._partition}: {tp.topic} returned no record for {_PATIENCE_S:g} s before offset {end}"
                )

    async def _batch(self, cut: Cut, records: list[Record], clock_ms: int | None) -> int | None:
        """Fold the batch of *cut* again; return the clock after it."""
        ids = cut.topic_ids()
        start = BatchStart(cut.batch, cut.next, clock_ms, send=False, ids=ids, fetched_ms=cut.fetched_ms)
        records = as_folded(self._partition, cut, records)
        self._builder.compiled = await self._grid_of(cut)
        if cut.requeued:
            batch = self._builder.begin(self._builder.compiled, start, cut.requeued, cut.order)
            self.begun.append((cut.order, self._builder.compiled.grid.version, cut.grid, cut.words))
        elif cut.tick_ms is None:
            folded = [record for record in records if record.topic != self._settings.internal_topic or is_folded(record)]
            batch = (await self._builder.events(folded, start)).batch
            check_folded(self._partition, cut, batch.entry.cut)
        else:
            leads = (await self._store.due(cut.tick_ms, cut.judged or SLICE, cut.batch - 1)).leads
            batch = (await self._builder.slice(leads, cut.tick_ms, start, cut.next if cut.tick_done else None)).batch
        await self._store.apply(batch)
        self._metrics.refolded.labels(str(self._partition)).inc()
        return batch.clock_ms

    async def _grid_of(self, cut: Cut) -> CompiledGrid:
        """Return the grid that judged *cut*: the worker's, the store's, or one whose text the journal had."""
        found = self._compiled.get(cut.grid)
        if found is None:
            source = self._texts.get(cut.grid) or await self._store.grid()
            if source is not None and content_sha256(source) == cut.grid:
                found = self._compiled[cut.grid] = self._parsed(source)
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
    """Return *records* as they were when *cut* was folded, with places instead of the records that it passed over.

    Raises `WorkerMustStop` if a record that was read then cannot be read now.
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
    """Reads the partition's committed records again, batch by batch, in a batch's order (topic, offset)."""

    def __init__(self, reader: LogReader, partition: int, next_: Mapping[str, int]) -> None:
        self._reader = reader
        self._partition = partition
        self._held: dict[str, deque[Record]] = {}
        reader.assign([LogPartition(topic, partition) for topic in next_])
        for topic, at in next_.items():
            reader.seek(LogPartition(topic, partition), at)
            self._held[topic] = deque()

    async def until(self, next_: Mapping[str, int]) -> list[Record]:
        """Return the next records of every topic before its offset in *next_*."""
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
                    f"partition {self._partition}: {topic} returned no record for {_PATIENCE_S:g} s before offset {end}"
                )
        taken: list[Record] = []
        while held and held[0].offset < end:
            taken.append(held.popleft())
        return taken
