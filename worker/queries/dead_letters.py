"""Dead letters read from Kafka and picked, one letter at a time: a topic may have any size. `resend` sends them again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from worker.adapters.kafka_clients import free_reader
from worker.adapters.kafka_records import committed_records
from worker.core.contract.dead_letter import DeadLetter, read_letter
from worker.core.contract.model import Record
from worker.errors import DeadLetterError
from worker.intake.producer import check_topics
from worker.intake_ports import LogIntake
from worker.ports import LogPartition
from worker.settings import GroupConnection, Settings


def _mend(act: str) -> str:
    return f" To save this one: leadpulse dead show PLACE --raw > FILE, {act}, leadpulse dead replay PLACE --from FILE."


HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "empty": "Mend the producer: a record without a value says nothing. If you know the event that it should have been:"
        " leadpulse dead replay PLACE --from FILE.",
        "too_large": "Only its sizes and digests are here. While its own topic still keeps it, read it there, make it smaller"
        " and send that: leadpulse dead replay PLACE --from FILE. Then mend the producer.",
        "batch_too_large": "Only its place is here. Find who sends such batches, and stop them. If the records are sound: read"
        " each from its own topic with a tool of Kafka's while it keeps them, then: leadpulse dead replay PLACE --from FILE.",
        "batch_damaged": "Only its place is here. If a copy of the topic has it (a mirror, a backup): send the record again by"
        " leadpulse dead replay PLACE --from FILE.",
        "not_json": "Mend the producer's encoder; the detail says which byte." + _mend("correct it"),
        "too_deep": "Have the producer send flatter data." + _mend("flatten it"),
        "bad_number": "Have the producer send long digits as strings." + _mend("put the number in quotes"),
        "not_an_object": "Have the producer send one CloudEvent a record." + _mend("leave one event in it"),
        "bad_envelope": "Mend the producer by the envelope in schemas/asyncapi.yaml." + _mend("correct the attribute"),
        "no_subject": "Have the producer name the lead in `subject`." + _mend("name the lead, if you know which"),
        "bad_time": "Have the producer write RFC 3339 with an offset (2026-03-05T12:34:56Z)." + _mend("correct `time`"),
        "bad_data": "Mend the producer by schemas/json/ (a file for each type)." + _mend("correct the field"),
        "output_too_large": "The event was counted, and the lead's state is right (leadpulse explain LEAD); only this output is"
        " missing. Tell its readers by hand, and have the producer send shorter ids. The letter holds no record, so"
        " leadpulse dead replay PLACE sends nothing.",
        "traits_refused": "The event is well formed, but the lead cannot hold its traits. If the lead has too many, remove some"
        " (a profile.updated that sets them to null), then: leadpulse dead replay PLACE. If the detail blames names in this"
        " event, shorten them in the event: leadpulse dead replay PLACE --from FILE. If it says 'refused alone', all else"
        " of the event counted: send these traits again in an event with another id.",
        "aliases_refused": "The event is well formed, but so many visitors cannot be one person: find out who sends this. The"
        " visitor stays a lead of its own; to name another lead for it: leadpulse dead replay PLACE --from FILE.",
    }
)
"""What to do about a letter, by reason; `PLACE` stands for the letter's own."""


class DeadLetterFilter(NamedTuple):
    """Which letters: those that meet every condition that is set."""

    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    """When the worker wrote the letter: from `since_ms` on, before `until_ms`."""
    types: frozenset[str] = frozenset()
    topic: str | None = None
    """Where the record first came."""

    def takes(self, letter: DeadLetter) -> bool:
        """Return whether *letter* meets all conditions. A letter of unknown type has none of `types`."""
        at_ms = letter.timestamp_ms or 0
        first_ms = at_ms if self.since_ms is None else self.since_ms
        end_ms = at_ms + 1 if self.until_ms is None else self.until_ms
        topic = letter.record.topic if self.topic is None else self.topic
        return (
            first_ms <= at_ms < end_ms
            and letter.reason in (self.reasons or (letter.reason,))
            and letter.record.topic == topic
            and (not self.types or event_type(letter.record) in self.types)
        )


class _Typed(msgspec.Struct):
    type: str = ""


_typed: Final = msgspec.json.Decoder(_Typed).decode


def event_type(record: Record) -> str | None:
    """Return the CloudEvent type of *record* from its `ce_type` header, else from its JSON; `None` where neither has it."""
    for name, value in record.headers:
        if name == "ce_type":
            return value.decode(errors="replace")
    try:
        return _typed(record.value or b"").type or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_FOUND: Final = re.compile(r"\bthe (string|number|boolean) .*")


def without_values(detail: str) -> str:
    """Return *detail* without the value that it quotes: a field may have held an address or a phone number."""
    before, semicolon, expected = detail.rpartition("; expected ")
    return _FOUND.sub(r"a \1", before) + semicolon + expected if semicolon else detail


class DeadLetters:
    """The dead-letter topic, for reading. `dead_letters` makes one."""

    def __init__(self, settings: GroupConnection, topic: str, partitions: int) -> None:
        self._settings = settings
        self.topic = topic
        self._partitions = partitions
        self.others = 0
        """Records met that are no letters."""

    async def every(self, wanted: DeadLetterFilter) -> AsyncGenerator[DeadLetter]:
        """Yield the letters that are *wanted*, partition by partition, from the topic's start to its end as of now."""
        tps = [LogPartition(self.topic, partition) for partition in range(self._partitions)]
        for tp, (start, end) in (await self._bounds(tps)).items():
            async with contextlib.aclosing(committed_records(self._settings, tp, end, since=start)) as records:
                async for record in records:
                    letter = read_letter(record)
                    if letter is None:
                        self.others += record.value is not None  # else a person was erased
                    elif wanted.takes(letter):
                        yield letter

    async def at(self, places: Iterable[tuple[int, int]]) -> AsyncGenerator[DeadLetter]:
        """Yield the letters at *places*, (partition, offset) each. Raises `DeadLetterError` for a place that has none."""
        for partition, offset in places:
            yield await self._one(partition, offset)

    async def _one(self, partition: int, offset: int) -> DeadLetter:
        where = f"no dead letter at {partition}:{offset}"
        if partition >= self._partitions:
            raise DeadLetterError(f"{where}: topic {self.topic} has {self._partitions} partitions, from 0 on")
        tp = LogPartition(self.topic, partition)
        start, end = (await self._bounds([tp]))[tp]
        if not start <= offset < end:
            extent = f"holds offsets {start} to {end - 1}" if start < end else "is empty"
            raise DeadLetterError(f"{where}: partition {partition} of topic {self.topic} {extent}")
        async with contextlib.aclosing(committed_records(self._settings, tp, offset + 1, since=offset)) as records:
            async for record in records:
                if letter := read_letter(record):
                    return letter
        raise DeadLetterError(
            f"{where}: what topic {self.topic} has there is none; `leadpulse dead list` names those that it has"
        )

    async def _bounds(self, tps: Sequence[LogPartition]) -> dict[LogPartition, tuple[int, int]]:
        """Return the offsets at which the committed records of each of *tps* begin, and before which they end."""
        async with free_reader(self._settings, ()) as reader:
            starts, ends = await reader.starts(tps), await reader.ends(tps)
        return {tp: (starts[tp], ends[tp]) for tp in tps}


async def dead_letters(settings: Settings, log: LogIntake) -> DeadLetters:
    """Return the topic that *settings* route `lead.dead` to. Raises `Undelivered` when there is no broker or no such topic."""
    topic = settings.output_topic("lead.dead")
    return DeadLetters(settings, topic, (await check_topics(log, [topic]))[topic])
