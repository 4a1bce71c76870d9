"""Batches that no honest producer writes: small on the way, and gigabytes when they are unpacked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c, encode_varint

from tests.kit.site import Site
from tests.kit.traffic import now_ms

_PIECE = b"\0" * 1_000_000
_CODECS = {"gzip": 1, "lz4": 3, "zstd": 4}


def _content(records: int, megabytes: int) -> Iterator[bytes]:
    """Yield *records* records of so many megabytes of zeros each, piece by piece."""
    for offset in range(records):
        beside = bytearray(b"\0")
        for number in (0, offset, -1, megabytes * len(_PIECE)):
            encode_varint(number, beside.append)
        length = bytearray()
        encode_varint(len(beside) + megabytes * len(_PIECE) + 1, length.append)
        yield bytes(length + beside)
        for _ in range(megabytes):
            yield _PIECE
        yield b"\0"  # no headers


def bomb(codec: str = "zstd", records: int = 20, megabytes: int = 100, *, claimed: int | None = None) -> bytes:
    """Return a batch as a producer sends it: its records are *megabytes* of zeros each. *claimed*: what its header counts."""
    packer: Any
    if codec == "gzip":
        packer = zlib.compressobj(9, wbits=31)
        packed = b"".join([*(packer.compress(piece) for piece in _content(records, megabytes)), packer.flush()])
    else:
        packer = cramjam.zstd.Compressor() if codec == "zstd" else cramjam.lz4.Compressor(block_linked=False)
        for piece in _content(records, megabytes):
            packer.compress(piece)
        packed = bytes(packer.finish())
    count = records if claimed is None else claimed
    now = now_ms()  # retention would delete older records at its next look
    body = struct.pack(">hiqqqhii", _CODECS[codec], count - 1, now, now, -1, -1, -1, count) + packed
    return struct.pack(">qiibI", 0, 9 + len(body), 0, 2, calc_crc32c(body)) + body


async def send_raw(site: Site, topic: str, partition: int, made: bytes) -> int:
    """Have the broker take the batch *made* as it is; return the offset of its first record."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, max_request_size=4_000_000, request_timeout_ms=120_000)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch.append(key=None, value=b"", timestamp=None)
        batch.close()
        batch._buffer = bytearray(made)
        delivery = await producer.send_batch(batch, topic, partition=partition)
        offset: int = (await delivery).offset
    finally:
        await producer.stop()
    return offset
