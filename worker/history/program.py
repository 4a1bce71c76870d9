"""The program that archives: it reads the partitions that its group assigns to it, and writes them as files.

The group shares the partitions, and has no offsets: the folder alone tells where each partition goes on. A process that is
assigned a partition lists its files and reads on after the last one. What a process had read and not written is read again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from worker.core.contract.model import Unread
from worker.errors import OffsetsGone, Reassigned, WorkerMustStop
from worker.history.buffer import Buffer
from worker.history.form import Role, Source
from worker.history.metrics import ArchiveMetrics
from worker.history.store import ArchiveStore
from worker.logs import fields
from worker.ports import Fetched, LogGroup, LogPartition

log = logging.getLogger(__name__)

DRAIN_S: Final = 8.0
"""Time to write what was read, at the end."""

_FETCH_S: Final = 0.5
_MOST: Final = 10_000
_AGAIN_S: Final = 2.0
_WRITERS: Final = 4
"""Files that are written at the same time."""


class Limits(NamedTuple):
    """When a file is written."""

    rows: int
    bytes: int
    seconds: float
    memory: int
    """Bytes of all records that wait, at which reading pauses."""


class Program:
    """Archives the partitions that the group assigns to this process."""

    def __init__(
        self,
        group: LogGroup,
        store: ArchiveStore,
        roles: Mapping[str, Role],
        limits: Limits,
        metrics: ArchiveMetrics,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._store = store
        self._roles = roles
        self._limits = limits
        self._metrics = metrics
        self._now_s = now_s
        self._ours: set[LogPartition] = set()
        self._buffers: dict[LogPartition, Buffer] = {}
        self._writing: dict[LogPartition, asyncio.Task[None]] = {}
        self._waiting: dict[LogPartition, int] = {}
        """Bytes that are being written."""
        self._room = asyncio.Semaphore(_WRITERS)
        self._assignment: object = None
        self._failed: dict[LogPartition, str] = {}
        self.joined = False
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether each partition of ours is read, and files can be written."""
        return self.joined and not self.draining and self._ours == self._buffers.keys() and not self._failed

    def status(self) -> dict[str, Any]:
        """Return what `/readyz` shows."""
        return {
            "ready": self.ready,
            "draining": self.draining,
            "partitions": sorted(f"{tp.topic}[{tp.partition}]" for tp in self._ours),
            "reading": len(self._buffers),
            "failing": sorted(set(self._failed.values())),
        }

    async def run(self) -> None:
        """Archive until cancelled. Raises errors of the group, after which the caller joins anew."""
        try:
            await self._group.join(list(self._roles), self._assigned)
            while True:
                await (self._group.poll() if self.draining else self._turn())
        finally:
            for task in self._writing.values():
                task.cancel()

    async def _turn(self) -> None:
        """Take over what is new, read once, and begin to write what is due."""
        if not self._ours >= self._buffers.keys():
            self._drop(self._buffers.keys() - self._ours)
        new = self._ours - self._buffers.keys()
        try:
            if new:
                await self._take_over(new)
            self._seek()
            full = self._bytes() >= self._limits.memory
            places = [] if full else list(self._buffers)
            if places:
                self._take(await self._group.fetch(places, _FETCH_S, _MOST))
            else:
                await self._group.poll()
        except Reassigned:
            await self._group.poll()  # what follows from it comes by `_assigned`
        except OffsetsGone as error:
            log.warning("%s", error.line(), extra=fields("archive.offsets_gone"))
            self._drop(list(self._buffers))
        self._begin_writing()
        self._show()

    def _assigned(self, partitions: set[LogPartition]) -> None:
        self.joined = True
        if not self.draining:
            self._ours = set(partitions)
            self._metrics.partitions.set(len(partitions))

    def _drop(self, partitions: Any) -> None:
        """Forget what was read of *partitions* and is in no file. Files that are being written are finished."""
        for tp in list(partitions):
            self._buffers.pop(tp, None)
            self._failed.pop(tp, None)

    async def _take_over(self, new: set[LogPartition]) -> None:
        """Find where to read on, from the files that are there."""
        for tp in new & self._writing.keys():  # what its thread still writes is found later, by `overtaken`
            self._writing[tp].cancel()
            await asyncio.wait([self._writing[tp]])
        found = await asyncio.to_thread(self._store.standing, {Source(*tp) for tp in new})
        places = list(new)
        starts, ends = await self._group.starts(places), await self._group.ends(places)
        for tp in places:
            start, end, at = starts[tp], ends[tp], found.get(Source(*tp))
            if at is not None and at > end:
                raise WorkerMustStop(
                    f"{tp.topic}[{tp.partition}] ends at offset {end}, and the archive has it up to {at}: the topic was created"
                    " anew; archive it to another place (LEADPULSE_ARCHIVE_TO)"
                )
            if at is not None and at < start:
                self._lost(tp, at, start)
            if tp in self._ours:
                first = start if at is None else max(at, start)
                self._buffers[tp] = Buffer(Source(*tp), self._roles[tp.topic], first, self._now_s())
        self._assignment = None
        log.info("%d partitions are archived", len(self._buffers), extra=fields("archive.takes", partitions=len(self._buffers)))

    def _lost(self, tp: LogPartition, first: int, start: int) -> None:
        log.error(
            "%s[%d]: retention deleted offsets %d to %d before they were archived", tp.topic, tp.partition, first, start - 1,
            extra=fields("archive.lost", topic=tp.topic, partition=tp.partition, first=first, last=start - 1),
        )  # fmt: skip
        self._metrics.lost.inc(start - first)

    def _seek(self) -> None:
        """Put the consumer where we are, after each rebalance and after a partition began."""
        assignment = self._group.assignment()
        if assignment is not self._assignment:
            self._drop(self._buffers.keys() - assignment)
            for tp, buffer in self._buffers.items():
                self._group.seek(tp, buffer.next)
            self._assignment = assignment

    def _take(self, found: Mapping[LogPartition, Fetched]) -> None:
        now_s = self._now_s()
        for tp, (records, next_) in found.items():
            buffer = self._buffers.get(tp)
            if buffer is None:  # dropped during the fetch
                continue
            if next_ < buffer.next or (records and records[0].offset < buffer.next):
                self._assignment = None  # the consumer was set back in between
                continue
            unread = sum(type(record) is Unread for record in records)
            if unread:
                self._metrics.unreadable.inc(unread)
                log.error(
                    "%s[%d]: a damaged batch; of its %d records the archive has the places", tp.topic, tp.partition, unread,
                    extra=fields("archive.unreadable", topic=tp.topic, partition=tp.partition, records=unread),
                )  # fmt: skip
            buffer.take(records, next_, now_s)

    def _begin_writing(self, *, all_: bool = False) -> None:
        limits, now_s = self._limits, self._now_s()
        pressed = self._bytes() >= limits.memory
        for tp, buffer in list(self._buffers.items()):
            due = buffer.rows >= limits.rows or buffer.bytes >= limits.bytes or now_s - buffer.since_s >= limits.seconds
            if buffer.rows and (due or all_ or pressed) and tp not in self._writing:
                self._buffers[tp] = Buffer(buffer.source, buffer.role, buffer.next, now_s)
                self._waiting[tp] = buffer.bytes
                task = self._writing[tp] = asyncio.create_task(self._write(tp, buffer))
                task.add_done_callback(functools.partial(self._written, tp))

    async def _write(self, tp: LogPartition, buffer: Buffer) -> None:
        """Write *buffer*, again and again while the storage fails. Where another process was first, read from its end on."""
        while True:
            try:
                async with self._room:
                    if await asyncio.to_thread(self._store.overtaken, buffer):
                        self._yield(tp)
                        return
                    written = await asyncio.to_thread(self._store.write, buffer)
            except Exception as error:  # noqa: BLE001 (drivers of object storage raise any; each is retried, and shown)
                self._metrics.failures.inc()
                self._failed[tp] = type(error).__name__
                log.warning("a file cannot be written: %s", error, extra=fields("archive.not_written", topic=tp.topic))
                await asyncio.sleep(_AGAIN_S)
                if tp not in self._ours:
                    return
            else:
                self._failed.pop(tp, None)
                self._metrics.records.labels(tp.topic).inc(buffer.rows)
                self._metrics.files.inc()
                self._metrics.bytes.inc(written.bytes)
                self._metrics.write_seconds.observe(written.seconds)
                self._metrics.last_write.set(time.time())
                return

    def _written(self, tp: LogPartition, _: asyncio.Task[None]) -> None:
        del self._writing[tp], self._waiting[tp]

    def _yield(self, tp: LogPartition) -> None:
        """Another process has archived these records. Begin again after its file, if the partition is ours."""
        log.warning("%s[%d]: another process archives it, too", tp.topic, tp.partition, extra=fields("archive.yielded"))
        self._metrics.yielded.inc()
        self._drop([tp])

    def _bytes(self) -> int:
        return sum(buffer.bytes for buffer in self._buffers.values()) + sum(self._waiting.values())

    def _show(self) -> None:
        """Show what is in no file yet."""
        now_s, lag = self._now_s(), 0
        for tp, buffer in self._buffers.items():
            end = self._group.end(tp)
            lag += buffer.rows + (0 if end is None else max(0, end - buffer.next))
        waits = [now_s - buffer.since_s for buffer in self._buffers.values() if buffer.rows]
        self._metrics.lag.set(lag)
        self._metrics.oldest.set(max(waits, default=0.0))

    async def drain(self, within_s: float = DRAIN_S) -> None:
        """Read no more, and write what was read."""
        self.draining = True
        try:
            async with asyncio.timeout(within_s):
                while self._writing or any(buffer.rows for buffer in self._buffers.values()):
                    self._begin_writing(all_=True)
                    if self._writing:
                        await asyncio.wait(list(self._writing.values()), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            log.warning("not everything is written; it will be read again", extra=fields("archive.not_drained"))
