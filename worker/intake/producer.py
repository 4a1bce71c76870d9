"""Events into a log: each line of a file to the topic of its type, and no loss without an error."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from worker.core.contract.printable import plain
from worker.errors import Undelivered
from worker.intake.routes import CONTENT_TYPE, BadLine, address, address_raw
from worker.ports import LogIntake, Sink


class Counts(msgspec.Struct):
    """What became of the lines."""

    sent: int = 0
    bad: int = 0
    ticks: int = 0


@contextlib.asynccontextmanager
async def open_sink(log: LogIntake, topics: Iterable[str] = ()) -> AsyncIterator[Sink]:
    """Open a sink of *log*, after a look at *topics*: a client would wait for ever for a missing topic.

    Leaving the block without an exception waits until everything is delivered. Raises `Undelivered`.
    """
    await check_topics(log, topics)
    async with log.sink() as sink:
        yield sink


async def check_topics(log: LogIntake, topics: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic has. Raises `Undelivered` without an answer, or when a topic is missing."""
    partitions = await log.partitions(topics)
    if missing := sorted(topic for topic, count in partitions.items() if not count):
        raise Undelivered(f"{log.name} has no topic {', '.join(missing)}: create it with `leadpulse topics create`")
    return partitions


@dataclass
class LineSender:
    """Sends lines of files to *sink*."""

    sink: Sink
    refused: Callable[[str], None]
    """Called with place and fault of each line that is not sent."""
    topic: str | None = None
    """Every line goes to this topic; `None` for the topic of each event's type."""
    raw: bool = False
    """Send every line unchanged, events or not."""
    counts: Counts = field(default_factory=Counts)

    async def send(self, where: str, line: bytes) -> None:
        """Send one line, or count it. An empty line is skipped, unless lines are sent *raw*. Raises `Undelivered`."""
        if not line and not self.raw:
            return
        try:
            target = address_raw(line, self.topic) if self.raw else address(line, self.topic)
        except BadLine as error:
            self.counts.bad += 1
            self.refused(plain(f"{where}: {error}"))
            return
        if target is None:
            self.counts.ticks += 1
            return
        await self.sink.send(target.topic, target.key, line, CONTENT_TYPE)
        self.counts.sent += 1
