"""The bytes of one batch as a broker sends it: its format, its compression, and aiokafka's reader of its records."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from worker.adapters.header_names import any_names
from worker.adapters.unpack import TooLarge, Unreadable, unpack
from worker.core.contract.unread import DAMAGED, TOO_LARGE

AT_ONCE: Final = 4 * 1024 * 1024
"""A batch that unpacks to no more is unpacked in the event loop: a few milliseconds, and no thread to wait for."""

SMALLEST: Final = 26
"""Bytes of the smallest message of any version."""

_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_CODEC: Final = 0x07
_CODEC_OFFSET: Final = 22
"""Of the byte of a batch's attributes that names its codec."""
_MAGIC_OFFSET: Final = 16
_FIRST_OWN_MAGIC: Final = 2
"""Before it, a batch was one message with a compressed set of messages in it, and only its last offset is known."""

_scratch: Final = memoryview(bytearray(_HEADER.size + AT_ONCE))


class Bad(NamedTuple):
    """Why a batch cannot be read."""

    reason: str
    detail: str


class Unpacked(NamedTuple):
    """A batch that can be read without more unpacking."""

    records: Iterator[Any]
    """aiokafka's records. Damaged bytes raise any exception here."""
    size: int
    """Bytes that the batch holds in memory."""


def is_old(raw: memoryview | bytes) -> bool:
    """Return whether a batch has one of the formats before Kafka 0.11."""
    return raw[_MAGIC_OFFSET] < _FIRST_OWN_MAGIC


def is_compressed(raw: memoryview) -> bool:
    """Return whether a batch of today's format is compressed."""
    return bool(raw[_CODEC_OFFSET] & _CODEC)


def fast(raw: memoryview | bytes) -> Any:
    """Return aiokafka's fast reader of a batch. Raises `ValueError` for a batch that ends within its header."""
    if len(raw) < (SMALLEST if len(raw) <= _MAGIC_OFFSET or is_old(raw) else _HEADER.size):
        raise ValueError(f"{len(raw)} bytes")
    return LegacyRecordBatch(raw, raw[_MAGIC_OFFSET]) if is_old(raw) else DefaultRecordBatch(raw)


def no_structure(err: Exception) -> Bad:
    """Return the fault of a batch whose records raised *err*."""
    return Bad(DAMAGED, f"its records have no structure: {err!r}")


def unpacked_at_once(raw: memoryview, most: int) -> Unpacked | Bad | None:
    """Return a batch that unpacks to *most* bytes at most; `None` if that is more than `AT_ONCE`."""
    codec, data = _compressed(raw)
    if codec == 0:
        return _readable(raw, len(raw))
    try:
        size = _HEADER.size + unpack(codec, data, _scratch[_HEADER.size : _HEADER.size + min(most, AT_ONCE)])
    except Unreadable as err:
        return _unreadable(err)
    except TooLarge:
        return None
    return _readable(raw if is_old(raw) else bytes(_as_uncompressed(raw, _scratch[:size])), size)


def unpacked_large(raw: memoryview, most: int) -> Unpacked | Bad:
    """Return a batch that unpacks to *most* bytes at most, in memory of its own. Blocking, so call it in a thread.

    The memory goes back to the system with the batch.
    """
    codec, data = _compressed(raw)
    buffer = memoryview(mmap.mmap(-1, _HEADER.size + most, mmap.MAP_PRIVATE))
    try:
        size = _HEADER.size + unpack(codec, data, buffer[_HEADER.size :])
    except Unreadable as err:
        return _unreadable(err)
    except TooLarge:
        return Bad(TOO_LARGE, f"it unpacks to more than {most:,} bytes (LEADPULSE_MAX_UNPACKED)")
    if not is_old(raw):
        return _readable(_as_uncompressed(raw, buffer[:size]), size)
    del buffer
    return _begun(_readable(raw, size))


def _begun(found: Unpacked | Bad) -> Unpacked | Bad:
    """Read the first record of an old batch. With it aiokafka unpacks all of them once more, by itself."""
    if isinstance(found, Bad):
        return found
    try:
        first = list(islice(found.records, 1))
    except MemoryError:
        raise
    except Exception as err:  # noqa: BLE001 (damaged bytes raise what they like)
        return no_structure(err)
    return found._replace(records=chain(first, found.records))


def _readable(content: memoryview | bytes, size: int) -> Unpacked | Bad:
    try:
        batch = fast(content)
        return Unpacked(iter(batch if is_old(content) else any_names(batch, content)), size)
    except Exception as err:  # noqa: BLE001 (damaged bytes raise what they like)
        return no_structure(err)


def _unreadable(err: Unreadable) -> Bad:
    return Bad(DAMAGED, f"its compressed data is: {err}")


def _compressed(raw: memoryview) -> tuple[int, memoryview]:
    """Return the codec of a batch, 0 for none, and its compressed data."""
    if not is_old(raw):
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


def _as_uncompressed(raw: memoryview, content: memoryview) -> memoryview:
    """Return *content*, which has the unpacked records of *raw*, with a header as if they had never been compressed."""
    content[: _HEADER.size] = raw[: _HEADER.size]
    content[_CODEC_OFFSET] &= ~_CODEC & 0xFF
    return content
