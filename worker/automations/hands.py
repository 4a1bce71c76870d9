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
    """The hands of one process. `put` hands a job to one of a target's, which is free."""

    def __init__(self, targets: Iterable[str], put: Callable[[str, Job], Awaitable[None]], each: int = EACH) -> None:
        self._free = dict.fromkeys(targets, each)
        self._all = each
        self._put = put
        self._rests: dict[str, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def free(self, target: str) -> int:
        """Return how many jobs *target* can take now; 0 while it rests."""
        return 0 if time.monotonic() < self._rests.get(target, 0.0) else self._free.get(target, 0)

    def rest(self, target: str, wait_s: float) -> None:
        """Give *target* nothing for *wait_s*."""
        self._rests[target] = time.monotonic() + wait_s

    async def give(self, target: str, job: Job, done: Callable[[], None]) -> None:
        """Hand *job* over, and call *done* when its hand is free again."""
        self._free[target] -= 1
        self._idle.clear()

        async def whole() -> None:
            try:
                await job()
            finally:
                self._free[target] += 1
                if all(free == self._all for free in self._free.values()):
                    self._idle.set()
                done()

        await self._put(target, whole)

    async def idle(self) -> None:
        """Return once no job is being done."""
        await self._idle.wait()
