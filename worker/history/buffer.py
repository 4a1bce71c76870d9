"""The records of one partition that wait to be written, as Arrow batches."""

from __future__ import annotations

from typing import Any, Final

from worker.core.contract.model import Record
from worker.history.form import FileName, Role, Source, date_of
from worker.history.rows import Columns, columns_of
from worker.history.writing import arrow_of

_AT_ONCE: Final = 4_096
"""Records that become one Arrow batch. As Python objects they take several times as much memory."""

ERASED: Final = "lead.erased"
_ASIDE: Final = 200
"""Bytes that a record counts beside its value."""


class Buffer:
    """Records of *source* from offset *start* on, in order."""

    def __init__(self, source: Source, role: Role, start: int, now_s: float) -> None:
        self.source = source
        self.role = role
        self.start = start
        """The offset from which it was read."""
        self.next = start
        """The offset up to which it was read, exclusive."""
        self.since_s = now_s
        """When the first record came, by the clock of the caller."""
        self.rows = 0
        self.bytes = 0
        self.erased: dict[str, int] = {}
        """Ids that records here erase, and up to when (ms)."""
        self._first: Record | None = None
        self._last = start
        self._records: list[Record] = []
        self._columns: list[Columns] = []
        self._closed: list[Any] = []

    def take(self, records: list[Record], next_: int, now_s: float) -> None:
        """Add *records*. *next_* is the position after them."""
        if records:
            if self._first is None:
                self._first, self.since_s = records[0], now_s
            self._last = records[-1].offset
            self.rows += len(records)
            columns = list(map(columns_of, records))
            self._records += records
            self._columns += columns
            for record, found in zip(records, columns, strict=True):
                self.bytes += len(record.value or b"") + _ASIDE
                if found.type == ERASED and found.subject is not None and self.role in ("input", "output"):
                    at_ms = found.time_ms if found.time_ms is not None else record.timestamp_ms or 0
                    self.erased[found.subject] = max(at_ms, self.erased.get(found.subject, 0))
            if len(self._records) >= _AT_ONCE:
                self._close()
        self.next = next_

    @property
    def name(self) -> FileName:
        """The file of these records. There is at least one."""
        assert self._first is not None
        return FileName(
            self.source.topic, date_of(self._first.timestamp_ms), self.source.partition, self._first.offset, self._last
        )

    def batches(self) -> list[Any]:
        """Return the records as Arrow batches."""
        if self._records:
            self._close()
        return self._closed

    def _close(self) -> None:
        self._closed.append(arrow_of(self._records, self._columns))
        self._records, self._columns = [], []
