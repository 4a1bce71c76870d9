"""Decompression within a limit: the same bytes as the Kafka client's own codecs, and never more than the buffer takes."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from aiokafka import codec
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from worker.adapters.unpack import GZIP, LZ4, SNAPPY, ZSTD, TooLarge, Unreadable, unpack

PACKERS = {
    "gzip": (GZIP, codec.gzip_encode),
    "snappy, xerial": (SNAPPY, codec.snappy_encode),
    "snappy, bare": (SNAPPY, lambda data: bytes(codec.snappy_encode(data, xerial_compatible=False))),
    "lz4": (LZ4, codec.lz4_encode),
    "zstd": (ZSTD, codec.zstd_encode),
}
UNPACKERS = {GZIP: codec.gzip_decode, SNAPPY: codec.snappy_decode, LZ4: codec.lz4_decode, ZSTD: codec.zstd_decode}


def unpacked(number: int, data: bytes, most: int) -> bytes:
    """Return *data* unpacked into a buffer of *most* bytes."""
    buffer = memoryview(bytearray(most))
    return bytes(buffer[: unpack(number, memoryview(data), buffer)])


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("size", [1, 100, 70_000, 1_000_000])
def test_each_codec_gives_what_was_packed_and_not_a_byte_past_the_limit(name: str, size: int) -> None:
    """At exactly the limit it fits; one byte less does not."""
    number, pack = PACKERS[name]
    data = random.Random(size).randbytes(size // 2) + b"x" * (size - size // 2)
    packed = pack(data)
    assert unpacked(number, packed, size) == data
    assert unpacked(number, packed, size + 100_000) == data
    with pytest.raises(TooLarge):
        unpacked(number, packed, size - 1)


@pytest.mark.parametrize("number", [GZIP, ZSTD])
def test_several_members_are_one_batch(number: int) -> None:
    """Both formats may be concatenated, and some producers do so."""
    pack = {GZIP: codec.gzip_encode, ZSTD: codec.zstd_encode}[number]
    packed = pack(b"one") + pack(b"two" * 30_000)
    assert unpacked(number, packed, 100_000) == b"one" + b"two" * 30_000
    with pytest.raises(TooLarge):
        unpacked(number, packed, 90_002)


def test_ten_thousand_tiny_members_are_read_in_pieces() -> None:
    """A gzip of many members costs no copy of all the rest for each of them."""
    packed = codec.gzip_encode(b"a") * 10_000 + b"\0" * 7
    assert unpacked(GZIP, packed, 10_000) == b"a" * 10_000


@pytest.mark.parametrize("name", PACKERS)
@given(data=st.binary(min_size=1, max_size=3_000), at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
@examples(150)
def test_damaged_data_is_refused_or_read_as_the_client_reads_it(name: str, data: bytes, at: int, byte: int, cut: bool) -> None:
    """No other exception than the two, whatever the bytes."""
    number, pack = PACKERS[name]
    packed = bytearray(pack(data))
    at %= len(packed)
    damaged = bytes(packed[:at]) if cut else bytes(packed[:at]) + bytes([byte]) + bytes(packed[at + 1 :])
    try:
        ours = unpacked(number, damaged, 100_000)
    except (TooLarge, Unreadable):
        return
    assert ours == bytes(UNPACKERS[number](damaged))


def test_an_unknown_codec_is_told_by_its_number() -> None:
    """Codec 5 does not exist; neither do 6 and 7."""
    with pytest.raises(Unreadable, match="codec 5"):
        unpacked(5, b"data", 10)


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_takes_no_memory_past_the_buffer(name: str) -> None:
    """Fifty megabytes in a buffer of one: as Python counts it, where Python allocates."""
    number, pack = PACKERS[name]
    packed = pack(b"\0" * 50_000_000)
    buffer = memoryview(bytearray(1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(number, memoryview(packed), buffer)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
