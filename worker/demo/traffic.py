"""Made-up traffic at a simulated day a second, and the ticks that bring simulated time into the journal.

The worker runs with `LEADPULSE_CLOCK=events` and writes no ticks of its own, because the leads live a month in half a minute.
The ticks written here are like the worker's. Each carries the offsets of the events sent before it. The worker holds it until
those are applied, so a tick overtakes no event. Webhooks take a moment to be mapped, so a tick waits for their events.

Most events come over HTTP into the collector. A few come as another system writes them into Kafka by itself: without a key, or
no events at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Final

import msgspec

from worker.core.contract.journal import Tick, tick_output
from worker.demo.agenda import DAY_MS, WEEK_MS
from worker.demo.delivery import Arrivals, Sender
from worker.demo.servers import PARTITIONS, Broker
from worker.demo.simulate import Scenario, SimRecord, events
from worker.settings import Settings

LEADS: Final = 300
SPEED: Final = 86_400.0
"""Simulated seconds in a second."""

_TICKS_A_SECOND: Final = 4
_SHORTEST_WAIT_S: Final = 0.002
_FIRST_CONTACT: Final = 100_000
"""CRM id of the first lead. The CRM knows its contacts by numbers."""


def starts_ms(now_ms: int, seconds: float) -> int:
    """Return the Monday at which simulated time begins, so that it ends in the week before *now_ms*.

    Webhooks tell of the past. Visitors of the demo's pages come now, after everything that is simulated.
    """
    begins_ms = now_ms - round(seconds * SPEED * 1000)
    return begins_ms - (begins_ms - 4 * DAY_MS) % WEEK_MS  # 1970-01-05 was a Monday


class Traffic:
    """Sends events and ticks for *seconds* of real time."""

    def __init__(
        self, broker: Broker, settings: Settings, sender: Sender, arrivals: Arrivals, seed: int, seconds: float, start_ms: int
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._sender = sender
        self._arrivals = arrivals
        self._seconds = seconds
        self._start_ms = start_ms
        self._records = events(
            Scenario(
                seed=seed,
                leads=LEADS,
                start_ms=start_ms,
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
            return self._start_ms
        return self._start_ms + int(min(time.monotonic() - self._began, self._seconds) * SPEED * 1000)

    async def run(self) -> None:
        """Send everything, at its time; return after the last tick."""
        began = self._began = time.monotonic()
        ticking = asyncio.create_task(self._tick_on())
        try:
            for record in self._records:
                wait_s = began + (record.at_ms - self._start_ms) / 1000 / SPEED - time.monotonic()
                if wait_s > _SHORTEST_WAIT_S:
                    await asyncio.sleep(wait_s)
                if ticking.done():
                    ticking.result()
                self._sender.check()
                self._send(record)
            await asyncio.sleep(max(0.0, began + self._seconds - time.monotonic()))
        finally:
            ticking.cancel()
        await asyncio.wait([ticking])
        await self._tick()

    def _send(self, record: SimRecord) -> None:
        self.sent[record.note] += 1
        if record.note == "bad":
            self._broker.send(record.topic, record.key, record.value, record.headers, record.at_ms)
            return
        event = as_contact(msgspec.json.decode(record.value))
        self._sender.tools.learn(event)
        if record.key is not None:
            self._sender.hand(event)
            return
        self._arrivals.expect([(event["source"], event["id"])])
        self._broker.send(record.topic, None, msgspec.json.encode(event), record.headers, record.at_ms)

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(1 / _TICKS_A_SECOND)
            await self._tick()

    async def _tick(self) -> None:
        """Write a tick into every partition, as of now, behind everything that has been sent."""
        now_ms = self.now_ms
        await asyncio.to_thread(self._broker.flush)
        behind = await self._arrivals.until_here()
        for partition in range(PARTITIONS):
            tick = Tick(now_ms, dict(behind.get(partition, {})))
            self._broker.send_output(tick_output(self._settings.internal_topic, partition, tick), now_ms)


def as_contact(event: dict[str, Any]) -> dict[str, Any]:
    """Return a simulated *event* with the number that the CRM knows its lead by; a visitor's stays as it is."""
    name, _, number = event["subject"].partition("-")
    return event | {"subject": str(_FIRST_CONTACT + int(number))} if name == "lead" else event
