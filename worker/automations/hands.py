"""How many acts a target does at once in this process, and which targets rest. A slow target holds no other one back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

EACH: Final = 16
"""Acts that one process does at a target at once."""

Job = Callable[[], Awaitable[None]]
"""Something to do at a target. It raises nothing."""


class Hands:
    """The hands of one process. `put` hands a job to one of a target's, which is free.

    The partitions of a process share them. A partition keeps hands before it claims acts. So all of them together claim no
    more than a target can take. What waits for a hand would use up its lease, and hold its partition back.
    """

    def __init__(self, targets: Iterable[str], put: Callable[[str, Job], Awaitable[None]], each: int = EACH) -> None:
        self._free = dict.fromkeys(targets, each)
        self._all = each
        self._kept = dict.fromkeys(self._free, 0)
        self._put = put
        self._rests: dict[str, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def free(self, target: str) -> int:
        """Return how many jobs *target* can take now; 0 while it rests."""
        return 0 if time.monotonic() < self._rests.get(target, 0.0) else self._free.get(target, 0)

    def keep(self, target: str, most: int | None = None) -> int:
        """Keep hands of *target* for jobs, and return how many: at most *most*, and half of the free ones.

        The other half is for partitions that claim meanwhile. Each one kept is for `give`, or for `give_back`.
        """
        kept = (self.free(target) + 1) // 2
        kept = kept if most is None else min(most, kept)
        if kept:
            self._free[target] -= kept
            self._kept[target] += kept
        return kept

    def give_back(self, target: str, count: int) -> None:
        """Free *count* hands that were kept."""
        self._kept[target] -= count
        self._freed(target, count)

    def in_demand(self, target: str) -> bool:
        """Return whether hands of *target* are kept by partitions that claim, so that some may be free in a moment."""
        return self._kept.get(target, 0) > 0

    def rest(self, target: str, wait_s: float) -> None:
        """Give *target* nothing for *wait_s*."""
        self._rests[target] = time.monotonic() + wait_s

    async def give(self, target: str, job: Job, done: Callable[[], None]) -> None:
        """Hand *job* to a hand that was kept, and call *done* when it is free again."""
        self._kept[target] -= 1
        self._idle.clear()

        async def whole() -> None:
            try:
                await job()
            finally:
                self._freed(target, 1)
                done()

        await self._put(target, whole)

    def _freed(self, target: str, count: int) -> None:
        self._free[target] += count
        if all(free == self._all for free in self._free.values()):
            self._idle.set()

    async def idle(self) -> None:
        """Return once no job is being done."""
        await self._idle.wait()
