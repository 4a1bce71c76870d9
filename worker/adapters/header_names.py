r"""Lets consumers read records whose header names are not UTF-8.

Kafka takes any bytes as a header's name. aiokafka decodes the name as UTF-8, and stops reading the partition if it cannot.
One such record of any producer would block every record after it. Here aiokafka's reader in Python takes over within such a
batch. It writes bytes that are not UTF-8 as `\xff`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint

from worker.logs import fields

log = logging.getLogger(__name__)


class _Bytes(bytearray):
    """A buffer whose slices always decode."""

    def __getitem__(self, place: Any) -> Any:
        held = super().__getitem__(place)
        return _Bytes(held) if isinstance(place, slice) else held

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _AnyNames(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka's own readers are final, and interchangeable
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)

    def after(self, count: int) -> Iterator[Any]:
        """Yield the records after the first *count*. Those are skipped by length: there may be a million."""
        self._maybe_uncompress()
        self._pos: int
        for _ in range(count):
            length, at = decode_varint(self._buffer, self._pos)
            self._pos = at + length
        self._next_record_index = count
        yield from self


class _Batch:
    """A batch, read by the fast reader up to a record that it cannot read, and then by the reader in Python."""

    def __init__(self, fast: Any, raw: memoryview | bytes) -> None:
        self._fast = fast
        self._raw = raw

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._fast:
                yield record
                read += 1
        except UnicodeDecodeError:
            _warn_once()
        else:
            return
        yield from _AnyNames(self._raw).after(read)


@functools.cache
def _warn_once() -> None:
    log.warning(
        "a producer sends headers whose names are not UTF-8: they are read with escaped names, and more slowly",
        extra=fields("kafka.header_names"),
    )


def any_names(fast: Any, raw: memoryview | bytes) -> Iterable[Any]:
    """Return the records of the batch *fast*, whose bytes are *raw*, with any header names."""
    return _Batch(fast, raw)
