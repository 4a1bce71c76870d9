"""Closes resources at the end of a worker. Each step is bounded in time, and its error is logged.

A step may raise, hang, or ignore its own cancellation. A TLS connection to a silent server does all three. None of that may
delay the end of the worker, or hide the reason.
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
"""Default time limit of a step."""

_ALL_S: Final = 8.0
"""Time limit of all steps together. Later steps have `_LEAST_S` each."""
_LEAST_S: Final = 0.25
_CANCELLED_S: Final = 0.25
"""Time limit of a cancelled step. After that it is abandoned."""


class Closing:
    """The open resources, each with the step that closes it. The last one is closed first."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Awaitable[object]], float]] = []

    def add(self, what: str, step: Callable[[], Awaitable[object]], within_s: float = STEP_S) -> None:
        """Have *step* close *what* within *within_s*."""
        self._steps.append((what, step, within_s))

    async def run(self) -> None:
        """Run every step once, even if two tasks call this. Raises nothing but its own cancellation."""
        until = time.monotonic() + _ALL_S
        while self._steps:
            what, step, within_s = self._steps.pop()
            await closed(what, step, min(within_s, max(_LEAST_S, until - time.monotonic())))


async def closed(what: str, step: Callable[[], Awaitable[object]], within_s: float = STEP_S) -> bool:
    """Close *what* by *step*; return whether that succeeded. A step that raises or takes longer is logged and abandoned."""
    task = asyncio.ensure_future(_taken(step))
    task.add_done_callback(_seen)
    done, _ = await asyncio.wait([task], timeout=within_s)
    if not done:
        log.warning("%s: not closed within %g s, left behind", what, within_s, extra=fields("close.silent", what=what))
        task.cancel()
        await asyncio.wait([task], timeout=_CANCELLED_S)
        left: Any = task
        left._log_destroy_pending = False  # logged above; asyncio's own line would be the last one of the log
        return False
    if not task.cancelled() and (err := task.exception()) is not None:
        log.warning("%s: not closed in good order: %r", what, err, extra=fields("close.failed", what=what))
        return False
    return True


async def _taken(step: Callable[[], Awaitable[object]]) -> None:
    await step()


def _seen(task: asyncio.Future[None]) -> None:
    """Retrieve the error of an abandoned step, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
