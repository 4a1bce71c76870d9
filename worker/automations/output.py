"""What rules are about: a published output, or an event that cancels, as one value."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from worker.core.contract.instants import instant
from worker.core.contract.output_types import OUTPUTS

PAYLOAD: Final = {row.name: row.payload for row in OUTPUTS}


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A published output, or an input event of the types that cancel acts (`crm.*`, four of `email.*`)."""

    id: str
    source: str
    type: str
    lead_id: str
    at_ms: int
    """Its `time`."""
    time: str
    sequence: int = 0
    """The lead's own count of outputs. An input event has none: 0."""
    data: dict[str, Any] = {}
    other: dict[str, Any] = {}
    """The other attributes of the CloudEvent, such as `specversion`."""
    topic: str = ""
    partition: int = 0
    offset: int = 0
    """Where it stands in Kafka."""

    def event(self) -> dict[str, Any]:
        """Return the whole CloudEvent, as it was published."""
        known = {"id": self.id, "source": self.source, "type": self.type, "subject": self.lead_id, "time": self.time}
        sequence = {"sequence": str(self.sequence)} if self.sequence else {}
        return {**self.other, **known, **sequence, "data": self.data}


class _Envelope(msgspec.Struct):
    id: str
    source: str
    type: str
    subject: str
    time: str
    sequence: str = "0"
    data: dict[str, Any] = {}


class NotAnOutput(Exception):
    """A record that is no published output. The message has the reason."""


_decode: Final = msgspec.json.decode
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_LEAST, _GREATEST = -(2**63), 2**64 - 1
_MOST_FLOAT: Final = 10**308
_KNOWN: Final = frozenset(_Envelope.__struct_fields__)


def _rounded(value: Any) -> Any:
    """Return *value* with floats in place of whole numbers that the ledger cannot hold."""
    match value:
        case dict():
            return {name: _rounded(held) for name, held in value.items()}
        case list():
            return [_rounded(held) for held in value]
        case int() if not _LEAST <= value <= _GREATEST:
            return float(max(min(value, _MOST_FLOAT), -_MOST_FLOAT))
    return value


def read_output(value: bytes | str, topic: str = "", partition: int = 0, offset: int = 0) -> Output:
    """Return the published output in *value*, a structured CloudEvent. Raises `NotAnOutput`."""
    try:
        event = _decode(value)
        if _LONG_NUMBER.search(value if isinstance(value, bytes) else value.encode()):
            event = _rounded(event)
        found = msgspec.convert(event, _Envelope)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnOutput(str(error)) from error
    at_ms = instant(found.time)
    if at_ms is None:
        raise NotAnOutput(f"time: {found.time[:40]!r} is no instant")
    if not found.subject or not found.id:
        raise NotAnOutput("`subject` and `id` must not be empty")
    if not found.sequence.isdecimal() or len(found.sequence) > 18:
        raise NotAnOutput(f"sequence: {found.sequence[:40]!r} is no number")
    return Output(
        id=found.id,
        source=found.source,
        type=found.type,
        lead_id=found.subject,
        at_ms=at_ms,
        time=found.time,
        sequence=int(found.sequence),
        data=found.data,
        other={name: held for name, held in event.items() if name not in _KNOWN},
        topic=topic,
        partition=partition,
        offset=offset,
    )
