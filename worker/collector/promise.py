"""The promise: an answer of 200 means that Kafka has the records. Otherwise the sender hears in time to send again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from worker.collector.metrics import CollectorMetrics
from worker.core.contract.model import Output
from worker.errors import Undelivered
from worker.intake_ports import Acks

ANSWER_S: Final = 1.8
"""Time for Kafka to take a request. The sender has an answer within 2.5 s."""

HURRIED_ANSWER_S: Final = 0.6
"""The same for HubSpot, which waits for a second: it has an answer within 0.9 s."""

STALLED_BYTES: Final = 1_048_576
"""Most bytes that wait while Kafka does not answer: a few requests, to see when it does again."""


class Full(Exception):
    """Too many bytes wait for Kafka."""


class Promise:
    """Puts records into Kafka within a time limit. What waits has a bound in bytes, so memory stays flat."""

    def __init__(self, acks: Acks, most_bytes: int, metrics: CollectorMetrics) -> None:
        self._acks = acks
        self._most_bytes = most_bytes
        self._metrics = metrics
        self._held = 0
        self._stalled = False
        metrics.waiting_bytes.set_function(lambda: self._held)
        metrics.kafka_up.set_function(lambda: float(self._acks.ready and not self._stalled))

    async def connected(self) -> None:
        """Return once Kafka can be reached."""
        await self._acks.connected()

    @property
    def stalled(self) -> bool:
        """Whether Kafka has taken nothing since it last let a request wait for too long."""
        return self._stalled

    @contextlib.contextmanager
    def room(self) -> Iterator[Room]:
        """Hold the bytes of one request until its answer."""
        room = Room(self)
        try:
            yield room
        finally:
            self._held -= room.held

    async def keep(self, records: Sequence[Output], within_s: float = ANSWER_S) -> bool:
        """Return whether Kafka has all *records*, within *within_s*. The sender is to send again if not."""
        if not records:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._acks.put(records)
        except TimeoutError:
            self._stalled = True
            self._metrics.unanswered.labels("timeout").inc()
            return False
        except Undelivered:
            self._metrics.unanswered.labels("refused").inc()
            return False
        self._stalled = False
        return True

    def _take(self, size: int) -> None:
        most = STALLED_BYTES if self._stalled else self._most_bytes
        if self._held and self._held + size > most:
            self._metrics.unanswered.labels("full").inc()
            raise Full
        self._held += size


class Room:
    """The bytes that one request takes until it is answered."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise
        self.held = 0

    def take(self, size: int) -> None:
        """Take *size* more bytes. Raises `Full`."""
        self._promise._take(size)
        self.held += size
