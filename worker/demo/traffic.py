"""Made-up traffic at a simulated day a second, and the ticks that bring simulated time into the journal.

The worker runs with `LEADPULSE_CLOCK=events` and writes no ticks of its own, because the leads live a month in half a minute.
The ticks written here are like the worker's. Each carries the offsets of the events sent before it. The worker holds it until
those are applied, so a tick overtakes no event.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

from worker.core.contract.journal import Tick, tick_output
from worker.demo.agenda import DAY_MS, START_MS
from worker.demo.servers import PARTITIONS, Broker
from worker.demo.simulate import Scenario, events
from worker.settings import Settings

LEADS: Final = 300
SPEED: Final = 86_400.0
"""Simulated seconds in a second."""

_TICKS_A_SECOND: Final = 4
_SHORTEST_WAIT_S: Final = 0.002


class Traffic:
    """Sends events and ticks to *broker* for *seconds* of real time."""

    def __init__(self, broker: Broker, settings: Settings, seed: int, seconds: float) -> None:
        self._broker = broker
        self._settings = settings
        self._seconds = seconds
        self._records = events(
            Scenario(
                seed=seed,
                leads=LEADS,
                days=seconds * SPEED * 1000 / DAY_MS,
                late=0.02,
                duplicates=0.02,
                bad=0.005,
                keyless=0.02,
            )
        )
        self._began: float | None = None
        self.sent: Counter[str] = Counter()
        """What was done to the records sent: `event`, `late`, `duplicate`, `bad`."""

    @property
    def now_ms(self) -> int:
        """The simulated instant."""
        if self._began is None:
            return START_MS
        return START_MS + int(min(time.monotonic() - self._began, self._seconds) * SPEED * 1000)

    async def run(self) -> None:
        """Send everything, at its time; return after the last tick."""
        began = self._began = time.monotonic()
        ticking = asyncio.create_task(self._tick_on())
        try:
            for record in self._records:
                wait_s = began + (record.at_ms - START_MS) / 1000 / SPEED - time.monotonic()
                if wait_s > _SHORTEST_WAIT_S:
                    await asyncio.sleep(wait_s)
                self._broker.send(record.topic, record.key, record.value, record.headers, record.at_ms)
                self.sent[record.note] += 1
            await asyncio.sleep(max(0.0, began + self._seconds - time.monotonic()))
        finally:
            ticking.cancel()
        await self._tick()

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(1 / _TICKS_A_SECOND)
            await self._tick()

    async def _tick(self) -> None:
        """Write a tick into every partition, now, behind everything that has been sent."""
        now_ms = self.now_ms
        await asyncio.to_thread(self._broker.flush)
        for partition in range(PARTITIONS):
            tick = Tick(now_ms, self._broker.delivered(partition))
            self._broker.send_output(tick_output(self._settings.internal_topic, partition, tick), now_ms)
