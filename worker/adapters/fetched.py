"""What consumers of this process make of the batches that brokers send, in the place of aiokafka's own reader.

aiokafka unpacks a compressed batch whole, whatever its size, in the event loop. One damaged batch ends its reading of a
partition. Here a batch unpacks to `Checks.most` bytes at most, and a large one in a thread, so heartbeats go on meanwhile.
Each offset of a batch that cannot be read comes out as a place (`Unread`). The engine decides what follows.

This replaces `PartitionRecords`, `FetchResult` and `MemoryRecords` of `aiokafka.consumer.fetcher`. A test pins the source of
these classes, so that an upgrade of aiokafka is looked at.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.structs import ConsumerRecord

from worker.adapters.header_names import any_names
from worker.adapters.unpack import TooLarge, Unreadable, unpack
from worker.core.contract.model import Unread
from worker.core.contract.unread import DAMAGED, TOO_LARGE, places

MOST_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes that a batch may unpack to where nobody says otherwise."""

_AT_ONCE: Final = 4 * 1024 * 1024
"""A batch that unpacks to no more is unpacked in the event loop: a few milliseconds, and no thread to wait for."""

_TAKEN_BYTES: Final = 2 * 1024 * 1024
"""After so many bytes of keys and values one call gives no more records of a partition."""

_HELD_LIMITS: Final = 2
"""Large batches are held unpacked up to so many times the limit, over all partitions; others are unpacked again when read."""

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CODEC: Final = 0x07
_CODEC_OFFSET: Final = 22
"""Of the byte of a batch's attributes that names its codec."""
_MAGIC_OFFSET: Final = 16
_FIRST_OWN_MAGIC: Final = 2
"""Before it, a batch was one message with a compressed set of messages in it, and only its last offset is known."""
_SMALLEST: Final = 26
"""Bytes of the smallest message of any version."""

_thread: Final = ThreadPoolExecutor(1, "unpack")
"""One batch at a time, so that many bombs at once cost no more memory than one."""

_scratch: Final = memoryview(bytearray(_HEADER.size + _AT_ONCE))


class Checks:
    """What a consumer asks of each batch; given to aiokafka's consumer in the place of `check_crcs`."""

    def __init__(self, *, crcs: bool, most: int = MOST_UNPACKED) -> None:
        self.crcs = crcs
        self.most = most
        """Bytes that a batch may unpack to."""
        self.wake: Callable[[], None] = lambda: None
        """Called when a thread has unpacked a batch that somebody waits for."""

    def __bool__(self) -> bool:
        return self.crcs

    def of(self, consumer: Any) -> None:
        """Let `getmany` of *consumer* wake up when a thread has unpacked what it waits for."""

        def wake() -> None:
            for waiter in list(consumer._fetcher._fetch_waiters):
                if not waiter.done():
                    waiter.set_result(None)

        self.wake = wake


class _Place(NamedTuple):
    """A place among the records that a consumer gives, with what programs read of any record."""

    unread: Unread
    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: None = None
    headers: tuple[()] = ()


class _Bad(NamedTuple):
    """Why a batch cannot be read."""

    reason: str
    detail: str


_Content = memoryview | bytes
"""A batch as if its producer had not compressed it."""


def place_of(record: Any) -> Unread | None:
    """Return the place that *record*, of a consumer, stands for; `None` for a record that could be read."""
    return record.unread if type(record) is _Place else None


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka's readers are final, and interchangeable
    """The batches of one partition in a fetch, as bytes."""

    _next_slice: memoryview | None

    def next_raw(self) -> memoryview | None:
        """Return the next batch; `None` at the end."""
        raw = self._next_slice
        if raw is not None and len(raw) >= _SMALLEST:
            self._cache_next()
        return raw

    def end(self) -> None:
        """Give no more: what follows is fetched again."""
        self._next_slice = None

    def following(self) -> int | None:
        """Return the first offset of the batch that `next_raw` returns next; `None` where there is none."""
        raw = self._next_slice
        return None if raw is None or len(raw) < _SMALLEST else int.from_bytes(raw[:8], "big", signed=True)


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of one partition in a fetch: read batch by batch, as they are asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._records_iterator = None
        checks: Any = self._check_crcs
        self._checks = checks if isinstance(checks, Checks) else Checks(crcs=bool(checks))
        self.next_fetch_offset: int
        self._raw: memoryview | None = None
        """The batch at hand."""
        self._after = 0
        """The offset after it."""
        self._base = 0
        self._reading: Iterator[Any] | None = None
        """Its records; `None` until it is unpacked."""
        self._unpacking: asyncio.Future[_Content | _Bad] | None = None
        self.ended = False
        self.highwater: int | None = None

    def __next__(self) -> Any:
        while not self.ended:
            taken = self.take(1, wait=True)
            if taken:
                return taken[0]
        raise StopIteration

    def take(self, most: float, *, wait: bool = False) -> list[Any]:
        """Return up to *most* records, or fewer that come to 2 MB. Fewer, perhaps none, too while a thread unpacks the next.

        With *wait* it is unpacked here and now.
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
            except Exception as err:  # noqa: BLE001 (damaged bytes raise what they like; the place says which batch it was)
                self._pass_over(_Bad(DAMAGED, f"its records have no structure: {err!r}"))
            else:
                self.next_fetch_offset = max(self.next_fetch_offset, self._after)
                self.let_go()
                self._raw = None
        return taken

    def let_go(self) -> None:
        """Drop what is unpacked of the batch at hand."""
        self._reading = None
        _held.pop(self, None)

    def _open(self, *, wait: bool) -> bool:
        """Make the next batch readable; return False at the end, and while a thread is at it."""
        while self._raw is None:
            raw = self._records.next_raw()
            if raw is None:
                self.ended = True
                return False
            if self._begin(raw):
                self._raw = raw
        if self._reading is not None:
            return True
        content = self._unpacked(self._raw, wait=wait)
        if content is None:
            return False
        if isinstance(content, _Bad):
            self._pass_over(content)
            return True
        try:
            self._reading = iter(_batch(content))
        except Exception as err:  # noqa: BLE001 (see `take`)
            self._pass_over(_Bad(DAMAGED, f"its records have no structure: {err!r}"))
            return True
        if len(content) > _AT_ONCE:
            _hold(self, len(content), self._checks.most)
        return True

    def _begin(self, raw: memoryview) -> bool:
        """Look at a batch's header; return whether its records are to be read. What an aborted transaction wrote is not."""
        self._base = base = int.from_bytes(raw[:8], "big", signed=True)
        self._after = max(self.next_fetch_offset, base) + 1
        try:
            batch = _fast(raw)
            self._after = max(batch.next_offset, base + 1)
            whole = not self._checks.crcs or batch.validate_crc()
        except Exception as err:  # noqa: BLE001 (see `take`)
            self._pass_over(_Bad(DAMAGED, f"its header is damaged: {err!r}"), last=True)
            return True
        if not whole:
            self._pass_over(_Bad(DAMAGED, "its checksum is wrong"), last=True)
            return True
        if _is_old(raw):
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
        if raw[_CODEC_OFFSET] & _CODEC:
            return False  # brokers write markers, and compress none
        try:
            return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
        except Exception:  # noqa: BLE001 (a marker without a record, or a damaged one where checksums are not looked at)
            return False

    def _pass_over(self, bad: _Bad, *, last: bool = False) -> None:
        """Read places instead of the rest of the batch at hand. *last*: do not trust its header, and fetch anew after it.

        A damaged header may claim any number of offsets; there are none past the next batch, nor past the log's end.
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

    def _unpacked(self, raw: memoryview, *, wait: bool) -> _Content | _Bad | None:
        """Return *raw* as if it were not compressed; `None` while a thread unpacks it."""
        if self._unpacking is not None:
            if not self._unpacking.done():
                return None
            content, self._unpacking = self._unpacking.result(), None
            return content
        most = self._checks.most
        codec, data = _compressed(raw)
        if codec == 0:
            return raw
        try:
            return _plain(raw, codec, data, _scratch[: _HEADER.size + min(most, _AT_ONCE)], copy=True)
        except Unreadable as err:
            return _Bad(DAMAGED, f"its compressed data is: {err}")
        except TooLarge:
            pass
        if wait:
            return _in_thread(raw, codec, data, most)
        self._unpacking = asyncio.get_running_loop().run_in_executor(_thread, _in_thread, raw, codec, data, most)
        self._unpacking.add_done_callback(lambda _: self._checks.wake())
        return None


class _Result(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka has no types
    """What a fetch gave for one partition, as far as it is not taken yet."""

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
"""Partitions with a large batch unpacked, and its bytes: the one that was opened first comes first."""


def _hold(records: _PartitionRecords, size: int, most: int) -> None:
    """Count an unpacked batch in; let go of the oldest ones where they come to too much."""
    _held[records] = size
    for other in list(_held):
        if other is records or sum(_held.values()) <= most * _HELD_LIMITS:
            return
        other.let_go()


def _is_old(raw: _Content) -> bool:
    """Return whether a batch is one of the formats before Kafka 0.11."""
    return raw[_MAGIC_OFFSET] < _FIRST_OWN_MAGIC


def _fast(raw: _Content) -> Any:
    """Return aiokafka's fast reader of a batch. Raises `ValueError` for one that ends within its header."""
    if len(raw) < (_SMALLEST if len(raw) <= _MAGIC_OFFSET or _is_old(raw) else _HEADER.size):
        raise ValueError(f"{len(raw)} bytes")
    return LegacyRecordBatch(raw, raw[_MAGIC_OFFSET]) if _is_old(raw) else DefaultRecordBatch(raw)


def _batch(content: _Content) -> Any:
    """Return the records of a batch that is not compressed, or that is an old one."""
    return _fast(content) if _is_old(content) else any_names(_fast(content), content)


def _compressed(raw: memoryview) -> tuple[int, memoryview]:
    """Return the codec of a batch, 0 for none, and its compressed data."""
    if not _is_old(raw):
        return raw[_CODEC_OFFSET] & _CODEC, raw[_HEADER.size :]
    codec = raw[_MAGIC_OFFSET + 1] & _CODEC
    if codec == 0:
        return 0, raw[:0]
    try:
        at = _MAGIC_OFFSET + (10 if raw[_MAGIC_OFFSET] else 2)
        (key,) = struct.unpack_from(">i", raw, at)
        at += 4 + max(key, 0)
        (size,) = struct.unpack_from(">i", raw, at)
    except struct.error:
        return codec, raw[:0]
    return codec, raw[at + 4 : at + 4 + max(size, 0)]


def _plain(raw: memoryview, codec: int, data: memoryview, buffer: memoryview, *, copy: bool) -> _Content:
    """Unpack a batch into *buffer*; return it as one that was never compressed, on its own where *copy* is set.

    Of an old one only the size is found out: aiokafka unpacks those itself. Raises `TooLarge` or `Unreadable`.
    """
    size = _HEADER.size + unpack(codec, data, buffer[_HEADER.size :])
    if _is_old(raw):
        return raw
    buffer[: _HEADER.size] = raw[: _HEADER.size]
    buffer[_CODEC_OFFSET] &= ~_CODEC & 0xFF
    return bytes(buffer[:size]) if copy else buffer[:size]


def _in_thread(raw: memoryview, codec: int, data: memoryview, most: int) -> _Content | _Bad:
    """Unpack a large batch into memory of its own, which goes back to the system with it."""
    try:
        return _plain(raw, codec, data, memoryview(mmap.mmap(-1, _HEADER.size + most, mmap.MAP_PRIVATE)), copy=False)
    except Unreadable as err:
        return _Bad(DAMAGED, f"its compressed data is: {err}")
    except TooLarge:
        return _Bad(TOO_LARGE, f"it unpacks to more than {most:,} bytes (LEADPULSE_MAX_UNPACKED)")


def read_batches_within_bounds() -> None:
    """Let every consumer of this process read as this module does, from its next fetch on."""
    fetcher.MemoryRecords = _Records
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _Result
