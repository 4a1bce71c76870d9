"""How things are closed at the end: each step caught, bounded in time and logged. No error of closing hides another one.

A step may raise, hang, or swallow its own cancellation (a TLS connection whose other side is silent does all three). None of
that may keep the worker from ending, nor hide why it ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from worker.logs import fields

log = logging.getLogger(__name__)

STEP_S: Final = 3.0
"""Given to a step that does not say otherwise."""

_ALL_S: Final = 8.0
"""Given to all steps together; those that come after it have `_LEAST_S` each."""
_LEAST_S: Final = 0.25
_CANCELLED_S: Final = 0.25
"""Given to a step to end once it is cancelled; after that it is left behind."""


class Closing:
    """What has been opened, and how it is closed: the last first."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Awaitable[object]], float]] = []

    def add(self, what: str, step: Callable[[], Awaitable[object]], within_s: float = STEP_S) -> None:
        """Have *step* close *what* within *within_s*."""
        self._steps.append((what, step, within_s))

    async def run(self) -> None:
        """Take every step. Raises nothing but its own cancellation; a step is taken once, also where two tasks call this."""
        until = time.monotonic() + _ALL_S
        while self._steps:
            what, step, within_s = self._steps.pop()
            await closed(what, step, min(within_s, max(_LEAST_S, until - time.monotonic())))


async def closed(what: str, step: Callable[[], Awaitable[object]], within_s: float = STEP_S) -> bool:
    """Close *what* by *step*; return whether it went well. A step that raises or takes longer is logged and left behind."""
    task = asyncio.ensure_future(_taken(step))
    task.add_done_callback(_seen)
    done, _ = await asyncio.wait([task], timeout=within_s)
    if not done:
        log.warning("%s: not closed within %g s, left behind", what, within_s, extra=fields("close.silent", what=what))
        task.cancel()
        await asyncio.wait([task], timeout=_CANCELLED_S)
        left: Any = task
        left._log_destroy_pending = False  # the line above has said it; asyncio's would be the last one of the log
        return False
    if not task.cancelled() and (err := task.exception()) is not None:
        log.warning("%s: not closed in good order: %r", what, err, extra=fields("close.failed", what=what))
        return False
    return True


async def _taken(step: Callable[[], Awaitable[object]]) -> None:
    await step()


def _seen(task: asyncio.Future[None]) -> None:
    """Take note of the error of a step that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
