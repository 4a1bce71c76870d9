"""Records of inbound webhooks become events and dead letters: the pure part of the mapper."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from worker.connections.sources import Source
from worker.core.contract.dead_letter import dead_letter
from worker.core.contract.model import Output, Record, Rejected
from worker.intake.inbound import Inbound, decode_inbound
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake.vendors.common import Lookup, Mapped, Unmapped, cloud_event
from worker.intake.vendors.machine_clicks import Traces
from worker.intake.vendors.registry import mapped

MOST_INBOUND_BYTES: Final = 1_600_000
"""Longest value of an inbound record: a body of 1 MB in base64, with what stands beside it."""


class MappedEvent(msgspec.Struct, frozen=True):
    """One event with its place in Kafka."""

    mark: bytes
    """Stands for source and id, for the ids that were seen."""
    id: str
    type: str
    output: Output


class Made(msgspec.Struct, frozen=True):
    """What one record became."""

    source: str
    received_ms: int = 0
    events: tuple[MappedEvent, ...] = ()
    dead: Output | None = None
    lookups: tuple[Lookup, ...] = ()
    passed_over: int = 0
    machines: Mapping[str, int] = {}
    """Guesses that a click was a machine's, by their reason."""
    answers: Mapping[str, str] | None = None
    """Of an answer to a look-up: what was asked."""


def mark_of(source: str, id_: str) -> bytes:
    """Return what stands for an event's source and id."""
    return hashlib.blake2b(msgspec.json.encode((source, id_)), digest_size=16).digest()


def made_of(record: Record, sources: Mapping[str, Source], dead_topic: str, traces: Traces | None = None) -> Made:
    """Return what *record* becomes, with what is remembered of messages in *traces*. Raises nothing, whatever the bytes."""
    if record.value is None:  # a person was erased: see `worker.intake.erasure`
        return Made("")
    try:
        inbound = decode_inbound(record.value or b"")
    except ValueError as error:
        return Made("", dead=_letter(dead_topic, record, "not_inbound", str(error)))
    source = sources.get(inbound.source)
    if source is None or getattr(source, "vendor", None) != inbound.vendor:
        why = f"no source {inbound.source!r} of the vendor {inbound.vendor!r}"
        return Made(inbound.source, dead=_letter(dead_topic, record, "no_source", why))
    try:
        found = _mapped(inbound, source, traces)
    except Unmapped as error:
        return Made(inbound.source, inbound.received_ms, dead=_letter(dead_topic, record, "unmapped", str(error)))
    dead = _letter(dead_topic, record, "refused", "; ".join(found.refused)) if found.refused else None
    return Made(
        inbound.source,
        inbound.received_ms,
        _events(inbound, found),
        dead,
        tuple(found.lookups),
        Counter.total(found.passed_over),
        found.machines,
        inbound.about if inbound.kind == "lookup" else None,
    )


def _mapped(inbound: Inbound, source: Source, traces: Traces | None) -> Mapped:
    """Map a webhook. A list that cannot be mapped whole is mapped one by one, so that one bad element takes no other with it.

    Raises `Unmapped`.
    """
    try:
        return mapped(inbound, source, traces)
    except Unmapped:
        parts = _parts(inbound.body)
        if len(parts) < 2:
            raise
    whole = Mapped()
    for number, part in enumerate(parts):
        try:
            found = mapped(msgspec.structs.replace(inbound, body=b"[%b]" % part), source, traces)
        except Unmapped as error:
            whole.refused.append(f"element {number}: {error}")
            continue
        whole.events += found.events
        whole.lookups += found.lookups
        whole.passed_over += found.passed_over
        whole.refused += found.refused
        whole.machines += found.machines
    return whole


_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _parts(body: bytes) -> list[bytes]:
    """Return the elements of a JSON list; none for another body."""
    try:
        return [bytes(part) for part in _raw_list(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _events(inbound: Inbound, found: Mapped) -> tuple[MappedEvent, ...]:
    made = []
    for new in found.events:
        id_ = f"{new.id}:{new.type}"
        output = Output(topic_of(new.type), new.subject.encode(), cloud_event(new, inbound.source), CONTENT_TYPE)
        made.append(MappedEvent(mark_of(f"/in/{inbound.source}", id_), id_, new.type, output))
    return tuple(made)


def _letter(topic: str, record: Record, reason: str, detail: str) -> Output:
    return dead_letter(topic, Rejected(record, reason, detail[:2_000]), MOST_INBOUND_BYTES)
