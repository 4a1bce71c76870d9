"""W, the last published batch of a partition, by three witnesses: the group's offsets, the store's copy, and the journal.

Each may forget or go back. Kafka drops the offsets of a group that was empty for some days. An operator may reset them, and
another program may overwrite them. Brokers before 4.0 may answer with those of before the last transaction. Redis may be an
older copy, or empty. The journal forgets what retention deleted. A batch's cut and offsets commit in one transaction, so W is
the greatest of the three.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

from worker.core.contract.journal import KIND, Cut, Cuts, decode_entry
from worker.core.contract.model import Unread
from worker.errors import IncarnationEnded, LogUnavailable, WorkerMustStop
from worker.logs import fields
from worker.ports import Committed, Log, LogPartition, LogReader, Position
from worker.settings import Settings

log = logging.getLogger(__name__)

_WINDOW = 128
"""Offsets before the journal's end that are always read. Cuts are some seconds apart, so the last one is usually there."""

_GROWTH = 4
"""Each window further back is so many times longer than the one before it."""

_REMEMBERED = 4_096
"""Cuts that a series remembers: two transactions hold no more. A cut that is written twice is known by them."""

_POLL_S = 0.05
_WAIT_MS = 20
_FETCH_RECORDS = 5_000
_PATIENCE_S = 60.0


class Witnesses(NamedTuple):
    """The last published batch of one partition, as each witness has it; 0 where it knows of none."""

    group: int
    store: int
    journal: int
    ends: Mapping[str, int]
    """Topic → the next offset after batch W, as the group or the journal has it; empty where neither knows."""

    @property
    def published(self) -> int:
        """W."""
        return max(self.group, self.store, self.journal)

    @property
    def forgetful(self) -> bool:
        """Whether the group or the journal knows of less than W. The store's copy follows them, so it may be behind."""
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
    """Return what the three witnesses of *partition* say. *position* is the store's, *committed* the group's.

    An owner asks after its producer has started: then nothing of the predecessor is undecided.

    Raises `WorkerMustStop` when the journal holds two series of cuts, `IncarnationEnded` when Kafka does not give the journal.
    """
    tp = LogPartition(settings.internal_topic, partition)
    try:
        series = await _read(tp, _known_from(settings, position), cluster)
    except (LogUnavailable, TimeoutError, OSError) as err:
        raise IncarnationEnded(f"partition {partition}: the journal does not say what was published: {err!r}") from err
    return weigh(tp, committed, position.published, series.last)


def weigh(tp: LogPartition, committed: Mapping[str, Committed], store: int, last: Cut | None) -> Witnesses:
    """Return the witnesses of one partition, by the group's offsets, the store's copy of W and the journal's last cut.

    Raises `WorkerMustStop` when the group and the journal have one batch W, and it ends at other offsets.
    """
    found = Witnesses(group=group_says(committed), store=store, journal=0 if last is None else last.batch, ends={})
    if not found.published:  # the offsets may be another program's, and no batch ended at them
        return found
    ends = {topic: at.offset for topic, at in committed.items() if batch_of(at) == found.published}
    if last is not None and last.batch == found.published:
        other = {topic: offset for topic, offset in ends.items() if last.next.get(topic, offset) != offset}
        if other:
            raise two_series(tp, f"batch {last.batch} ends at {dict(last.next)}, the group's offsets say {other}")
        ends |= last.next
    return found._replace(ends=ends)


def tell(partition: int, found: Witnesses) -> None:
    """Log where the witnesses differ. After a death between a commit and its trim the store's copy alone is behind."""
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
        "partition %d: the witnesses of what was published do not agree (%s): batch %d holds",
        partition,
        found,
        found.published,
        extra=details,
    )


def group_says(committed: Mapping[str, Committed]) -> int:
    """Return W by the group's offsets; 0 where it has none of ours."""
    return max(map(batch_of, committed.values()), default=0)


def batch_of(committed: Committed) -> int:
    """Return b from the metadata of a committed offset; 0 where another program committed."""
    return int(committed.metadata) if str(committed.metadata).isdecimal() else 0


class Series:
    """The cuts of one journal, in its order: each follows the one before it."""

    def __init__(self, tp: LogPartition) -> None:
        self._tp = tp
        self._recent: dict[int, Cut] = {}
        self.last: Cut | None = None
        """The cut of the greatest batch."""
        self.offset = 0
        """Where it stands."""

    def add(self, cut: Cut, offset: int) -> None:
        """Take the next cut, which stands at *offset*. Raises `WorkerMustStop` when it is of another series than those before.

        Batch 0 is written again by an owner that ended before its first batch. A batch may stand there twice, the same, where
        an older version went by stale offsets. Batches may be missing: that matters to a refold alone, which sees it.
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
    """Return the refusal of a journal whose cuts are of two histories; *how* says what shows it."""
    return WorkerMustStop(
        f"partition {tp.partition}: its journal ({tp.topic}) holds two series of cuts: {how}. The namespace was begun anew upon"
        " the journal of before, or the data of two clusters came together in it, so it is unknown what was published."
        " Start afresh under another LEADPULSE_NAMESPACE"
    )


def windows(first: int, end: int, since: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets [start, end) to read of a log [first, end), backwards, until the caller has found enough.

    The first window reaches back to *since*, and some way at least; each further one is longer than the one before.
    """
    start = max(first, min(since, end - _WINDOW))
    yield start, end
    size = max(_WINDOW, end - start)
    while start > first:
        size *= _GROWTH
        end, start = start, max(first, start - size)
        yield start, end


def _known_from(settings: Settings, position: Position) -> int | None:
    """Return the journal's offset from which on its cuts must be one series; `None`: the end of it is enough.

    A store that is behind is folded again by the cuts after its own offset, one that is rebuilt by all of them.
    """
    if position.batch:
        return position.next.get(settings.internal_topic)
    return 0 if position.rebuild else None


async def _read(tp: LogPartition, since: int | None, cluster: Log) -> Series:
    """Return the journal's cuts from *since* on, or from further back where there are none, up to its high watermark."""
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

    An open transaction (another partition's, forwarding strays) hides what comes after it until it is decided, and the last
    cut may be there. The watermark is that of the first answer: at any later one another transaction may be open.
    """
    reader.seek(tp, start)
    limit = None if to_watermark else end
    reached, deadline = start, time.monotonic() + _PATIENCE_S
    while True:
        got = (await reader.fetch([tp], _POLL_S, _FETCH_RECORDS))[tp]
        if limit is None and (watermark := reader.end(tp)) is not None:
            limit = max(end, watermark)
        for record in got.records:
            if type(record) is Unread:
                decode_entry(record)  # raises: the last cut may be in what cannot be read
            if (limit is None or record.offset < limit) and record.headers and record.headers[0] == (KIND, b"cuts"):
                entry = decode_entry(record)
                assert isinstance(entry, Cuts)
                for cut in entry.cuts:
                    yield cut, record.offset
        before, reached = reached, got.next
        if limit is not None and reached >= limit:
            return
        if reached > before:
            deadline = time.monotonic() + _PATIENCE_S
        elif time.monotonic() > deadline:
            raise IncarnationEnded(
                f"partition {tp.partition}: {tp.topic} gave nothing for {_PATIENCE_S:g} s between offsets {reached} and"
                f" {limit}: if a transaction hangs there (kafka-transactions.sh find-hanging), abort it"
            )
