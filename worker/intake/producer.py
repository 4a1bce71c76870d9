"""Events into a log: each line of a file to the topic of its type, and no loss without an error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.core.contract.instants import MAX_AHEAD_MS, instant
from worker.core.contract.printable import plain
from worker.errors import Undelivered
from worker.intake.routes import CONTENT_TYPE, Addressed, BadLine, address, address_raw, origin
from worker.intake_ports import LogIntake, Sink

_NOTED_AT_ONCE: Final = 10_000


class Counts(msgspec.Struct):
    """What became of the lines."""

    sent: int = 0
    bad: int = 0
    ticks: int = 0
    repeated: int = 0
    """Events that an earlier run has sent, so they are not sent again."""
    undated: int = 0
    """Events without `time`, to which their sending will stand in."""
    ahead: int = 0
    """Events dated in the future, which a worker takes as of their sending."""


class Sent(Protocol):
    """Marks of the events that the log has."""

    def __contains__(self, mark: bytes) -> bool:
        """Return whether the log has the event."""
        ...

    def add(self, marks: Iterable[bytes]) -> None:
        """Note events that the log has."""
        ...


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


class LineOptions(NamedTuple):
    """How lines are sent."""

    topic: str | None = None
    """Every line goes to this topic; `None` for the topic of each event's type."""
    raw: bool = False
    """Send every line unchanged, events or not."""
    sent: Sent | None = None
    """Events in it are not sent again, and those that are sent come into it once the log has them."""


_BY_TYPE: Final = LineOptions()


@dataclass
class LineSender:
    """Sends lines of files to *sink*."""

    sink: Sink
    refused: Callable[[str], None]
    """Called with place and fault of each line that is not sent."""
    options: LineOptions = _BY_TYPE
    counts: Counts = field(default_factory=Counts)
    _on_their_way: dict[bytes, None] = field(default_factory=dict)

    async def send(self, where: str, line: bytes) -> None:
        """Send one line, or count it. An empty line is skipped, unless lines are sent *raw*. Raises `Undelivered`."""
        if not line and not self.options.raw:
            return
        target = self._target(where, line)
        mark, time_text = origin(line)
        if target is None or self._was_sent(mark):
            return
        self._count_time(time_text)
        await self.sink.send(target.topic, target.key, line, CONTENT_TYPE)
        self.counts.sent += 1
        if len(self._on_their_way) >= _NOTED_AT_ONCE:
            await self.finish()

    def _target(self, where: str, line: bytes) -> Addressed | None:
        """Return where *line* goes; `None` for a tick and for a line that is refused, which are counted."""
        if self.options.raw:
            return address_raw(line, self.options.topic)
        try:
            target = address(line, self.options.topic)
        except BadLine as error:
            self.counts.bad += 1
            self.refused(plain(f"{where}: {error}"))
            return None
        self.counts.ticks += target is None
        return target

    def _was_sent(self, mark: bytes | None) -> bool:
        """Return whether the event with *mark* was sent before, by this run or another, and count that."""
        sent = self.options.sent
        if sent is None or mark is None:
            return False
        if mark in self._on_their_way or mark in sent:
            self.counts.repeated += 1
            return True
        self._on_their_way[mark] = None
        return False

    def _count_time(self, text: str | None) -> None:
        if text is None:
            self.counts.undated += not self.options.raw
        elif (instant(text) or 0) > time.time() * 1000 + MAX_AHEAD_MS:
            self.counts.ahead += 1

    async def finish(self) -> None:
        """Wait until the log has all events, and note them in `sent`. Raises `Undelivered` and `SentFileError`."""
        if self.options.sent is not None:
            await self.sink.flush()
            self.options.sent.add(self._on_their_way)
            self._on_their_way.clear()
