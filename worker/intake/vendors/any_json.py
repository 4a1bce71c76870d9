"""Any other tool that posts JSON: each part of an event is a JMESPath expression of the source's `map`."""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Json, JsonMap, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Mapped,
    NewEvent,
    Unmapped,
    iso_ms,
    json_of,
    millis_ms,
    person,
    profile,
    seconds_ms,
    text,
)
from worker.intake.vendors.expressions import traits_of, value_of
from worker.intake.vendors.mail_events import NO_TIME, link

_LEAST_MS: Final = 100_000_000_000
"""A number from here on is milliseconds: as seconds, it would be after the year 5138."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a body by the source's expressions. Raises `Unmapped`."""
    if not isinstance(source, Json):
        raise Unmapped("the source has no `map`")
    made = Mapped()
    body = json_of(inbound)
    found = body if source.map.each is None else value_of(source.map.each, body)
    if source.map.each is not None and not isinstance(found, list):
        raise Unmapped(f"`each` finds no list: {source.map.each!r}")
    for number, one in enumerate(found if source.map.each is not None else [found]):
        try:
            _event(made, one, source, inbound.received_ms)
        except Unmapped as error:
            made.refused.append(f"[{number}]: {error}")
    return made


def _event(made: Mapped, one: Any, source: Json, received_ms: int) -> None:
    parts = source.map
    type_, id_ = (_text(one, parts, name) for name in ("type", "id"))
    address, data = value_of(parts.email, one), value_of(parts.data, one)
    subject = person(value_of(parts.subject, one), address)
    if subject is None:
        raise Unmapped("neither `subject` nor `email` finds a person")
    if data is not None and not isinstance(data, dict):
        raise Unmapped("`data` finds no object")
    at_ms = _at(value_of(parts.time, one)) if parts.time is not None else received_ms
    if at_ms is None:
        raise Unmapped(f"`time`: {NO_TIME}")
    traits = traits_of(source.traits, one)
    made.events.append(NewEvent(type_, subject, id_, at_ms, data or {}))
    made.events.extend(profile(subject, f"{id_}:traits", at_ms, traits))
    if type_ != "profile.updated":
        link(made, subject, address, at_ms, id_)


def _text(one: Any, parts: JsonMap, name: str) -> str:
    found = text(value_of(getattr(parts, name), one))
    if found is None:
        raise Unmapped(f"`{name}` finds no text")
    return found


def _at(value: Any) -> int | None:
    """Return an RFC 3339 text, or seconds or milliseconds since 1970, in ms."""
    at_ms = millis_ms(value)
    if at_ms is None:
        return iso_ms(value)
    return at_ms if at_ms >= _LEAST_MS else seconds_ms(value)
