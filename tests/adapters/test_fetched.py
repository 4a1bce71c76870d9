"""What a consumer makes of batches: all that can be read is as aiokafka reads it, all that cannot is a place."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import random
import resource
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from worker.adapters import fetched
from worker.adapters.fetched import Checks, _held, _PartitionRecords, _Records, place_of
from worker.core.contract.unread import DAMAGED, MOST_LETTERS, TOO_LARGE

TP = TopicPartition("web", 3)
LIMIT = 8 * 1024 * 1024
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ATTRIBUTES, LAST_DELTA, COUNT = 21, 23, 57
"""Offsets of fields in a batch."""

Values = list[bytes | None]
Plain = tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


def batch(values: Values, *, base: int = 0, packed: int = 0, transactional: bool = False, producer: int = -1) -> bytearray:
    """Return a batch as a producer writes it and a broker numbers it."""
    builder = DefaultRecordBatchBuilder(2, packed, int(transactional), producer, 0, 0, 1 << 30)
    for number, value in enumerate(values):
        assert builder.append(number, 1_000 + number, b"key", value, [("h", b"1"), ("n", None)]) is not None
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    return made


def crc(made: bytearray) -> bytearray:
    """Return a batch with its checksum right again."""
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[ATTRIBUTES:])))
    return made


def control(base: int, producer: int, kind: int) -> bytearray:
    """Return the marker that ends a transaction: 0 aborts, 1 commits."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 20)
    builder.append(0, 1_000, struct.pack(">hh", 0, kind), b"\0" * 6, [])
    made = bytearray(builder.build())
    made[:8] = base.to_bytes(8, "big")
    made[22] |= 0x20
    return crc(made)


def reader(
    data: bytes, *, start: int = 0, aborted: list[tuple[int, int]] | None = None, most: int = LIMIT, highwater: int = 1 << 40
) -> _PartitionRecords:
    """Return our reader of a fetch that began at *start*."""
    made = _PartitionRecords(
        TP, _Records(data), aborted, start, None, None, Checks(crcs=True, most=most), fetcher.READ_COMMITTED
    )
    made.highwater = highwater
    return made


def theirs(data: bytes, *, start: int = 0, aborted: list[tuple[int, int]] | None = None) -> tuple[list[Plain], int]:
    """Return what aiokafka's own reader gives, and where it stands then."""
    made = THEIR_RECORDS(TP, MemoryRecords(data), aborted, start, None, None, True, fetcher.READ_COMMITTED)
    return [plain(record) for record in made], made.next_fetch_offset


THEIR_RECORDS = fetcher.PartitionRecords if fetcher.PartitionRecords is not _PartitionRecords else _PartitionRecords.__base__


def plain(record: Any) -> Plain:
    """Return a record as a value."""
    return record.offset, record.timestamp, record.key, record.value, tuple(record.headers)


async def all_of(made: _PartitionRecords, most: int = 7) -> list[Any]:
    """Return everything that *made* gives, a few at a time, waiting for the thread."""
    found: list[Any] = []
    while not made.ended:
        found += made.take(most)
        if made._unpacking is not None:
            await asyncio.wait([made._unpacking])
    return found


def places(found: list[Any]) -> list[tuple[int, str]]:
    """Return the offsets and reasons of the places among *found*."""
    return [(place.offset, place.reason) for record in found if (place := place_of(record)) is not None]


@pytest.mark.parametrize("packed", CODECS.values(), ids=CODECS)
@given(
    sizes=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 300)), min_size=1, max_size=9), min_size=1, max_size=5),
    start=st.integers(0, 12),
    most=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@examples(60)
def test_what_can_be_read_is_what_aiokafka_reads(
    packed: int, sizes: list[list[int | None]], start: int, most: int, seed: int
) -> None:
    """The same records and the same position at the end, for every codec, from any offset, with aborted transactions."""
    rnd = random.Random(seed)
    data, base = bytearray(), 0
    aborted: list[tuple[int, int]] = []
    for some in sizes:
        values = [None if size is None else rnd.randbytes(size) for size in some]
        producer = rnd.choice([-1, 7])
        data += batch(values, base=base, packed=packed, transactional=producer > 0, producer=producer)
        if producer > 0:
            kind = rnd.choice([0, 1])
            if kind == 0:
                aborted.append((producer, base))
            base += 1 + rnd.randrange(3)
            data += control(base + len(some) - 1, producer, kind)
        base += len(some) + rnd.randrange(3)
    start %= len(sizes[0])  # brokers send the batch that holds the offset asked for, and what follows
    ours = reader(bytes(data), start=start, aborted=list(aborted))
    found = asyncio.run(all_of(ours, most))
    assert ([plain(record) for record in found], ours.next_fetch_offset) == theirs(bytes(data), start=start, aborted=aborted)


@pytest.mark.parametrize("packed", [1, 2, 3, 4], ids=list(CODECS)[1:])
async def test_a_batch_past_the_limit_is_places_and_what_is_around_it_is_read(packed: int) -> None:
    """Each of its offsets, once; and the same where reading begins in the middle of it."""
    bomb = batch([b"x" * 3_000_000] * 4, base=5, packed=packed)
    data = bytes(batch([b"a", b"b"], base=2) + bomb + batch([b"c"], base=9, packed=packed))
    found = await all_of(reader(data, start=2))
    assert places(found) == [(offset, TOO_LARGE) for offset in (5, 6, 7, 8)]
    assert [record.value for record in found if place_of(record) is None] == [b"a", b"b", b"c"]
    again = await all_of(reader(data, start=7))
    assert places(again) == [(7, TOO_LARGE), (8, TOO_LARGE)]
    assert again[0].unread.base == 5


@pytest.mark.parametrize("packed", [1, 2, 3, 4], ids=list(CODECS)[1:])
async def test_a_large_batch_within_the_limit_is_unpacked_in_a_thread(packed: int) -> None:
    """The event loop goes on meanwhile, and nothing is given twice or left out."""
    values: Values = [bytes([number]) * 1_200_000 for number in range(6)]
    made = reader(bytes(batch(values, packed=packed)))
    woken = asyncio.Event()
    made._checks.wake = woken.set
    assert made.take(10) == []
    assert not made.ended
    await asyncio.wait_for(woken.wait(), 30)
    found = await all_of(made)
    assert [record.value for record in found] == values


async def test_a_consumer_that_waits_is_woken_when_a_thread_has_unpacked() -> None:
    """It would otherwise wait out its time-out for each large batch."""

    class Fetcher:
        _fetch_waiters: ClassVar[set[asyncio.Future[None]]] = set()

    class Consumer:
        _fetcher = Fetcher()

    waits = asyncio.get_running_loop().create_future()
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    Fetcher._fetch_waiters |= {waits, gone}
    made = reader(bytes(batch([b"x" * 1_200_000] * 6, packed=4)))
    made._checks.of(Consumer())
    assert made.take(10) == []
    await asyncio.wait_for(waits, 30)
    assert len(made.take(1)) == 1


async def test_one_call_gives_some_megabytes_and_no_more() -> None:
    """A batch that unpacks to 8 MB would otherwise be 8 MB of records for each partition, and again in what is cut off."""
    made = reader(bytes(batch([b"x" * 1_200_000] * 6, packed=4)))
    await all_of_thread(made)
    assert len(made.take(100)) == 2


async def all_of_thread(made: _PartitionRecords) -> None:
    """Wait until the thread has unpacked what is to be read first."""
    assert made.take(1) == []
    assert made._unpacking is not None
    await asyncio.wait([made._unpacking])


async def test_of_many_large_batches_two_are_held_and_the_others_unpacked_again() -> None:
    """Memory is bounded over all partitions, and every record still comes once."""
    values: Values = [bytes([number]) * 1_500_000 for number in range(5)]
    data = bytes(batch(values, packed=4))
    _held.clear()
    many = [reader(data) for _ in range(5)]
    found: list[list[Any]] = [[] for _ in many]
    made = many[0]
    while not all(made.ended for made in many):
        for made, taken in zip(many, found, strict=True):
            taken.extend(made.take(2))
            if made._unpacking is not None:
                await asyncio.wait([made._unpacking])
            assert sum(_held.values()) <= 2 * LIMIT
    assert [[record.value for record in taken] for taken in found] == [values] * 5
    many.clear()
    del made
    gc.collect()
    assert not _held


async def test_a_wrong_checksum_gives_places_and_ends_the_fetch_there() -> None:
    """What follows is fetched anew: the damaged batch may have been a marker, without which later records seem aborted."""
    damaged = batch([b"a", b"b", b"c"], base=4)
    damaged[damaged.rindex(b"c")] ^= 1
    data = bytes(batch([b"z"], base=3) + damaged + batch([b"d"], base=7))
    made = reader(data, start=3)
    found = await all_of(made)
    assert places(found) == [(4, DAMAGED), (5, DAMAGED), (6, DAMAGED)]
    assert [record.unread.base for record in found[1:]] == [4, 4, 4]
    assert len(found) == 4
    assert made.next_fetch_offset == 7
    unchecked = _PartitionRecords(TP, _Records(data), None, 3, None, None, Checks(crcs=False), fetcher.READ_COMMITTED)
    assert places(await all_of(unchecked)) == []


@pytest.mark.parametrize("claimed", [-5, 2**31 - 1])
async def test_a_damaged_header_passes_over_nothing_that_is_there(claimed: int) -> None:
    """Its offsets end where the next batch begins, or where the log does."""
    damaged = batch([b"a", b"b"], base=4)
    struct.pack_into(">i", damaged, LAST_DELTA, claimed)
    data = bytes(damaged + batch([b"d"], base=6))
    most = 4 if claimed < 0 else 5
    assert places(await all_of(reader(data, start=4))) == [(offset, DAMAGED) for offset in range(4, most + 1)]
    alone = await all_of(reader(bytes(damaged), start=4, highwater=6))
    assert places(alone) == [(offset, DAMAGED) for offset in range(4, most + 1)]


async def test_a_batch_of_very_many_offsets_is_one_place() -> None:
    """Two thousand million letters would be another way to stop everything."""
    bomb = batch([b"x" * 3_000_000] * 4, base=5, packed=4)
    struct.pack_into(">i", bomb, LAST_DELTA, 2**31 - 1)
    made = reader(bytes(crc(bomb)), start=5)
    (found,) = await all_of(made)
    assert (found.unread.first, found.offset) == (5, 5 + 2**31 - 1)
    assert found.offset - found.unread.first >= MOST_LETTERS
    assert made.next_fetch_offset == 5 + 2**31


@pytest.mark.parametrize("claimed", [0, 1, 5, 2**31 - 1, -1])
async def test_a_header_that_lies_about_its_count_loses_no_offset(claimed: int) -> None:
    """What can be read is read, and the rest are places; no memory is set aside for what is claimed."""
    lying = batch([b"a", b"b", b"c"], base=4, packed=4)
    struct.pack_into(">i", lying, COUNT, claimed)
    made = reader(bytes(crc(lying)), start=4)
    found = await all_of(made)
    assert [record.offset for record in found] == [4, 5, 6]
    assert made.next_fetch_offset == 7


async def test_compressed_data_that_is_damaged_gives_places() -> None:
    """The checksum is right: whoever wrote it wrote it so."""
    for packed in (1, 2, 3, 4, 5):
        made = batch([b"a" * 50, b"b" * 50], base=4, packed=packed if packed < 5 else 4)
        made[22] = packed
        made[70] ^= 0xFF
        made[-1] ^= 0xFF
        found = await all_of(reader(bytes(crc(made)), start=4))
        assert [record.offset for record in found] == [4, 5], packed
        assert places(found)[-1] == (5, DAMAGED)


@pytest.mark.parametrize(("magic", "packed"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
async def test_messages_of_old_formats_are_read_and_bounded(magic: int, packed: int) -> None:
    """One message holds a set of messages. Only its last offset is known without unpacking it.

    *packed*: none, gzip, snappy, lz4. With magic 0 Kafka had no sound lz4.
    """
    small = old(magic, packed, b"v" * 20)
    found = await all_of(reader(small))
    assert [plain(record) for record in found] == theirs(small)[0]
    assert [record.offset for record in found] == [0, 1, 2]
    if packed:
        large = old(magic, packed, b"v" * 4_000_000)
        assert places(await all_of(reader(large))) == [(2, TOO_LARGE)]
        assert places(await all_of(reader(large, most=LIMIT * 2))) == []


def old(magic: int, packed: int, value: bytes) -> bytes:
    """Return three messages in a format of before Kafka 0.11."""
    builder = LegacyRecordBatchBuilder(magic, packed, 1 << 30)
    for number in range(3):
        builder.append(number, 1_000, b"k", value)
    made = bytearray(builder.build())
    if packed:
        made[:8] = (2).to_bytes(8, "big")
    return bytes(made)


@pytest.mark.parametrize(("magic", "packed"), [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)])
async def test_a_large_batch_of_an_old_format_is_unpacked_in_a_thread(
    magic: int, packed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As batches of today's format are, and its unpacked bytes count among those that are held."""
    name = ["", "gzip_decode", "snappy_decode", "lz4_decode"][packed]
    module = sys.modules[LegacyRecordBatch.__module__]
    decode = getattr(module, name)
    threads: list[int] = []

    def decoded(data: bytes) -> bytes:
        threads.append(threading.get_ident())
        return bytes(decode(data))

    monkeypatch.setattr(module, name, decoded)
    _held.clear()
    data = old(magic, packed, b"v" * 2_000_000)
    made = reader(data)
    assert made.take(10) == []
    assert made._unpacking is not None
    await asyncio.wait([made._unpacking])
    (first,) = made.take(1)
    assert sum(_held.values()) > 6_000_000
    assert [plain(record) for record in [first, *await all_of(made)]] == theirs(data)[0]
    assert threads[0] != threading.get_ident()
    assert len(threads) == 2, "once by us, once by aiokafka's own reader"


@given(data=st.data())
@examples(400)
def test_whatever_the_bytes_reading_ends_and_moves_only_forward(data: st.DataObject) -> None:
    """Without checksums too: no exception, no offset twice, no position past the log's end by a header's word alone."""
    made = batch([b"a" * 40, b"b", None], base=4, packed=data.draw(st.sampled_from(list(CODECS.values()))))
    made += batch([b"c", b"d"], base=7)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(made) - 1), st.integers(0, 255)), max_size=4)):
        made[at] = byte
    cut = bytes(made[: data.draw(st.integers(0, len(made)))])
    ours = _PartitionRecords(
        TP, _Records(cut), None, 4, None, None, Checks(crcs=data.draw(st.booleans()), most=LIMIT), fetcher.READ_COMMITTED
    )
    ours.highwater = 9
    found = asyncio.run(all_of(ours))
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets))
    assert ours.next_fetch_offset >= 4


async def test_a_bomb_costs_no_more_memory_than_the_limit() -> None:
    """Two gigabytes in 60 kB of zstd, twenty times: the process grows by what a buffer of the limit and a window take."""
    data = bytearray(batch([b"x"], base=0))
    piece = codec.zstd_encode(b"\0" * 64_000_000)
    data = bytearray(data[:61]) + piece * 32
    struct.pack_into(">i", data, 8, len(data) - 12)
    data[22] = 4
    made = bytes(crc(data))
    assert len(made) < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        assert places(await all_of(reader(made))) == [(0, TOO_LARGE)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000


@pytest.mark.parametrize(
    ("what", "digest"),
    [
        (lambda: THEIR_RECORDS, "94aa0da0dbec8d1b"),
        (lambda: fetched._Result.__base__, "d7db13f06de8248c"),
        (lambda: fetcher.Fetcher.fetched_records, "be4348896b9b66af"),
        (lambda: fetcher.Fetcher._proc_fetch_request, "59bf948fff47eed5"),
    ],
    ids=["PartitionRecords", "FetchResult", "fetched_records", "_proc_fetch_request"],
)
def test_aiokafka_is_the_one_that_this_was_written_for(what: Callable[[], Any], digest: str) -> None:
    """Another digest: compare the class with ours in `worker/adapters/fetched.py`, and then put the new digest here."""
    assert hashlib.sha256(inspect.getsource(what()).encode()).hexdigest()[:16] == digest
