"""Pipedrive webhooks v2: persons and deals, each with what it is now and what it was.

Envelope by Pipedrive's "Guide for Webhooks v2", which does not list the fields of persons and deals. Those are of its API v2.
Untested against a live account. A person's id is the lead.

Our own writes come back with `meta.change_source: api`, and so do those of tools that enrich persons. They differ in what has
changed. So a change of a person counts only if a trait has changed. A change of a deal counts if its stage or status has.

`traits` of the source see `data`, as in `seniority: custom_fields."d4de1c1518b4531717c676029a45911c340390a6"`.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Mapped,
    NewEvent,
    Unmapped,
    digest,
    iso_ms,
    millis_ms,
    present,
    profile,
    seconds_ms,
    text,
)
from worker.intake.vendors.expressions import traits_of
from worker.intake.vendors.records import fields_of, inside, listed, number, object_of, stage_type

_TRAITS: Final = {"first_name": "first_name", "last_name": "last_name", "role": "job_title"}
_LISTS: Final = {"email": ("emails", "email"), "phone": ("phones", "phone")}
_IN_SECONDS: Final = 100_000_000_000
"""Numbers of time below are seconds, others milliseconds."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one webhook. Raises `Unmapped`."""
    held, made = object_of(inbound), Mapped()
    meta, data, previous = held.get("meta"), held.get("data"), held.get("previous")
    entity, action = str(inside(meta, "entity")), str(inside(meta, "action"))
    if entity not in ("person", "deal") or action not in ("create", "change", "delete"):
        made.passed_over[f"{action}.{entity}"] += 1
        return made
    number_ = text(inside(data, "id")) or text(inside(meta, "entity_id"))
    at_ms = _time(inside(meta, "timestamp"))
    if number_ is None or at_ms is None:
        raise Unmapped(f"{action}.{entity} without id or timestamp")
    # `meta.id` may differ between attempts. What happened, to whom and when does not.
    id_ = digest(entity, number_, action, inside(meta, "correlation_id"), inside(meta, "timestamp"))
    before = previous if action == "change" else None
    if action == "delete":
        if entity == "person" and source.erase and not text(inside(meta, "merged_to_id")):
            made.events.append(NewEvent("lead.erased", number_, id_, at_ms))
    elif entity == "deal":
        _deal(data, before, id_, at_ms, source, made)
    else:
        _person(number_, data, before, id_, at_ms, source, made)
    return _counted(made, f"{action}.{entity}")


def _counted(made: Mapped, kind: str) -> Mapped:
    """Count a webhook of which nothing came."""
    if not made.events and not made.passed_over:
        made.passed_over[kind] += 1
    return made


def _time(value: Any) -> int | None:
    at = number(value)
    if at is None:
        return iso_ms(value)
    return seconds_ms(value) if at < _IN_SECONDS else millis_ms(value)


def _person(subject: str, data: Any, previous: Any, id_: str, at_ms: int, source: Source, made: Mapped) -> None:
    now = _traits(data, source)
    if isinstance(previous, dict):
        before = _traits(_as_before(data, previous), source)
        if now == before:
            made.passed_over["change.person of no trait"] += 1
            return
        gone = [trait for trait, value in before.items() if value not in (None, "", []) and now.get(trait) in (None, "", [])]
        said = {**{trait: value for trait, value in now.items() if value not in (None, "", [])}, **dict.fromkeys(gone)}
        made.events.append(NewEvent("profile.updated", subject, id_, at_ms, {"traits": said}))
    else:
        made.events += profile(subject, id_, at_ms, now)


def _as_before(data: Any, previous: dict[str, Any]) -> dict[str, Any]:
    """Return the person before the change: `previous` holds only what has changed, in `custom_fields` too."""
    held = data if isinstance(data, dict) else {}
    customs, former = inside(held, "custom_fields"), previous.get("custom_fields")
    both = {**customs, **former} if isinstance(customs, dict) and isinstance(former, dict) else former or customs
    return {**held, **previous, "custom_fields": both}


def _traits(data: Any, source: Source) -> dict[str, Any]:
    own = fields_of(data, _TRAITS)
    for trait, names in _LISTS.items():
        own[trait] = next((found for name in names if (found := _primary(inside(data, name)))), None)
    return traits_of(source.traits, data, own)


def _primary(values: Any) -> str | None:
    """Return the value that is marked as primary, else the first one."""
    found = sorted(listed(values), key=lambda one: one.get("primary") is not True)
    return next((word for one in found if (word := text(one.get("value")))), None)


def _deal(data: Any, previous: Any, id_: str, at_ms: int, source: Source, made: Mapped) -> None:
    changed = [name for name in ("status", "stage_id") if not isinstance(previous, dict) or name in previous]
    type_ = stage_type(source, *(inside(data, name) for name in changed))
    who = inside(data, "person_id")
    subject = text(inside(who, "value") if isinstance(who, dict) else who)
    if type_ is None:
        made.passed_over["deal without a new stage that `stages` names"] += 1
    elif subject is None:
        made.passed_over["deal without person"] += 1
    else:
        data_ = present(
            amount=number(inside(data, "value")),
            owner=text(inside(data, "owner_id")),
            reason=text(inside(data, "lost_reason")) if type_ == "crm.lost" else None,
        )
        made.events.append(NewEvent(type_, subject, id_, at_ms, data_))
