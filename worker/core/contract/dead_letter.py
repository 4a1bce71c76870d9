"""Dead letters: the headers and the value that keep a record that cannot be an event, and how they are read again."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import msgspec

from worker.core.contract.codec import MAX_BYTES, beside_value
from worker.core.contract.model import MOST_OUTPUT_BYTES, Headers, Output, Record, Rejected
from worker.core.contract.unread import UNREAD

REPLAYED: Final = "lp-replayed"
"""Header of a record that `leadpulse dead replay` sent: the place of its dead letter, `PARTITION:OFFSET`."""

_NAMES: Final = (
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
    "lp-reason",
)
"""The headers of a dead letter, after the record's own. Tools for Kafka Connect's dead letters read these names."""


LETTER_HEADER: Final = _NAMES[0]
"""The first header that the worker adds to a dead letter."""

UNSENT: Final = {
    "output_too_large": f"What the worker made of the record is longer than the {MOST_OUTPUT_BYTES:,} bytes that a topic takes."
}
"""Why an output was not sent. The dead letter has its size and digest. The lead's state has its contents."""


class DeadLetter(NamedTuple):
    """A dead letter as it was read."""

    partition: int
    offset: int
    """Its place in the dead-letter topic."""
    timestamp_ms: int | None
    """When the worker wrote the letter."""
    reason: str
    detail: str
    record: Record
    """The record as the producer sent it: topic, partition, offset, key, value and headers. Its timestamp is not kept."""

    @property
    def place(self) -> str:
        """`PARTITION:OFFSET` in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"

    @property
    def whole(self) -> bool:
        """Whether the letter has the record itself, rather than its sizes and digests or its place."""
        return self.reason not in ("too_large", *UNSENT, *UNREAD)

    @property
    def replayed(self) -> str | None:
        """Place of the letter from which a replay made this record; `None` for a record of a producer."""
        places = [held for name, held in self.record.headers if name == REPLAYED]
        return places[-1].decode(errors="replace") if places else None


def dead_letter(topic: str, bad: Rejected, most: int = MAX_BYTES) -> Output:
    """Return *bad* for the dead-letter *topic*: its record as it came, and headers that say where and why.

    *most*: the longest value that the letter holds. Webhooks as they came may be longer than events.

    A value over 900 kB does not fit into a record. Neither do a key and headers over 900 kB. The letter has their size and
    SHA-256 instead. The record stays in its topic for as long as the topic keeps it. Its reason is then `too_large`, and no
    other record has that reason. Of a record that could not be read (`worker.core.contract.unread`) the letter has the place.
    """
    record = bad.record
    key, value, headers = record.key, record.value, record.headers
    if len(value or b"") > most:
        value = _instead(value=value)
    if beside_value(key, headers) > MAX_BYTES:
        value = _instead(key=key, value=record.value, headers=b"".join(name.encode() + value for name, value in headers))
        key, headers = None, ()
    held = (
        record.topic.encode(),
        b"%d" % record.partition,
        b"%d" % record.offset,
        b"VALUE_CONVERTER",
        b"leadpulse.Rejected",
        bad.detail.encode(errors="replace"),
        bad.reason.encode(),
    )
    return Output(topic, key, value, headers + tuple(zip(_NAMES, held, strict=True)))


def unsent_letter(topic: str, output: Output, place: tuple[str, int, int], lead: bytes | None) -> Output:
    """Return the dead letter, for *topic*, that replaces an *output* which is too large for any topic.

    *place*: topic, partition and offset of the record that caused it. Where time alone did, those of the journal's end.
    *lead*: the id that the output is about.
    """
    size = output_bytes(output)
    detail = f"an output to {output.topic}: {size:,} bytes; expected at most {MOST_OUTPUT_BYTES:,}"
    held = (
        place[0].encode(),
        b"%d" % place[1],
        b"%d" % place[2],
        b"PRODUCER",
        b"leadpulse.Unsent",
        detail.encode(),
        b"output_too_large",
    )
    return Output(topic, lead, _instead(output=output.value or b""), tuple(zip(_NAMES, held, strict=True)))


def output_bytes(output: Output) -> int:
    """Return how many bytes *output* takes, with the lengths of its headers."""
    return len(output.value or b"") + beside_value(output.key, output.headers)


def read_letter(record: Record) -> DeadLetter | None:
    """Return the letter in *record* of the dead-letter topic; `None` for a record that is no dead letter of the worker.

    Only the last headers are the letter's. The record itself may have had some of the same names.
    """
    ours: Headers = record.headers[-len(_NAMES) :]
    if tuple(name for name, _ in ours) != _NAMES:
        return None
    topic, partition, offset, _, _, detail, reason = (held.decode(errors="replace") for _, held in ours)
    if not (partition.isdecimal() and offset.isdecimal()):
        return None
    original = Record(topic, int(partition), int(offset), None, record.key, record.value, record.headers[: -len(_NAMES)])
    return DeadLetter(record.partition, record.offset, record.timestamp_ms, reason, detail, original)


def _instead(**parts: bytes | None) -> bytes:
    """Return sizes and digests of parts that are too large for a record, as JSON."""
    return msgspec.json.encode(
        {name: {"bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()} for name, part in parts.items() if part}
    )
