"""Reads the batches that brokers send, in place of aiokafka's own reader.

aiokafka unpacks a compressed batch of any size whole, in the event loop. One damaged batch ends its reading of a partition.
Here a batch unpacks to `Checks.most` bytes at most. A large batch is unpacked in a thread, so heartbeats go on meanwhile.
Each offset of a batch that cannot be read becomes a place (`Unread`). The engine decides what follows.

This replaces `PartitionRecords`, `FetchResult` and `MemoryRecords` of `aiokafka.consumer.fetcher`. A test pins the source of
these classes, so each upgrade of aiokafka needs a look at them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.structs import ConsumerRecord

from worker.adapters.batch_bytes import (
    AT_ONCE,
    SMALLEST,
    Bad,
    Unpacked,
    fast,
    is_compressed,
    is_old,
    no_structure,
    unpacked_at_once,
    unpacked_large,
)
from worker.core.contract.model import Unread
from worker.core.contract.unread import DAMAGED, places

MOST_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes that a batch may unpack to by default."""

_TAKEN_BYTES: Final = 2 * 1024 * 1024
"""One call returns no more records of a partition after so many bytes of keys and values."""

_HELD_LIMITS: Final = 2
"""Unpacked large batches of all partitions take at most so many times the limit. Others are unpacked again when read."""

_thread: Final = ThreadPoolExecutor(1, "unpack")
"""One batch at a time, so that many bombs at once cost no more memory than one."""


class Checks:
    """What each batch is checked for. aiokafka's consumer takes it in place of `check_crcs`."""

    def __init__(self, *, crcs: bool, most: int = MOST_UNPACKED) -> None:
        self.crcs = crcs
        self.most = most
        """Bytes that a batch may unpack to."""
        self.wake: Callable[[], None] = lambda: None
        """Called when a thread has unpacked a batch."""

    def __bool__(self) -> bool:
        return self.crcs

    def of(self, consumer: Any) -> None:
        """Wake up `getmany` of *consumer* when a thread has unpacked a batch."""

        def wake() -> None:
            for waiter in list(consumer._fetcher._fetch_waiters):
                if not waiter.done():
                    waiter.set_result(None)

        self.wake = wake


class _Place(NamedTuple):
    """A place among the records of a consumer, with the attributes of any record."""

    unread: Unread
    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: None = None
    headers: tuple[()] = ()


def place_of(record: Any) -> Unread | None:
    """Return the place that a consumer's *record* stands for; `None` for a record that could be read."""
    return record.unread if type(record) is _Place else None


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka's readers are final, and interchangeable
    """The batches of one partition in a fetch, as bytes."""

    _next_slice: memoryview | None

    def next_raw(self) -> memoryview | None:
        """Return the next batch; `None` at the end."""
        raw = self._next_slice
        if raw is not None and len(raw) >= SMALLEST:
            self._cache_next()
        return raw

    def end(self) -> None:
        """Return no more batches: the rest is fetched again."""
        self._next_slice = None

    def following(self) -> int | None:
        """Return the first offset of the batch that `next_raw` returns next; `None` at the end."""
        raw = self._next_slice
        return None if raw is None or len(raw) < SMALLEST else int.from_bytes(raw[:8], "big", signed=True)


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of one partition in a fetch, read batch by batch on demand."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._records_iterator = None
        checks: Any = self._check_crcs
        self._checks = checks if isinstance(checks, Checks) else Checks(crcs=bool(checks))
        self.next_fetch_offset: int
        self._raw: memoryview | None = None
        """The present batch."""
        self._after = 0
        """The offset after it."""
        self._base = 0
        self._reading: Iterator[Any] | None = None
        """Its records; `None` until it is unpacked."""
        self._unpacking: asyncio.Future[Unpacked | Bad] | None = None
        self.ended = False
        self.highwater: int | None = None

    def __next__(self) -> Any:
        while not self.ended:
            taken = self.take(1, wait=True)
            if taken:
                return taken[0]
        raise StopIteration

    def take(self, most: float, *, wait: bool = False) -> list[Any]:
        """Return up to *most* records, of some 2 MB at most. Return fewer, or none, while a thread unpacks the next batch.

        With *wait* the caller waits while a batch is unpacked.
        """
        taken: list[Any] = []
        size = 0
        topic, partition = self._tp
        while self._reading is not None or self._open(wait=wait):
            try:
                for raw in self._reading or ():
                    record = raw
                    if record.offset < self.next_fetch_offset:
                        continue  # read before
                    if type(record) is not _Place:
                        key, value = record.key, record.value
                        key_size, value_size = -1 if key is None else len(key), -1 if value is None else len(value)
                        size += key_size + value_size
                        record = ConsumerRecord(
                            topic, partition, record.offset, record.timestamp, record.timestamp_type, key, value,
                            record.checksum, key_size, value_size, tuple(record.headers),
                        )  # fmt: skip
                    taken.append(record)
                    self.next_fetch_offset = record.offset + 1
                    if len(taken) >= most or size >= _TAKEN_BYTES:
                        return taken
            except MemoryError:
                raise
            except Exception as err:  # noqa: BLE001 (damaged bytes raise any exception; the place names the batch)
                self._pass_over(no_structure(err))
            else:
                self.next_fetch_offset = max(self.next_fetch_offset, self._after)
                self.let_go()
                self._raw = None
        return taken

    def let_go(self) -> None:
        """Drop the unpacked records of the present batch."""
        self._reading = None
        _held.pop(self, None)

    def _open(self, *, wait: bool) -> bool:
        """Make the next batch readable; return False at the end, and while a thread unpacks it."""
        while self._raw is None:
            raw = self._records.next_raw()
            if raw is None:
                self.ended = True
                return False
            if self._begin(raw):
                self._raw = raw
        if self._reading is not None:
            return True
        found = self._unpacked(self._raw, wait=wait)
        if found is None:
            return False
        if isinstance(found, Bad):
            self._pass_over(found)
            return True
        self._reading = found.records
        if found.size > AT_ONCE:
            _hold(self, found.size, self._checks.most)
        return True

    def _begin(self, raw: memoryview) -> bool:
        """Read a batch's header; return whether its records count. Records of an aborted transaction do not."""
        self._base = base = int.from_bytes(raw[:8], "big", signed=True)
        self._after = max(self.next_fetch_offset, base) + 1
        try:
            batch = fast(raw)
            self._after = max(batch.next_offset, base + 1)
            whole = not self._checks.crcs or batch.validate_crc()
        except Exception as err:  # noqa: BLE001 (see `take`)
            self._pass_over(Bad(DAMAGED, f"its header is damaged: {err!r}"), last=True)
            return True
        if not whole:
            self._pass_over(Bad(DAMAGED, "its checksum is wrong"), last=True)
            return True
        if is_old(raw):
            return True
        if self._isolation_level == fetcher.READ_COMMITTED:
            self._consume_aborted_up_to(base)
            if batch.is_control_batch and self._is_abort(batch, raw):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                self.next_fetch_offset = max(self.next_fetch_offset, self._after)
                return False
        if batch.is_control_batch:
            self.next_fetch_offset = max(self.next_fetch_offset, self._after)
            return False
        return True

    def _is_abort(self, batch: Any, raw: memoryview) -> bool:
        if is_compressed(raw):
            return False  # brokers write the markers, and compress none of them
        try:
            return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
        except Exception:  # noqa: BLE001 (a marker without a record, or a damaged one where checksums are not looked at)
            return False

    def _pass_over(self, bad: Bad, *, last: bool = False) -> None:
        """Read places instead of the rest of the present batch. *last*: its header is damaged, so fetch again after it.

        A damaged header may claim any number of offsets. The next batch and the log's end bound them.
        """
        self.let_go()
        first = max(self.next_fetch_offset, self._base)
        bounds = (self._records.following(), self.highwater)
        self._after = min([self._after, *(bound for bound in bounds if bound is not None and bound > first)])
        if last:
            self._records.end()
            if self._after <= first or (self.highwater is not None and first >= self.highwater):
                first = self._base = self.next_fetch_offset
                self._after = first + 1
        topic, partition = self._tp
        found = places(topic, partition, first, self._after - 1, base=self._base, reason=bad.reason, detail=bad.detail)
        self._reading = (_Place(place, topic, partition, place.offset) for place in found)

    def _unpacked(self, raw: memoryview, *, wait: bool) -> Unpacked | Bad | None:
        """Return *raw* unpacked; `None` while a thread unpacks it."""
        if self._unpacking is not None:
            if not self._unpacking.done():
                return None
            found, self._unpacking = self._unpacking.result(), None
            return found
        most = self._checks.most
        at_once = unpacked_at_once(raw, most)
        if at_once is not None:
            return at_once
        if wait:
            return unpacked_large(raw, most)
        self._unpacking = asyncio.get_running_loop().run_in_executor(_thread, unpacked_large, raw, most)
        self._unpacking.add_done_callback(lambda _: self._checks.wake())
        return None


class _Result(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka has no types
    """The records of a fetch for one partition that are not taken yet."""

    _partition_records: _PartitionRecords | None

    def getone(self) -> Any:
        taken = self._take(1, wait=True)
        return taken[0] if taken else None

    def getall(self, max_records: int | None = None) -> list[Any]:
        return self._take(float("inf") if max_records is None else max_records, wait=False)

    def _take(self, most: float, *, wait: bool) -> list[Any]:
        records = self._partition_records if self.check_assignment(self._topic_partition) else None
        if records is None:
            return []
        records.highwater = self._assignment.state_value(self._topic_partition).highwater
        taken = records.take(most, wait=wait)
        self._update_position()
        if records.ended:
            self._partition_records = None
        return taken


_held: weakref.WeakKeyDictionary[_PartitionRecords, int] = weakref.WeakKeyDictionary()
"""Partitions with an unpacked large batch, and its bytes, in the order in which they were unpacked."""


def _hold(records: _PartitionRecords, size: int, most: int) -> None:
    """Count an unpacked batch, and drop the oldest ones beyond the limit."""
    _held[records] = size
    for other in list(_held):
        if other is records or sum(_held.values()) <= most * _HELD_LIMITS:
            return
        other.let_go()


def read_batches_within_bounds() -> None:
    """Make every consumer of this process read with this module, from its next fetch on."""
    fetcher.MemoryRecords = _Records
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _Result
