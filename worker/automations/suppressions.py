"""Whether the ledgers know every address that takes no mail.

An event of one partition may suppress an address of another one. Redis may go back in time, and forget it. Mails then wait
until each partition has been read again as far as it had been read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Final

from worker.automation_ports import ActGroup, Ledger

_KNOWN_S: Final = 2.0
"""So long an answer holds. A partition that is taken over ends it at once."""


class Suppressions:
    """Compares the ledgers of all partitions with the offsets that the group has committed."""

    def __init__(self, group: ActGroup, ledgers: Sequence[Ledger], inputs: Collection[str]) -> None:
        self._group = group
        self._ledgers = ledgers
        self._inputs = inputs
        self._known_until = 0.0
        self._taken_over = 0

    def taken_over(self) -> None:
        """Ask again: a partition was taken over, perhaps because Redis went back."""
        self._known_until = 0.0
        self._taken_over += 1

    async def behind(self) -> int | None:
        """Return a partition that is still to be read again; `None` without one. Raises as the ledger and the group do."""
        if time.monotonic() < self._known_until:
            return None
        asked = self._taken_over
        found = await asyncio.gather(*(self._is_behind(p) for p in range(len(self._ledgers))))
        behind = next((p for p, is_behind in enumerate(found) if is_behind), None)
        if behind is None and asked == self._taken_over:
            self._known_until = time.monotonic() + _KNOWN_S
        return behind

    async def _is_behind(self, partition: int) -> bool:
        committed = await self._group.committed(self._inputs, partition)
        position = await self._ledgers[partition].position()  # after the offsets, for they follow it
        return any(position.get(topic, 0) < at.offset for topic, at in committed.items())
