"""How tests wait: for a state, never for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

HANG_S: Final = 300.0
"""Ends a wait that would never end. It claims nothing about speed: no machine that runs the tests may come near it."""


async def until(holds: Callable[[], object | Awaitable[object]], what: str = "") -> None:
    """Wait until *holds* returns, or gives when awaited, something true. Fails with *what* was waited for after `HANG_S`."""
    end = time.monotonic() + HANG_S
    while True:
        found = holds()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < end, f"not within {HANG_S:g} s: {what}"
        await asyncio.sleep(0.05)


def effort(call: Callable[[], object]) -> float:
    """Return the processor time of *call*, in units of a million steps of an empty loop on this machine.

    For what would take minutes where it went wrong: neither a slow machine nor its other work makes the answer much larger.
    """
    began = time.process_time()
    call()
    took = time.process_time() - began
    began = time.process_time()
    for _ in range(1_000_000):
        pass
    return took / (time.process_time() - began)
