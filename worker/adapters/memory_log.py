"""Topics in memory. One test suite checks that they behave as in Kafka, so other tests can use them.

It has transactions with fencing by epoch, and control records that take offsets. It has high watermarks, last stable offsets
and `read_committed`. It keeps committed offsets with metadata, retention and topic ids. It has no replicas and no rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.core.contract.model import Headers, Output, Record
from worker.core.contract.partitioner import murmur2
from worker.errors import LogUnavailable, OffsetsGone, ProducerFailed, Reassigned, Undelivered
from worker.intake_ports import Sink
from worker.ports import Committed, Fetched, LogPartition
from worker.settings import Settings


@dataclass(slots=True, eq=False)
class _Transaction:
    """What a producer wrote since it began, and how it ended."""

    committed: bool | None = None
    """`None` while it is open."""
    written: set[LogPartition] = field(default_factory=set)


class _Entry(NamedTuple):
    """One offset of a log."""

    record: Record | None
    """`None` for a control record, which ends a transaction."""
    transaction: _Transaction | None


@dataclass(slots=True)
class _PartitionLog:
    """The log of one partition: offsets from `start` on."""

    start: int = 0
    entries: list[_Entry] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The high watermark."""
        return self.start + len(self.entries)

    def stable_end(self) -> int:
        """Return the last stable offset: the first offset of an open transaction, else the high watermark."""
        for place, entry in enumerate(self.entries):
            if entry.transaction is not None and entry.transaction.committed is None:
                return self.start + place
        return self.end

    def read(self, position: int, most: int) -> Fetched:
        """Return committed records from *position* on, and the position after them."""
        records: list[Record] = []
        end = self.stable_end()
        while position < end and len(records) < most:
            entry = self.entries[position - self.start]
            if entry.record is not None and (entry.transaction is None or entry.transaction.committed):
                records.append(entry.record)
            position += 1
        while position < end and self._passed_over(position):  # readers skip markers and aborted records
            position += 1
        return Fetched(records, position)

    def _passed_over(self, position: int) -> bool:
        entry = self.entries[position - self.start]
        return entry.record is None or (entry.transaction is not None and not entry.transaction.committed)


class MemoryLog:
    """`worker.ports.Log` and `worker.intake_ports.LogIntake` in memory, for one namespace's topics and group.

    Each topic has *settings.partitions*.
    """

    name = "the log in memory"

    def __init__(self, settings: Settings, now_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._topics: dict[str, list[_PartitionLog]] = {}
        self._ids: dict[str, str] = {}
        self._configs: dict[str, dict[str, str]] = {}
        self._committed: dict[LogPartition, Committed] = {}
        self._producers: dict[str, tuple[int, int]] = {}
        """Transactional id → producer id and epoch."""
        self._open: dict[str, _Transaction] = {}
        self._changed = asyncio.Event()
        self.silent = False
        """Set by a test: the brokers do not answer."""
        for topic in (*settings.topics, *settings.outputs):
            self.create(topic)

    def create(self, topic: str, configs: Mapping[str, str] | None = None) -> None:
        """Create *topic*, empty and with a new id. An existing one is replaced."""
        self._topics[topic] = [_PartitionLog() for _ in range(self._settings.partitions)]
        self._ids[topic] = uuid.uuid4().hex
        self._configs[topic] = {"cleanup.policy": "delete", "retention.ms": "604800000", **(configs or {})}

    def delete(self, topic: str) -> None:
        """Delete *topic*, with the offsets that the group committed for it."""
        del self._topics[topic], self._ids[topic], self._configs[topic]
        self._committed = {tp: at for tp, at in self._committed.items() if tp.topic != topic}

    def truncate(self, partition: LogPartition, offset: int) -> None:
        """Delete the records before *offset*, as retention does."""
        log = self._log(partition)
        del log.entries[: max(0, offset - log.start)]
        log.start = max(log.start, offset)

    def append(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = (), at_ms: int = -1
    ) -> int:
        """Write a record without a transaction, as the systems that send events do; return its offset."""
        output = Output(topic, key, value, headers, partition)
        return self._write(LogPartition(topic, partition), output, None, self._now_ms() if at_ms < 0 else at_ms)

    def committed_records(self, topic: str) -> list[Record]:
        """Return everything that a reader of committed records sees of *topic*, partition by partition."""
        return [record for log in self._topics[topic] for record in log.read(log.start, len(log.entries)).records]

    @contextlib.asynccontextmanager
    async def reader(self, partitions: Sequence[LogPartition], wait_ms: int = 200) -> AsyncIterator[MemoryReader]:
        """Open a reader of *partitions*."""
        self._answer()
        reader = MemoryReader(self)
        reader.assign(partitions)
        yield reader

    @contextlib.asynccontextmanager
    async def sink(self) -> AsyncIterator[Sink]:
        """Open a sink: a record is in the log at once."""
        yield MemorySink(self)

    def producer(self, partition: int) -> MemoryProducer:
        """Return a producer for the next incarnation of *partition*, not started."""
        return MemoryProducer(self, self._settings.transactional_id(partition), partition)

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        self._answer()
        return {tp: self._log(tp).start for tp in partitions}

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*."""
        self._answer()
        return {tp: self._log(tp).stable_end() for tp in partitions}

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist."""
        self._answer()
        return {topic: len(self._topics.get(topic, ())) for topic in topics}

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists."""
        self._answer()
        return {topic: self._ids[topic] for topic in topics if topic in self._ids}

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration in force."""
        self._answer()
        return {topic: dict(self._configs[topic]) for topic in topics}

    async def committed(self, partition: int) -> dict[str, Committed]:
        """Return the group's committed offset for *partition* of each topic that has one."""
        self._answer()
        return {tp.topic: at for tp, at in self._committed.items() if tp.partition == partition}

    def _answer(self) -> None:
        if self.silent:
            raise LogUnavailable("the log is silent", "the log is silent")

    def _log(self, tp: LogPartition) -> _PartitionLog:
        logs = self._topics.get(tp.topic, ())
        if tp.partition >= len(logs):
            raise LogUnavailable(f"no {tp.topic}[{tp.partition}]", f"no {tp.topic}[{tp.partition}]")
        return logs[tp.partition]

    def _write(self, tp: LogPartition, output: Output, transaction: _Transaction | None, at_ms: int) -> int:
        log = self._log(tp)
        offset = log.end
        record = Record(tp.topic, tp.partition, offset, at_ms, output.key, output.value, tuple(output.headers))
        log.entries.append(_Entry(record, transaction))
        self._wake()
        return offset

    def _end(self, transaction: _Transaction, *, committed: bool) -> None:
        """Decide *transaction*; a control record ends it in each partition that it wrote to."""
        transaction.committed = committed
        for tp in transaction.written:
            if tp.topic in self._topics:
                self._log(tp).entries.append(_Entry(None, transaction))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryReader:
    """`worker.ports.LogReader` of a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._assignment: AbstractSet[LogPartition] = frozenset()
        self._positions: dict[LogPartition, int] = {}
        self._seen: dict[LogPartition, tuple[int, int]] = {}
        """High watermark at the last fetch, and when that was."""

    def assign(self, partitions: Iterable[LogPartition]) -> None:
        """Read *partitions* from now on. Positions are reset."""
        self._assignment = frozenset(partitions)
        self._positions, self._seen = {}, {}

    def assignment(self) -> AbstractSet[LogPartition]:
        """Return the assigned partitions: another object after each rebalance."""
        return self._assignment

    def seek(self, partition: LogPartition, offset: int) -> None:
        """Read *partition* from *offset* on."""
        self._ours(partition)
        self._positions[partition] = offset

    async def position(self, partition: LogPartition) -> int:
        """Return the offset from which the next fetch reads."""
        self._ours(partition)
        return self._positions.get(partition, -1)

    async def fetch(
        self, partitions: Sequence[LogPartition], wait_s: float, most: int | None = None
    ) -> dict[LogPartition, Fetched]:
        """Return at most *most* records of *partitions*, waiting up to *wait_s* for the first."""
        until = time.monotonic() + max(wait_s, 0.001)
        while True:
            assignment, changed = self._assignment, self._log._changed
            found = self._read(partitions, most)
            left_s = until - time.monotonic()
            if any(part.records for part in found.values()) or left_s <= 0:
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed.wait()
            if self._assignment is not assignment:
                raise Reassigned("the assignment changed", "the assignment changed")

    def end(self, partition: LogPartition) -> int | None:
        """Return the high watermark at the last fetch; `None` before the first."""
        return self._seen[partition][0] if partition in self._seen else None

    def polled_ms(self, partition: LogPartition) -> int | None:
        """Return when the last fetch was answered; `None` before the first."""
        return self._seen[partition][1] if partition in self._seen else None

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        return await self._log.starts(partitions)

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*."""
        return await self._log.ends(partitions)

    async def join(self, topics: Sequence[str], assigned: Callable[[set[LogPartition]], None]) -> None:
        """Join a group of one member: all partitions of *topics* are ours."""
        ours = {LogPartition(topic, p) for topic, n in (await self._log.partitions(topics)).items() for p in range(n)}
        self.assign(ours)
        assigned(ours)

    async def poll(self) -> None:
        """Ask for no record."""
        self._log._answer()
        await asyncio.sleep(0.01)

    def _ours(self, partition: LogPartition) -> None:
        if partition not in self._assignment:
            raise Reassigned(f"{partition} is not assigned", f"{partition} is not assigned")

    def _read(self, partitions: Sequence[LogPartition], most: int | None) -> dict[LogPartition, Fetched]:
        self._log._answer()
        left = 2**31 if most is None else most
        found: dict[LogPartition, Fetched] = {}
        for tp in partitions:
            self._ours(tp)
            log, position = self._log._log(tp), self._positions.get(tp, -1)
            if not log.start <= position <= log.end:
                where = f"{tp.topic}[{tp.partition}] offset {position}"
                raise OffsetsGone(where, f"{where} is no longer in the log", where)
            part = found[tp] = log.read(position, left)
            left -= len(part.records)
            self._seen[tp] = log.end, self._log._now_ms()
        for tp, part in found.items():
            self._positions[tp] = part.next
        return found


class MemoryProducer:
    """`worker.ports.LogProducer` of a `MemoryLog`. A death in the middle of `send` leaves its transaction open."""

    def __init__(self, log: MemoryLog, transactional_id: str, partition: int) -> None:
        self._log = log
        self._id = transactional_id
        self._partition = partition
        self._producer: tuple[int, int] | None = None

    async def start(self) -> None:
        """Fence the producer before it, and abort the transaction that it left open."""
        held = self._log
        if held.silent:
            raise ProducerFailed(f"the producer of partition {self._partition} did not start: the log is silent")
        number, epoch = held._producers.get(self._id, (1_000 + len(held._producers), -1))
        self._producer = held._producers[self._id] = number, epoch + 1
        if (left_open := held._open.pop(self._id, None)) is not None:
            held._end(left_open, committed=False)

    def new_token(self) -> str:
        """Return a new `producer-id:epoch:uuid`."""
        assert self._producer is not None, "not started"
        return f"{self._producer[0]}:{self._producer[1]}:{uuid.uuid4().hex}"

    async def send(self, outputs: Sequence[Output], next_: Mapping[str, int], batch: int, step: Callable[[str], None]) -> None:
        """Commit *outputs* and the offsets *next_*, with *batch* as their metadata, in one transaction."""
        held = self._log
        placed = [(self._target(output), output) for output in outputs]
        step("before_transaction")
        self._fenced()
        transaction = held._open[self._id] = _Transaction()
        for tp, output in placed:
            transaction.written.add(tp)
            held._write(tp, output, transaction, held._now_ms())
        await asyncio.sleep(0)
        step("in_transaction")
        self._fenced()
        step("before_commit")
        self._fenced()
        del held._open[self._id]
        held._end(transaction, committed=True)
        for topic, offset in next_.items():
            held._committed[LogPartition(topic, self._partition)] = Committed(offset, str(batch))
        step("after_commit")

    async def close(self) -> None:
        """Close. An open transaction stays open until the next producer starts."""
        self._producer = None

    def _fenced(self) -> None:
        if self._log.silent or self._producer is None or self._log._producers[self._id] != self._producer:
            raise ProducerFailed(f"partition {self._partition}: transaction failed: another producer has taken over")

    def _target(self, output: Output) -> LogPartition:
        count = len(self._log._topics.get(output.topic, ()))
        if not count:
            raise ProducerFailed(f"partition {self._partition}: topic {output.topic} is not known to the log")
        if output.partition is not None:
            return LogPartition(output.topic, output.partition)
        return LogPartition(output.topic, _partition_of(output.key, count, self._partition))


class MemorySink:
    """`worker.intake_ports.Sink` of a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None
    ) -> None:
        """Write one record. A record without a key goes to partition 0."""
        count = len(self._log._topics.get(topic, ()))
        if self._log.silent or not count:
            raise Undelivered(f"topic {topic} refuses a record: {'the log is silent' if count else 'there is no such topic'}")
        at_ms = -1 if timestamp_ms is None else timestamp_ms
        self._log.append(topic, _partition_of(key, count, 0), value, key, headers, at_ms)

    async def flush(self) -> None:
        """Return at once: `send` has written the record."""


def _partition_of(key: bytes | None, count: int, keyless: int) -> int:
    return keyless % count if key is None else (murmur2(key) & 0x7FFFFFFF) % count
