"""`leadpulse collect remap`: maps webhooks again after a map was mended, and sends only the events that are missing."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_records import committed_records
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.redis_inbound import RedisInbound
from worker.collector.lookups import questions
from worker.collector.mapping import MappedEvent, made_of, mark_of
from worker.connections.file import read_connections
from worker.connections.sources import Source
from worker.core.contract.event_types import INPUT_TOPICS
from worker.core.contract.model import Record
from worker.errors import ConnectionsError
from worker.intake.erasure import note_erasure
from worker.intake.person_names import PersonNames
from worker.intake.producer import check_topics
from worker.intake.questions import Question, asks_about, decode_question, encode_question
from worker.intake_ports import InboundMemory, Wanted
from worker.ports import LogPartition
from worker.settings import InboundSettings


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
    asked: int = 0
    """Questions to the vendor that have no answer, and wait again. With `dry_run` they are counted and do not wait."""
    erased: int = 0
    """Events of people who were erased since their webhook came. They are not sent."""
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


class Counted:
    """The webhooks of one source, mapped by the present map."""

    def __init__(self, name: str, sources: Mapping[str, Source], since_ms: int) -> None:
        self._name = name
        self._sources = sources
        self._since_ms = since_ms
        self.report = Remapped(name)
        self.made: set[bytes] = set()
        """Marks of what all webhooks become. Those from before the instant may have been mapped after it."""
        self.recent: dict[bytes, tuple[MappedEvent, int]] = {}
        """What the webhooks since then become, with the time when they came."""
        self.erased: dict[str, int] = {}
        """Id → when that person was last erased, in ms."""
        self.asked: dict[bytes, dict[str, Question]] = {}
        """The look-ups of the webhooks since then, by what was asked and by their paths."""
        self.answered: Counter[bytes] = Counter()
        """How many answers can be mapped, by what was asked."""

    def take(self, record: Record) -> None:
        """Map one webhook, or note an erasure."""
        if note_erasure(record, self.erased):
            return
        found = made_of(record, self._sources, "")
        if found.source != self._name:
            return
        self.made |= {event.mark for event in found.events}
        if found.answers is not None and found.dead is None:
            self.answered[_about(found.answers)] += 1
        if found.received_ms >= self._since_ms:
            self.report.webhooks += 1
            self.report.dead += found.dead is not None
            self.recent |= {event.mark: (event, found.received_ms) for event in found.events}
            for wanted in questions(self._name, found):
                question = decode_question(wanted.held)
                self.asked.setdefault(_about(question.about), {})[question.path] = question

    def unanswered(self) -> list[Question]:
        """Return the look-ups without an answer that can be mapped, but for those about people who were erased.

        The pages of one list are asked with the same words. Where one of them is missing, all are asked again.
        """
        names = PersonNames(self.erased)
        left = [some for about, some in self.asked.items() if self.answered[about] < len(some)]
        return [question for some in left for question in some.values() if not asks_about(question, names)]

    def missing(self, present: Mapping[bytes, object]) -> list[MappedEvent]:
        """Return the recent events that are not *present*, but for those of people who were erased since."""
        left = [(event, at_ms) for mark, (event, at_ms) in self.recent.items() if mark not in present]
        allowed = [event for event, at_ms in left if at_ms > self.erased.get((event.output.key or b"").decode(), -1)]
        self.report.present, self.report.erased = len(self.recent) - len(left), len(left) - len(allowed)
        return allowed


async def remap_source(settings: InboundSettings, name: str, since_ms: int, *, dry_run: bool) -> Remapped:
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
    settings: InboundSettings, sources: Mapping[str, Source], name: str, since_ms: int, memory: InboundMemory, *, dry_run: bool
) -> Remapped:
    """Map the webhooks of source *name* since *since_ms* again. Raises `Undelivered`, `LogUnavailable` and errors of Redis."""
    log = KafkaIntake(settings)
    counts = await check_topics(log, settings.needed_topics)
    counted = Counted(name, sources, since_ms)
    async with Admin(settings) as admin:
        for p in range(counts[settings.inbound_topic]):
            read = (await admin.committed(settings.group, settings.topics, p)).get(settings.inbound_topic)
            if read is not None:  # the mappers themselves map what is behind
                await _each(settings, LogPartition(settings.inbound_topic, p), counted.take, until=read.offset)
    present = await _present(settings, counts, name, since_ms)
    report = counted.report
    report.wrong = [wrong for mark, wrong in present.items() if mark not in counted.made]
    missing = counted.missing(present)
    report.sent = len(missing)
    report.asked = await _ask_again(memory, counted.unanswered(), time.time_ns() // 1_000_000, dry_run=dry_run)
    if missing and not dry_run:
        async with log.sink() as sink:
            for event in missing:
                await sink.send(event.output.topic, event.output.key, event.output.value, event.output.headers)
        for some in _slices([event.mark for event in missing], 1_000):
            await memory.mark(some, time.time_ns() // 1_000_000)
    return report


async def _ask_again(memory: InboundMemory, unanswered: Iterable[Question], now_ms: int, *, dry_run: bool) -> int:
    """Let look-ups wait that do not wait yet, and return their number. Each has its time from *now_ms* on to be answered."""
    waiting = set()
    for held in await memory.questions():
        with contextlib.suppress(msgspec.DecodeError):
            question = decode_question(held)
            waiting.add((question.source, question.path, _about(question.about)))
    wanted = []
    for question in unanswered:
        if (question.source, question.path, _about(question.about)) not in waiting:
            due_ms = max(question.due_ms, now_ms)
            wanted.append(Wanted(encode_question(msgspec.structs.replace(question, due_ms=due_ms)), due_ms))
    if not dry_run:
        await memory.schedule(wanted)
    return len(wanted)


async def _present(settings: InboundSettings, counts: Mapping[str, int], name: str, since_ms: int) -> dict[bytes, Wrong]:
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


async def _each(settings: InboundSettings, tp: LogPartition, take: Callable[[Record], None], until: int | None = None) -> None:
    async with contextlib.aclosing(committed_records(settings, tp, until)) as records:
        async for record in records:
            take(record)


def _about(words: Mapping[str, str]) -> bytes:
    return msgspec.json.encode(sorted(words.items()))


def _slices(some: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(some), most):
        yield some[at : at + most]
