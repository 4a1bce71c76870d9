"""Livestorm: one JSON:API object of a person, and one webhook for each kind of event.

Fields by Livestorm's published example of a person and by public clients. Where the payload names its kind is not
established. So the kind is what `event` says in the webhook's address (`/in/NAME?key=…&event=people.not_attended`), or in
`meta`. Otherwise it follows from the person's state: attended, watched the replay, else registered. Untested.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped, digest, email_id, present, seconds_ms, text
from worker.intake.vendors.records import address_in, fields_of, inside, learn, listed, number, object_of

_TYPES: Final = {
    "people.registered": "webinar.registered",
    "people.attended": "webinar.attended",
    "people.not_attended": "webinar.no_show",
    "people.watched_replay": "webinar.replayed",
}
_TRAITS: Final = {
    "first_name": "first_name",
    "last_name": "last_name",
    "role": "job_title",
    "phone": "phone",
    "country": "country",
    "company.name": "company",
    "company.industry": "industry",
    "company.size": "company_size",
}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one webhook. Raises `Unmapped`."""
    held = object_of(inbound)
    person = inside(held, "data", "attributes")
    detail = inside(person, "registrant_detail") or inside(person, "registrant_details")
    if inside(held, "data", "type") != "people" or not isinstance(person, dict):
        made = Mapped()
        made.passed_over[str(inside(held, "data", "type"))] += 1
        return made
    kind = _kind(held, inbound.query, detail)
    type_ = _TYPES.get(kind)
    if type_ is None:
        made = Mapped()
        made.passed_over[kind] += 1
        return made
    fields = {str(field.get("id")): field.get("value") for field in listed(inside(detail, "fields"))}
    record = {**fields, **{name: value for name, value in person.items() if value is not None}, "fields": fields}
    email = address_in(person.get("email")) or address_in(fields.get("email"))
    return _mapped(type_, email, record, detail, source)


def _kind(held: dict[str, Any], query: str, detail: Any) -> str:
    found = parse_qs(query).get("event")
    named = found[0] if found else text(inside(held, "meta", "webhook", "event")) or text(inside(held, "meta", "event"))
    if named:
        return named if named.startswith("people.") else f"people.{named}"
    if inside(detail, "attended") is True:
        return "people.attended"
    return "people.watched_replay" if inside(detail, "has_viewed_replay") is True else "people.registered"


def _mapped(type_: str, email: str | None, record: dict[str, Any], detail: Any, source: Source) -> Mapped:
    subject, webinar = email_id(email), text(inside(detail, "event_id"))
    created_ms = seconds_ms(inside(detail, "created_at")) or seconds_ms(record.get("created_at"))
    changed_ms = seconds_ms(record.get("updated_at")) or seconds_ms(inside(detail, "updated_at"))
    at_ms = (created_ms or changed_ms) if type_ == "webinar.registered" else (changed_ms or created_ms)
    if subject is None or webinar is None or at_ms is None:
        raise Unmapped(f"{type_} without email, event_id or a time")
    # Once a person and session: the payload of a later change of the same person is the same event.
    id_ = digest(text(inside(detail, "session_id")) or webinar, subject)
    data: dict[str, Any] = {"webinar_id": webinar}
    if type_ == "webinar.attended":
        data |= _attendance(detail)
    made = Mapped([NewEvent(type_, subject, id_, at_ms, data)])
    if type_ == "webinar.registered":
        own = {"email": email, **fields_of(record, _TRAITS)}
        learn(made, source, subject, id_, at_ms, record, own)
    return made


def _attendance(detail: Any) -> dict[str, Any]:
    seconds, percent = number(inside(detail, "attendance_duration")), number(inside(detail, "attendance_rate"))
    return present(
        minutes=round(seconds / 60, 2) if seconds is not None and seconds >= 0 else None,
        share=round(min(1.0, percent / 100), 4) if percent is not None and percent >= 0 else None,
    )
