"""Webhooks of one person: which are kept, and how an erasure reaches them.

Kafka cannot delete one record of a topic, so records stay until the topic's retention ends. An erasure leaves a record with the
person's id as key and no value (a tombstone) behind them. `collect remap` and `dead replay` then send nothing of the person.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_records import committed_records
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.redis_inbound import RedisInbound
from worker.connections.file import read_connections
from worker.connections.sources import Source
from worker.core.contract.dead_letter import DeadLetter, read_letter
from worker.core.contract.model import Record
from worker.core.scoring.calendar import rfc3339
from worker.intake.erasure import forget_lookups, note_erasure
from worker.intake.inbound import decode_inbound, encode_inbound
from worker.intake.person_names import PersonNames, found_in, without
from worker.intake.producer import open_sink
from worker.intake.questions import asks_about, decode_question
from worker.intake_ports import InboundMemory
from worker.ports import LogPartition
from worker.queries.resend import Counts
from worker.settings import GroupConnection, InboundSettings

Sources = Mapping[str, Source]
_MOST_MS: Final = 253_370_764_800_000
"""The year 9999: later, a record is kept for ever."""


class HeldWebhook(msgspec.Struct, frozen=True):
    """A webhook, or an answer of a vendor's API, as far as it is about the person."""

    topic: str
    partition: int
    offset: int
    received_at: str | None
    kept_until: str | None
    """When Kafka has deleted it at the latest; `None`: never."""
    source: str
    vendor: str
    kind: str
    reason: str | None
    """Why it could not be mapped."""
    about: Any
    """Of an answer: what was asked."""
    payload: Any
    query: str | None
    """Of the request; `None` also where it may be about other people."""
    shared: bool
    """It tells of other people too. They were left out."""


class HeldLookup(msgspec.Struct, frozen=True):
    """A question about the person that waits for its time."""

    source: str
    path: str
    due_at: str


class Held(msgspec.Struct):
    """Everything that is kept of a person outside of the leads."""

    webhooks: list[HeldWebhook] = []
    lookups: list[HeldLookup] = []


class Forgotten(msgspec.Struct, frozen=True):
    """What an erasure did to webhooks."""

    topics: list[str]
    """Where they were; none: there is no collector."""
    kept_until: str | None
    """When Kafka has deleted the last of them at the latest; `None`: never, or there are none."""
    lookups: int
    """Questions that were taken back, or that do not name the person any more."""


def sources_of(settings: InboundSettings) -> Sources:
    """Return the sources of the file of connections; none without the file. Raises `ConnectionsError`."""
    return read_connections(settings.connections).sources if Path(settings.connections).is_file() else {}


@contextlib.asynccontextmanager
async def memory_of(settings: InboundSettings) -> AsyncIterator[RedisInbound]:
    """Open the memory of the mappers."""
    memory = RedisInbound(settings.memory, settings.seen_max)
    try:
        yield memory
    finally:
        await memory.close()


async def held_inbound(settings: InboundSettings, ids: Iterable[str]) -> Held:
    """Return the webhooks, and the look-ups that wait, about the person with *ids*. Reads both topics from start to end.

    Raises `Undelivered`, `ConnectionsError`, and errors of Kafka and Redis.
    """
    names, sources, held = PersonNames(ids), sources_of(settings), Held()
    async with memory_of(settings) as memory:
        held.lookups = await _lookups(memory, names)
    counts = await _partitions(settings)
    kept_ms = await _kept_ms(settings, counts)
    for topic, count in counts.items():
        for p in range(count):
            async with contextlib.aclosing(committed_records(settings, LogPartition(topic, p))) as records:
                async for record in records:
                    found = _webhook(record, topic == settings.dead_topic, names, sources, kept_ms[topic])
                    if found is not None:
                        held.webhooks.append(found)
    return held


async def _lookups(memory: InboundMemory, names: PersonNames) -> list[HeldLookup]:
    found = []
    for held in await memory.questions():
        with contextlib.suppress(msgspec.DecodeError):
            question = decode_question(held)
            if asks_about(question, names):
                found.append(HeldLookup(question.source, question.path, rfc3339(question.due_ms)))
    return found


def _webhook(record: Record, dead: bool, names: PersonNames, sources: Sources, kept_ms: int) -> HeldWebhook | None:
    if record.value is None or not (names.may_be_in(record.value) or names.is_key(record.key)):
        return None
    letter = read_letter(record) if dead else None
    try:
        inbound = decode_inbound(record.value)
    except ValueError:  # somebody else wrote it
        return None
    found = found_in(inbound, _text(record.key), names, sources.get(inbound.source))
    if found is None:
        return None
    until_ms = (record.timestamp_ms or 0) + kept_ms
    return HeldWebhook(
        record.topic,
        record.partition,
        record.offset,
        rfc3339(inbound.received_ms) if 0 <= inbound.received_ms < _MOST_MS else None,
        rfc3339(until_ms) if kept_ms >= 0 and until_ms < _MOST_MS else None,
        inbound.source,
        inbound.vendor,
        inbound.kind,
        None if letter is None else letter.reason,
        found.about or None,
        found.payload,
        None if found.shared else inbound.query or None,
        found.shared,
    )


async def forget_inbound(settings: InboundSettings, ids: Sequence[str], at_ms: int) -> Forgotten:
    """Let no webhook that came by *at_ms* bring the person with *ids* back, and take back questions about them.

    Raises `Undelivered`, and errors of Kafka and Redis. After an error, it may be repeated.
    """
    log, counts = KafkaIntake(settings), await _partitions(settings)
    if not counts:
        return Forgotten([], None, 0)
    async with memory_of(settings) as memory:
        lookups = await forget_lookups(memory, ids)
    async with open_sink(log, counts) as sink:
        for topic in counts:
            for id_ in ids:
                await sink.send(topic, id_.encode(), None, (), at_ms)
    kept_ms = (await _kept_ms(settings, counts)).values()
    until_ms = at_ms + max(kept_ms)
    return Forgotten(list(counts), rfc3339(until_ms) if min(kept_ms) >= 0 and until_ms < _MOST_MS else None, lookups)


async def erased_people(settings: GroupConnection, topic: str) -> dict[str, int]:
    """Return the ids whose erasure reached *topic*, each with the time of the last one in ms."""
    found: dict[str, int] = {}
    for p in range((await KafkaIntake(settings).partitions([topic]))[topic]):
        async with contextlib.aclosing(committed_records(settings, LogPartition(topic, p))) as records:
            async for record in records:
                note_erasure(record, found)
    return found


async def without_erased(
    letters: AsyncGenerator[DeadLetter], erased: Mapping[str, int], sources: Sources, counts: Counts
) -> AsyncGenerator[DeadLetter]:
    """Yield *letters* without the people who were *erased*. Those of which nothing is left are counted."""
    async with contextlib.aclosing(letters):
        async for letter in letters:
            rest = _allowed(letter, erased, sources)
            if rest is None:
                counts.erased += 1
            else:
                yield rest


def _allowed(letter: DeadLetter, erased: Mapping[str, int], sources: Sources) -> DeadLetter | None:
    """Return *letter* without those who were *erased* since its webhook came; `None` where nothing is left of it."""
    try:
        inbound = decode_inbound(letter.record.value or b"")
    except ValueError:
        return letter
    ids = [id_ for id_, at_ms in erased.items() if inbound.received_ms <= at_ms]
    if not ids:
        return letter
    rest = without(inbound, _text(letter.record.key), PersonNames(ids), sources.get(inbound.source))
    if rest is None or rest is inbound:
        return None if rest is None else letter
    return letter._replace(record=letter.record._replace(value=encode_inbound(rest)))


async def _partitions(settings: InboundSettings) -> dict[str, int]:
    """Return the partitions of the topics of webhooks that exist."""
    found = await KafkaIntake(settings).partitions([settings.inbound_topic, settings.dead_topic])
    return {topic: count for topic, count in found.items() if count}


async def _kept_ms(settings: InboundSettings, topics: Iterable[str]) -> dict[str, int]:
    """Return how long each topic keeps a record at most, in ms; -1: for ever. Kafka deletes whole segments."""
    async with Admin(settings) as admin:
        configs = await admin.configs(topics) if topics else {}
    times = {topic: (int(held["retention.ms"]), int(held["segment.ms"])) for topic, held in configs.items()}
    return {topic: kept + segment if kept >= 0 else -1 for topic, (kept, segment) in times.items()}


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")
