"""The journal's records of one partition that wait to be folded, with a tick that may hold up the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker.core.contract.journal import OwnerMessage, Stray, Tick, decode_entry
from worker.core.contract.model import Record
from worker.ports import Fetched


class JournalQueue:
    """Keeps fetched records of the journal in order. *passed* is called with each record that is taken out."""

    def __init__(self, passed: Callable[[Record], None]) -> None:
        self._passed = passed
        self._waiting: deque[Record] = deque()
        self._end = 0

    @property
    def is_held(self) -> bool:
        """Whether a tick waits. It is the first of the records."""
        return bool(self._waiting)

    def add(self, part: Fetched) -> None:
        """Append the records of a fetch."""
        self._waiting.extend(part.records)
        self._end = part.next

    def take(self) -> tuple[list[Record], Tick | None, int]:
        """Take the records up to the first tick; return those to fold, the tick and the next offset.

        Cuts are skipped, because only a refold needs them. The tick stays the first of the waiting records.
        """
        records: list[Record] = []
        while self._waiting:
            record = self._waiting[0]
            entry = decode_entry(record)
            if isinstance(entry, Tick):
                return records, entry, record.offset
            self.pop()
            if isinstance(entry, Stray | OwnerMessage):
                records.append(record)
        return records, None, self._end

    def first(self) -> Record:
        """Return the record of the tick that waits."""
        return self._waiting[0]

    def pop(self) -> None:
        """Take out the first record."""
        self._passed(self._waiting.popleft())
