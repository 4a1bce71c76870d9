"""Finds W, the last published batch of a partition, from the group's offsets, the store's copy of W and the journal.

Each of these three witnesses may be out of date. Kafka drops the offsets of a group that was empty for some days. An operator
may reset them, and another program may overwrite them. Brokers before 4.0 may return the offsets before the last transaction.
Redis may be an older copy, or empty. Retention may have deleted the end of the journal. A batch's cut and offsets commit in
one transaction, so W is the greatest of the three.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from worker.core.contract.journal import KIND, Cut, Cuts, decode_entry
from worker.core.contract.model import Record, Unread
from worker.errors import IncarnationEnded, LogUnavailable, WorkerMustStop
from worker.logs import fields
from worker.ports import Committed, Log, LogPartition, LogReader, Position
from worker.settings import Settings

log = logging.getLogger(__name__)

_WINDOW = 128
"""Offsets before the journal's end that are always read. They usually hold the last cut, since cuts are seconds apart."""

_GROWTH = 4
"""Each window further back is so many times longer than the previous one."""

_REMEMBERED = 4_096
"""Cuts that a series keeps, as many as two transactions hold. They show whether a cut is written twice."""

_POLL_S = 0.05
_WAIT_MS = 20
_FETCH_RECORDS = 5_000
_PATIENCE_S = 60.0


class Witnesses(NamedTuple):
    """The last published batch of one partition by each witness; 0 if the witness has none."""

    group: int
    store: int
    journal: int
    ends: Mapping[str, int]
    """Topic → the next offset after batch W, by the group or the journal; empty if neither has it."""

    @property
    def published(self) -> int:
        """W."""
        return max(self.group, self.store, self.journal)

    @property
    def forgetful(self) -> bool:
        """Whether the group or the journal is behind W. The store's copy is written last, so it may be behind."""
        return min(self.group, self.journal) < self.published

    def __str__(self) -> str:
        return f"group's offsets {self.group}, journal {self.journal}, store {self.store}"


async def ask(
    settings: Settings,
    partition: int,
    position: Position,
    committed: Mapping[str, Committed],
    cluster: Log,
) -> Witnesses:
    """Return the three witnesses of *partition*. *position* is the store's, *committed* the group's.

    An owner asks after its producer has started, so no transaction of the predecessor is open. Raises `WorkerMustStop` when the
    journal holds two series of cuts, and `IncarnationEnded` when Kafka does not return the journal.
    """
    tp = LogPartition(settings.internal_topic, partition)
    try:
        series = await _read(tp, _known_from(settings, position), cluster)
    except (LogUnavailable, TimeoutError, OSError) as err:
        raise IncarnationEnded(
            f"partition {partition}: the journal cannot be read, so the last published batch is unknown: {err!r}"
        ) from err
    return weigh(tp, committed, position.published, series.last)


def weigh(tp: LogPartition, committed: Mapping[str, Committed], store: int, last: Cut | None) -> Witnesses:
    """Return the witnesses of one partition, by the group's offsets, the store's copy of W and the journal's last cut.

    Raises `WorkerMustStop` when the group and the journal have one batch W, and it ends at other offsets.
    """
    found = Witnesses(group=group_published(committed), store=store, journal=0 if last is None else last.batch, ends={})
    if not found.published:  # the offsets may be another program's, so they are no end of a batch
        return found
    ends = {topic: at.offset for topic, at in committed.items() if batch_of(at) == found.published}
    if last is not None and last.batch == found.published:
        other = {topic: offset for topic, offset in ends.items() if last.next.get(topic, offset) != offset}
        if other:
            raise two_series(tp, f"batch {last.batch} ends at {dict(last.next)}, the group's offsets say {other}")
        ends |= last.next
    return found._replace(ends=ends)


def log_differences(partition: int, found: Witnesses) -> None:
    """Log the witnesses if they differ. After a crash between a commit and its trim only the store's copy is behind."""
    if found.group == found.store == found.journal:
        return
    details = fields(
        "partition.witnesses",
        partition=partition,
        published=found.published,
        group=found.group,
        journal=found.journal,
        store=found.store,
    )
    log.warning(
        "partition %d: the witnesses of the last published batch do not agree (%s): batch %d counts",
        partition,
        found,
        found.published,
        extra=details,
    )


def group_published(committed: Mapping[str, Committed]) -> int:
    """Return W by the group's offsets; 0 if no batch committed them."""
    return max(map(batch_of, committed.values()), default=0)


def batch_of(committed: Committed) -> int:
    """Return b from the metadata of a committed offset; 0 if another program committed it."""
    return int(committed.metadata) if str(committed.metadata).isdecimal() else 0


class Series:
    """The cuts of one journal, in order. Each follows the previous one."""

    def __init__(self, tp: LogPartition) -> None:
        self._tp = tp
        self._recent: dict[int, Cut] = {}
        self.last: Cut | None = None
        """The cut of the greatest batch."""
        self.offset = 0
        """The offset of its record."""

    def add(self, cut: Cut, offset: int) -> None:
        """Add the next cut, whose record is at *offset*. Raises `WorkerMustStop` when it belongs to another series.

        An owner that ended before its first batch leaves a cut of batch 0, and the next owner writes another. A batch may stand
        there twice, the same, if an older version used stale offsets. A missing batch only matters to a refold, which checks.
        """
        last = self.last
        if last is not None and cut.batch <= last.batch and last.batch > 0:
            before = self._recent.get(cut.batch)
            if before is None or before.batch == 0 or before.next != cut.next:
                raise two_series(
                    self._tp,
                    f"batch {cut.batch} at offset {offset} comes after batch {last.batch} at offset {self.offset}",
                )
            return
        self.last, self.offset = cut, offset
        self._recent[cut.batch] = cut
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]


def two_series(tp: LogPartition, how: str) -> WorkerMustStop:
    """Return the refusal of a journal whose cuts are of two histories. *how* names two cuts that contradict each other."""
    return WorkerMustStop(
        f"partition {tp.partition}: its journal ({tp.topic}) holds two series of cuts: {how}. The namespace was begun anew upon"
        " the journal of before, or the data of two clusters came together in it, so it is unknown what was published."
        " Start afresh under another LEADPULSE_NAMESPACE"
    )


def windows(first: int, end: int, since: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges [start, end) of a log [first, end), the last one first, until the caller has found enough.

    The first window reaches back to *since*, and has at least `_WINDOW` offsets. Each further window is longer.
    """
    start = max(first, min(since, end - _WINDOW))
    yield start, end
    size = max(_WINDOW, end - start)
    while start > first:
        size *= _GROWTH
        end, start = start, max(first, start - size)
        yield start, end


def _known_from(settings: Settings, position: Position) -> int | None:
    """Return the offset of the journal from which its cuts must be one series; `None` if its end is enough.

    A store that is behind is folded again by the cuts after its own offset. A store that is rebuilt needs all of them.
    """
    if position.batch:
        return position.next.get(settings.internal_topic)
    return 0 if position.rebuild else None


async def _read(tp: LogPartition, since: int | None, cluster: Log) -> Series:
    """Return the journal's cuts from *since*, or from further back if there are none, up to its high watermark."""
    first = (await cluster.starts([tp]))[tp]
    # The leader answers only once its high watermark has passed all terms before its own; in a fetch it may still be lower.
    stable = (await cluster.ends([tp]))[tp]
    found, later = Series(tp), None
    async with cluster.reader([tp], _WAIT_MS) as reader:
        for start, end in windows(first, stable, stable if since is None else since):
            found = Series(tp)
            async for cut, offset in _cuts(reader, tp, start, end, to_watermark=later is None):
                found.add(cut, offset)
            if later is not None and later.last is not None:
                found.add(later.last, later.offset)
            if found.last is not None and found.last.batch:
                break
            later = found
    return found


async def _cuts(
    reader: LogReader, tp: LogPartition, start: int, end: int, *, to_watermark: bool
) -> AsyncIterator[tuple[Cut, int]]:
    """Yield the committed cuts from offset *start* to *end*, or on to the high watermark, each with its record's offset.

    Another partition that forwards strays may have an open transaction. It hides later records until it is decided, and the
    last cut may be among them. The watermark is that of the first answer. At a later one another transaction may be open.
    """
    reader.seek(tp, start)
    limit = None if to_watermark else end
    reached, deadline = start, time.monotonic() + _PATIENCE_S
    while limit is None or reached < limit:
        got = (await reader.fetch([tp], _POLL_S, _FETCH_RECORDS))[tp]
        if limit is None and (watermark := reader.end(tp)) is not None:
            limit = max(end, watermark)
        for record in got.records:
            for cut in _cuts_in(record, limit):
                yield cut, record.offset
        before, reached = reached, got.next
        if reached > before:
            deadline = time.monotonic() + _PATIENCE_S
        elif time.monotonic() > deadline and (limit is None or reached < limit):
            raise IncarnationEnded(
                f"partition {tp.partition}: {tp.topic} returned no record for {_PATIENCE_S:g} s between offsets {reached} and"
                f" {limit}: if a transaction hangs there (kafka-transactions.sh find-hanging), abort it"
            )


def _cuts_in(record: Record | Unread, limit: int | None) -> Sequence[Cut]:
    """Return the cuts in a record of the journal before offset *limit*. Raises `JournalError` if it cannot be read."""
    if type(record) is Unread:
        decode_entry(record)  # raises, because it may have held the last cut
    beyond = limit is not None and record.offset >= limit
    if beyond or not record.headers or record.headers[0] != (KIND, b"cuts"):
        return ()
    entry = decode_entry(record)
    assert isinstance(entry, Cuts)
    return entry.cuts
