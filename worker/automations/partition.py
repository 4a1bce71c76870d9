"""One partition of the outputs: it is taken over and read, and its ledger has each output before the offsets move."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from worker.automation_ports import ActGroup, Ledger, Op
from worker.automations.ledger_standing import CALLS, Standing, standing
from worker.automations.metrics import ActMetrics
from worker.automations.taking import Routed, Taking, by_owner
from worker.core.contract.model import Record
from worker.core.contract.partitioner import owner
from worker.errors import Reassigned, StaleStore
from worker.logs import fields
from worker.ports import Committed, LogPartition

log = logging.getLogger(__name__)

MOST_RECORDS: Final = 500
_MOST_OPS: Final = 50
"""Most ops of one call, so that none holds Redis for long."""

_FETCH_S: Final = 1.0
_COMMIT_S: Final = 0.5
_PATIENCE_S: Final = 30.0
"""So long acts wait at most until what was published before we took the partition over is read."""

_LOOK_S: Final = 2.0
"""So often a ledger that nothing is written to is looked at, since Redis may have gone back in time."""


class Shared(NamedTuple):
    """What all partitions of a process use."""

    group: ActGroup
    topics: tuple[str, ...]
    """Every topic that is read."""
    ledgers: Sequence[Ledger]
    """By partition."""
    taking: Taking
    metrics: ActMetrics
    now_ms: Callable[[], int]
    saw: Callable[[int], None]
    """Called with the newest record's time."""
    newest_ms: Callable[[], int]
    """What the age of an act is counted against."""
    took_over: Callable[[], None]
    """Called when a partition was taken over."""
    since_ms: int
    """Where a topic begins that was never read; -1: at its end."""


class PartitionReader:
    """Reads partition p of every topic, and is its fence."""

    def __init__(self, shared: Shared, partition: int, took: Callable[[], None]) -> None:
        self._shared = shared
        self.partition = partition
        self.ledger = shared.ledgers[partition]
        self._took = took
        self._at = {topic: LogPartition(topic, partition) for topic in shared.topics}
        self._next: dict[str, int] = {}
        self._again: dict[str, int] = {}
        self._behind: dict[str, int] = {}
        self._patient_until = 0.0
        self._since_ms = 0
        self._calls = 0
        self._assignment: object = None
        self._lock = asyncio.Lock()
        """Held while the ledger's position or the group's offsets move."""
        self._noted: dict[str, int] = {}
        """Positions that the ledger has."""
        self._committed: dict[str, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._crossing: asyncio.Task[None] | None = None

    @property
    def doubtful(self) -> bool:
        """Whether outputs are read again that an earlier ledger had, so that what follows from them may have been done."""
        return bool(self._again)

    @property
    def behind(self) -> bool:
        """Whether records are still to be read that may cancel, suppress or replace what waits."""
        return self.doubtful or (bool(self._behind) and time.monotonic() < self._patient_until)

    async def take_over(self) -> Standing:
        """Find where to read on. A ledger that went back in time distrusts what waits in it."""
        shared = self._shared
        places = list(self._at.values())
        position, committed = await self.ledger.position(), await shared.group.committed(shared.topics, self.partition)
        starts, ends = await shared.group.starts(places), await shared.group.ends(places)
        first = ends if shared.since_ms < 0 else await shared.group.at(places, shared.since_ms)
        found = standing(shared.topics, position, committed, *(self._by_topic(one) for one in (starts, ends, first)))
        if found.went_back:
            await self.ledger.distrust()
            self._tell(found, committed)
        for topic, count in found.lost.items():
            log.error(
                "%s[%d]: retention deleted %d records before they were read", topic, self.partition, count,
                extra=fields("act.lost", topic=topic, partition=self.partition, records=count),
            )  # fmt: skip
            shared.metrics.lost.inc(count)
        self._next, self._again, self._calls = dict(found.next), dict(found.again_until), found.calls
        self._behind = _still_to_read(self._by_topic(ends), found.next)
        self._patient_until = time.monotonic() + _PATIENCE_S
        self._since_ms = shared.newest_ms() if found.emptied else 0
        shared.took_over()
        return found

    async def trust(self) -> None:
        """Note where we read on, and that everything that waits is marked."""
        await self.ledger.take([], self._shared.now_ms(), {**self._next, CALLS: self._calls}, again=True)
        self._noted = dict(self._next)

    def _by_topic(self, offsets: Mapping[LogPartition, int]) -> dict[str, int]:
        return {tp.topic: offset for tp, offset in offsets.items()}

    def _tell(self, found: Standing, committed: Mapping[str, Committed]) -> None:
        log.error(
            "partition %d: Redis went back in time: outputs are read again, and what may have been done is looked up",
            self.partition,
            extra=fields("act.went_back", partition=self.partition, emptied=found.emptied, topics=sorted(committed)),
        )
        self._shared.metrics.went_back.inc()

    async def read(self) -> None:
        """Read until an error."""
        while True:
            records, next_ = await self._fetched()
            if next_ != self._next:
                await self._take(records, next_)
                self._took()

    async def _fetched(self) -> tuple[list[Record], dict[str, int]]:
        """Return records of all topics in the order of time, and the positions after them. Seeks after a rebalance."""
        group, assignment = self._shared.group, self._shared.group.assignment()
        if not assignment >= set(self._at.values()):
            raise Reassigned("the partition is not ours any more", "the partition is not ours any more")
        if assignment is not self._assignment:
            for topic, place in self._at.items():
                group.seek(place, self._next[topic])
            self._assignment = assignment
        found = await group.fetch(list(self._at.values()), _FETCH_S, MOST_RECORDS)
        records: list[Record] = []
        ends = [(group.end(place) or 0) - found[place].next for place in self._at.values()]
        self._shared.metrics.lag.labels(str(self.partition)).set(sum(max(0, waiting) for waiting in ends))
        for topic, place in self._at.items():
            got = found[place]
            if got.next < self._next[topic] or (got.records and got.records[0].offset < self._next[topic]):
                self._assignment = None  # the consumer was set back in between
                return [], self._next
            records += got.records
        records.sort(key=lambda one: one.timestamp_ms or 0)
        return records, {topic: found[place].next for topic, place in self._at.items()}

    async def _take(self, records: Sequence[Record], next_: dict[str, int]) -> None:
        """Write down what *records* bring about, and the positions after them."""
        shared = self._shared
        routed: list[Routed] = []
        for record in records:
            shared.saw(record.timestamp_ms or 0)
            output = shared.taking.read(record)
            if output is not None:
                unsure = record.offset < self._again.get(record.topic, 0)
                routed += await shared.taking.ops(output, unsure=unsure, since_ms=self._since_ms if unsure else 0)
                shared.metrics.outputs.labels(output.type).inc()
        ops = by_owner(routed, lambda key: owner(key, len(shared.ledgers)))
        async with self._lock:
            if ops:
                await self._still_the_same()
                own = ops.pop(self.partition, [])
                for partition, theirs in ops.items():
                    await self._in_slices(shared.ledgers[partition], theirs)
                await self._in_slices(self.ledger, own, next_)
                self._noted = dict(next_)
            self._next = next_
            self._again, self._behind = (_still_to_read(until, next_) for until in (self._again, self._behind))

    async def _in_slices(self, ledger: Ledger, ops: Sequence[Op], position: Mapping[str, int] | None = None) -> None:
        """Write *ops* down, the last of them together with *position*."""
        last = max(0, (len(ops) - 1) // _MOST_OPS * _MOST_OPS)
        for start in range(0, last, _MOST_OPS):
            await ledger.take(ops[start : start + _MOST_OPS], self._shared.now_ms())
        await ledger.take(ops[last:], self._shared.now_ms(), position)

    async def _still_the_same(self) -> None:
        """Raise `StaleStore` if the ledger went back in time, or if another process has written its position."""
        position = await self.ledger.position()
        if position.get(CALLS, 0) != self._calls or any(position.get(topic) != at for topic, at in self._noted.items()):
            raise StaleStore(f"partition {self.partition}: the ledger is not where we left it: Redis went back in time")

    async def stands(self) -> None:
        """Raise `StaleStore` unless the ledger is where we left it."""
        async with self._lock:
            await self._still_the_same()

    async def commit(self) -> None:
        """Commit offsets, a while after the ledger has them, until an error."""
        looked_s = 0.0
        while True:
            await asyncio.sleep(_COMMIT_S)
            looked_s += _COMMIT_S
            async with self._lock:
                if self._noted != self._next or looked_s >= _LOOK_S:
                    await self._still_the_same()
                    looked_s = 0.0
                if self._noted != self._next:
                    await self.ledger.take([], self._shared.now_ms(), self._next)
                    self._noted = dict(self._next)
                if self._committed != self._next:
                    await self._commit()

    async def _commit(self) -> None:
        """Commit our positions, which the ledger has, with the number of calls as their note.

        What is read again keeps its offset, so that the next owner distrusts the rest of it, too.
        """
        offsets = {self._at[topic]: max(offset, self._again.get(topic, 0)) for topic, offset in self._noted.items()}
        await self._shared.group.commit(offsets, str(self._calls))
        self._committed = dict(self._noted)

    async def cross(self) -> None:
        """Show that the partition is ours and its ledger the same, and leave a trace in Kafka: one more call goes out.

        Attempts that cross at the same time share one crossing.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._crossing is None or self._crossing.done():
            self._crossing = asyncio.create_task(self._cross())
        await done

    async def _cross(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                async with self._lock:
                    await self._still_the_same()
                    await self.ledger.take([], self._shared.now_ms(), {CALLS: self._calls + 1})
                    self._calls += 1
                    await self._commit()
            except Exception as error:  # noqa: BLE001 (each of those who wait raises it)
                for one in waiting:
                    if not one.done():
                        one.set_exception(error)
            else:
                for one in waiting:
                    if not one.done():
                        one.set_result(None)


def _still_to_read(until: Mapping[str, int], next_: Mapping[str, int]) -> dict[str, int]:
    """Return the topics that are not read as far as *until*."""
    return {topic: offset for topic, offset in until.items() if next_[topic] < offset}
