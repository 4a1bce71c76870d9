"""Decompression of a Kafka batch into a buffer of limited size, for each of Kafka's codecs.

Brokers bound the compressed size of a batch only: 37 kB of zstd may unpack to gigabytes. Nothing here writes past the buffer.
So a hostile batch costs no more memory than the limit (zstd: twice that, for its window).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

import cramjam

GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4

_XERIAL: Final = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
_FULL: Final = "failed to write whole buffer"
"""cramjam's message if the output does not fit."""

_CHUNK_BYTES: Final = 16 * 1024
"""gzip copies all data after a member. Without small chunks many tiny members would cost the square of their number."""


class TooLarge(Exception):
    """The unpacked data does not fit the buffer."""


class Unreadable(Exception):
    """The data is damaged. The message is that of the codec."""


def unpack(codec: int, data: memoryview, into: memoryview) -> int:
    """Decompress *data* into *into*; return the number of bytes written.

    Raises `TooLarge` when they do not fit, `Unreadable` for damaged data and for an unknown codec.
    """
    unpacker = _UNPACKERS.get(codec)
    if unpacker is None:
        raise Unreadable(f"there is no compression codec {codec}")
    try:
        return unpacker(data, into)
    except cramjam.DecompressionError as err:
        raise (TooLarge() if _FULL in str(err) else Unreadable(str(err))) from None
    except (zlib.error, struct.error, ValueError) as err:
        raise Unreadable(str(err)) from None


def _gzip(data: memoryview, into: memoryview) -> int:
    at = written = 0
    inflate = zlib.decompressobj(31)
    while at < len(data):
        chunk = data[at : at + _CHUNK_BYTES]
        piece = inflate.decompress(chunk, len(into) - written + 1)
        if len(piece) > len(into) - written:
            raise TooLarge
        into[written : written + len(piece)] = piece
        written += len(piece)
        at += len(chunk) - len(inflate.unused_data) - len(inflate.unconsumed_tail)
        if inflate.eof:
            while at < len(data) and not data[at]:  # padding between two members
                at += 1
            if at < len(data):
                inflate = zlib.decompressobj(31)
    if not inflate.eof:
        raise Unreadable("the compressed data ends too early")
    return written


def _snappy(data: memoryview, into: memoryview) -> int:
    """Unpack one block, or the blocks of the xerial framing, each behind its length."""
    if len(data) <= len(_XERIAL) or bytes(data[: len(_XERIAL)]) != _XERIAL:
        return _snappy_block(data, into)
    at, written = len(_XERIAL), 0
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        block = data[at + 4 : at + 4 + length]
        if length < 0 or len(block) != length:
            raise Unreadable("a snappy block ends past the data")
        written += _snappy_block(block, into[written:])
        at += 4 + length
    return written


def _snappy_block(data: memoryview, into: memoryview) -> int:
    size: int = cramjam.snappy.decompress_raw_len(data)
    if size > len(into):
        raise TooLarge
    if not size:
        return len(cramjam.snappy.decompress_raw(data))  # nothing, or an error; an empty buffer is not taken
    return int(cramjam.snappy.decompress_raw_into(data, into[:size]))


def _lz4(data: memoryview, into: memoryview) -> int:
    return int(cramjam.lz4.decompress_into(data, into))


def _zstd(data: memoryview, into: memoryview) -> int:
    return int(cramjam.zstd.decompress_into(data, into))


_UNPACKERS: Final[dict[int, Callable[[memoryview, memoryview], int]]] = {GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}
