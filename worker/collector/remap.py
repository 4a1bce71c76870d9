"""`leadpulse collect remap`: maps webhooks again after a map was mended, and sends only the events that are missing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.redis_inbound import RedisInbound
from worker.collector.mapping import MappedEvent, made_of, mark_of
from worker.connections.file import read_connections
from worker.connections.sources import Source
from worker.core.contract.event_types import INPUT_TOPICS
from worker.core.contract.model import Record
from worker.errors import ConnectionsError, Undelivered
from worker.intake.producer import check_topics
from worker.intake_ports import InboundMemory
from worker.ports import LogPartition
from worker.settings import CollectSettings

_FETCH_S: Final = 1.0
_PATIENCE_S: Final = 30.0


class Wrong(msgspec.Struct, frozen=True):
    """An event in the input topics that the mended map does not make."""

    id: str
    type: str
    subject: str
    topic: str
    partition: int
    offset: int


class Remapped(msgspec.Struct):
    """What mapping again came to."""

    source: str
    webhooks: int = 0
    """Since the instant that was asked for, as far as the mappers have read."""
    present: int = 0
    """Events that are in the input topics already."""
    sent: int = 0
    """Events that were missing. With `dry_run` they are counted and not sent."""
    dead: int = 0
    """Webhooks that still cannot be mapped, whole or in part."""
    wrong: list[Wrong] = []
    """Events that an earlier map made and the present one does not. Workers have counted them."""


class _Told(msgspec.Struct):
    id: str
    source: str
    type: str = ""
    subject: str = ""


_told: Final = msgspec.json.Decoder(_Told).decode


class _Counted:
    """The webhooks of one source, mapped by the present map."""

    def __init__(self, name: str, sources: Mapping[str, Source], since_ms: int) -> None:
        self._name = name
        self._sources = sources
        self._since_ms = since_ms
        self.report = Remapped(name)
        self.made: set[bytes] = set()
        """Marks of what all webhooks become. Those from before the instant may have been mapped after it."""
        self.recent: dict[bytes, MappedEvent] = {}
        """What the webhooks since then become."""

    def take(self, record: Record) -> None:
        """Map one webhook."""
        found = made_of(record, self._sources, "")
        if found.source != self._name:
            return
        self.made |= {event.mark for event in found.events}
        if found.received_ms >= self._since_ms:
            self.report.webhooks += 1
            self.report.dead += found.dead is not None
            self.recent |= {event.mark: event for event in found.events}


async def remap_source(settings: CollectSettings, name: str, since_ms: int, *, dry_run: bool) -> Remapped:
    """Map the webhooks of source *name* again, with the connections that *settings* name. See `remap`."""
    connections = read_connections(settings.connections)
    if name not in connections.sources:
        known = ", ".join(connections.sources) or "none"
        raise ConnectionsError(f"{settings.connections} has no source {name!r}; it has {known}")
    memory = RedisInbound(settings.memory, settings.seen_max)
    try:
        return await remap(settings, connections.sources, name, since_ms, memory, dry_run=dry_run)
    finally:
        await memory.close()


async def remap(
    settings: CollectSettings, sources: Mapping[str, Source], name: str, since_ms: int, memory: InboundMemory, *, dry_run: bool
) -> Remapped:
    """Map the webhooks of source *name* since *since_ms* again. Raises `Undelivered`, `LogUnavailable` and errors of Redis."""
    log = KafkaIntake(settings)
    counts = await check_topics(log, settings.needed_topics)
    counted = _Counted(name, sources, since_ms)
    async with Admin(settings) as admin:
        for p in range(counts[settings.inbound_topic]):
            read = (await admin.committed(settings.group, settings.topics, p)).get(settings.inbound_topic)
            if read is not None:  # the mappers themselves map what is behind
                await _each(settings, LogPartition(settings.inbound_topic, p), counted.take, until=read.offset)
    present = await _present(settings, counts, name, since_ms)
    report = counted.report
    report.wrong = [wrong for mark, wrong in present.items() if mark not in counted.made]
    missing = [event for mark, event in counted.recent.items() if mark not in present]
    report.present = len(counted.recent) - len(missing)
    report.sent = len(missing)
    if missing and not dry_run:
        async with log.sink() as sink:
            for event in missing:
                await sink.send(event.output.topic, event.output.key, event.output.value, event.output.headers)
        for some in _slices([event.mark for event in missing], 1_000):
            await memory.mark(some, time.time_ns() // 1_000_000)
    return report


async def _present(settings: CollectSettings, counts: Mapping[str, int], name: str, since_ms: int) -> dict[bytes, Wrong]:
    """Return the events of the source in the input topics since *since_ms*, by their marks."""
    held: dict[bytes, Wrong] = {}

    def take(record: Record) -> None:
        if record.timestamp_ms is not None and record.timestamp_ms < since_ms:
            return
        try:
            found = _told(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if found.source == f"/in/{name}":
            at = record.topic, record.partition, record.offset
            held[mark_of(found.source, found.id)] = Wrong(found.id, found.type, found.subject, *at)

    for topic in INPUT_TOPICS.values():
        for p in range(counts[topic]):
            await _each(settings, LogPartition(topic, p), take)
    return held


async def _each(settings: CollectSettings, tp: LogPartition, take: Callable[[Record], None], until: int | None = None) -> None:
    async with contextlib.aclosing(_records(settings, tp, until)) as records:
        async for record in records:
            take(record)


async def _records(settings: CollectSettings, tp: LogPartition, until: int | None) -> AsyncGenerator[Record]:
    """Yield the committed records of *tp*, from its start to before *until* or to its end as of now."""
    async with free_reader(settings, [tp]) as reader:
        start, end = (await reader.starts([tp]))[tp], (await reader.ends([tp]))[tp]
        end = end if until is None else min(end, until)
        if start >= end:
            return
        reader.seek(tp, start)
        deadline = time.monotonic() + _PATIENCE_S
        while await reader.position(tp) < end:
            got = (await reader.fetch([tp], _FETCH_S))[tp].records
            for record in got:
                if record.offset < end:
                    yield record
            if got:
                deadline = time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise Undelivered(f"{tp.topic}[{tp.partition}] gave nothing for {_PATIENCE_S:g} s before offset {end}")


def _slices(some: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(some), most):
        yield some[at : at + most]
