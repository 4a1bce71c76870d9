"""Which topic and key an event has, told from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from worker.core.contract.event_types import FAMILIES, INPUT_TOPICS
from worker.core.contract.model import Headers
from worker.core.contract.tick_line import tick_of

TOPICS: Final[Mapping[str, str]] = {str(family): topic for family, topic in INPUT_TOPICS.items()}
"""Family → topic, when nothing else is asked for."""

CONTENT_TYPE: Final[Headers] = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


class BadLine(ValueError):
    """A line that cannot be sent as an event; the message says what is wrong with it."""


class Addressed(msgspec.Struct, frozen=True):
    """Where one line goes."""

    topic: str
    key: bytes | None


class _Envelope(msgspec.Struct):
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    type: str = ""


class _Origin(msgspec.Struct):
    subject: str = ""
    source: str = ""
    id: str = ""
    time: str | None = None


_decode_origin: Final = msgspec.json.Decoder(_Origin).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_any: Final = msgspec.json.Decoder().decode


def topic_of(event_type: str, topics: Mapping[str, str] = TOPICS) -> str:
    """Return the topic for an event of this type: `email.opened` goes where its family goes, an unknown type to `web`."""
    return topics[FAMILIES.get(event_type.partition(".")[0], "web")]


def address(line: bytes, topic: str | None = None) -> Addressed | None:
    """Return where a line of a file of events goes: the topic of its type, or *topic*; keyed by its `subject`.

    `None` for a tick (`{"tick": …}`): time is no event, a running worker makes its own. Raises `BadLine` for anything
    that is no JSON object with a subject and, where *topic* does not say it, a type.
    """
    try:
        envelope = _decode_envelope(line)
        key = envelope.subject.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if tick_of(line) is not None:
            return None
        raise BadLine(_what_is_wrong(line, error)) from error
    if topic is None and not envelope.type:
        raise BadLine("no type: which topic it belongs to is not known; name one with --topic")
    return Addressed(topic or topic_of(envelope.type), key)


def origin(line: bytes) -> tuple[bytes | None, str | None]:
    """Return (mark, time) of an event's line.

    The mark stands for subject, source and id: two lines with one mark are one event to a worker. It is `None` where one of
    these is missing, and so is the time.
    """
    try:
        found = _decode_origin(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, None
    if not (found.subject and found.source and found.id):
        return None, found.time
    return blake2b(msgspec.json.encode((found.subject, found.source, found.id)), digest_size=16).digest(), found.time


def address_raw(line: bytes, topic: str | None = None) -> Addressed:
    """Return where *line* goes whatever it holds: like `address` where that is possible, else no key and `web`."""
    try:
        return address(line, topic) or Addressed(topic or TOPICS["web"], None)
    except BadLine:
        return Addressed(topic or TOPICS["web"], None)


def _what_is_wrong(line: bytes, error: Exception) -> str:
    try:
        value = _decode_any(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as reason:
        return f"not JSON: {reason}"
    if not isinstance(value, dict):
        return "not a JSON object"
    if not isinstance(value.get("subject"), str) or not value["subject"]:
        return "no subject: an event names its lead in a string that is not empty"
    return str(error)
