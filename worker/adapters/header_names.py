r"""Lets consumers read records whose header names are not UTF-8.

Kafka takes any bytes for a header's name; aiokafka decodes it, and what it cannot decode ends the reading of the partition: one
such record, of any producer, and nothing behind it would ever be scored. Here a batch in which that happens is read on by
aiokafka's reader in Python, with the bytes that are no UTF-8 written as `\xff`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from worker.logs import fields

log = logging.getLogger(__name__)

_FIRST_MAGIC_WITH_HEADERS: Final = 2


class _Bytes(bytearray):
    """A buffer whose slices decode, whatever they hold."""

    def __getitem__(self, place: Any) -> Any:
        held = super().__getitem__(place)
        return _Bytes(held) if isinstance(place, slice) else held

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _AnyNames(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka's own readers are final, and interchangeable
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)


class _Batch:
    """A batch, read by the fast reader up to a record that it cannot read, and from there on by the other."""

    def __init__(self, fast: Any, raw: memoryview) -> None:
        self._fast = fast
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._fast:
                yield record
                read += 1
        except UnicodeDecodeError:
            _say_once()
        else:
            return
        for place, record in enumerate(_AnyNames(bytearray(self._raw))):
            if place >= read:
                yield record


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # see above
    def next_batch(self, *_: Any) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        return batch if raw is None or raw[self.MAGIC_OFFSET] < _FIRST_MAGIC_WITH_HEADERS else _Batch(batch, raw)


@functools.cache
def _say_once() -> None:
    log.warning(
        "somebody sends headers whose names are not UTF-8; they are read with other names, and more slowly",
        extra=fields("kafka.header_names"),
    )


def allow_any_header_names() -> None:
    """Let every consumer of this process read them, from its next fetch on."""
    fetcher.MemoryRecords = _Records
