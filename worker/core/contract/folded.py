"""Records in a few bytes: a batch's number and digest, and a record by which its topic is known again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import xxhash

from worker.core.contract.model import Record

UNKNOWN: Final = ""
"""In the place of a topic's id, where it is not known."""

_encode: Final = msgspec.msgpack.Encoder().encode


def digest(records: Sequence[Record]) -> str:
    """Return 64 bits, as hex, over every field of *records* in their order: place, timestamp, key, value and headers.

    Headers count, because CloudEvents in binary mode have their attributes there. Timestamps count, because an event's time
    that runs ahead is held to its record's. MessagePack keeps the fields apart, and tells absent from empty.
    """
    return xxhash.xxh3_64_hexdigest(_encode(records))


class Mark(NamedTuple):
    """A record that a topic must still hold: how it is known again where brokers give topics no ids (before Kafka 2.8)."""

    offset: int
    timestamp_ms: int
    """-1 where the record has none."""
    digest: str

    @classmethod
    def of(cls, record: Record) -> Mark:
        """Return the mark of *record*."""
        return cls(record.offset, -1 if record.timestamp_ms is None else record.timestamp_ms, digest([record]))

    @classmethod
    def read(cls, text: str) -> Mark | None:
        """Return the mark that *text* is; `None` where it is a topic's id, or nothing."""
        parts = text.split(":")
        if len(parts) != 3:  # ids have no colon
            return None
        return cls(int(parts[0]), int(parts[1]), parts[2])

    def __str__(self) -> str:
        """Return the text that stands in the place of the topic's id."""
        return f"{self.offset}:{self.timestamp_ms}:{self.digest}"


def is_id(text: str) -> bool:
    """Return whether *text*, in the place of a topic's id, is one."""
    return text != UNKNOWN and ":" not in text


def marked(ids: Mapping[str, str], records: Sequence[Record]) -> Mapping[str, str]:
    """Return *ids* with the mark of its last of *records* that was read for each topic that has no id."""
    if all(map(is_id, ids.values())):
        return ids
    last = {r.topic: r for r in records if type(r) is Record and not is_id(ids.get(r.topic, "-"))}
    return {**ids, **{topic: str(Mark.of(record)) for topic, record in last.items()}}


def in_order(next_: Mapping[str, int], ids: Mapping[str, str]) -> tuple[str, ...]:
    """Return *ids* as a cut keeps them: those of the topics of *next_*, by name in order."""
    return tuple(ids.get(topic, UNKNOWN) for topic in sorted(next_))
