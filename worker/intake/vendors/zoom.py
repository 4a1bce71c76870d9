"""Zoom webinars: registrations, and attendance from the report and the list of absentees after the end.

Fields by the types that Zoom publishes in `rivet-javascript`, and of the report as connectors read it. People join and leave
many times. One `webinar.attended` a person and instance sums their times, so it is made of the whole report.
Untested against a live account.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from worker.connections.sources import Source, Zoom
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Lookup,
    Mapped,
    NewEvent,
    Unmapped,
    digest,
    email_id,
    iso_ms,
    millis_ms,
    present,
    text,
)
from worker.intake.vendors.records import fields_of, inside, learn, listed, number, object_of, path_part

REPORT_AFTER_MS: Final = 30 * 60_000
"""The report is asked for this long after the end: it is not complete at once."""

_MOST_BYTES: Final = 900_000
"""Of the sums that a look-up carries from page to page. They stand for some 15,000 people."""

_TRAITS: Final = {
    "email": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "role": "job_title",
    "phone": "phone",
    "country": "country",
    "decision_role": "role_in_purchase_process",
    "company.name": "org",
    "company.industry": "industry",
    "company.size": "no_of_employees",
}
_PATHS: Final = {
    "report": "/report/webinars/{}/participants?page_size=300&include_fields=registrant_id",
    "absentees": "/past_webinars/{}/absentees?page_size=300",
    "registrants": "/webinars/{}/registrants?page_size=300&status=approved",
}
_Sums = dict[str, tuple[float, int]]
"""Person → seconds attended, and when they left last. `#ID` is a registrant whose address is not known yet."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one webhook, or the answer to a look-up. Raises `Unmapped`."""
    held = object_of(inbound)
    if inbound.kind == "lookup":
        return _answer(held, inbound.about)
    kind, at_ms = str(held.get("event")), millis_ms(held.get("event_ts"))
    webinar = inside(held, "payload", "object")
    match kind:
        case "webinar.registration_created" | "webinar.registration_approved":
            return _registered(kind, webinar, at_ms, source)
        case "webinar.ended":
            return _ended(webinar, at_ms, source)
        case _:
            return _passed(kind)


def _passed(word: str) -> Mapped:
    made = Mapped()
    made.passed_over[word] += 1
    return made


def _registered(kind: str, webinar: Any, at_ms: int | None, source: Source) -> Mapped:
    who = inside(webinar, "registrant")
    subject, webinar_id = email_id(inside(who, "email")), text(inside(webinar, "id"))
    if inside(who, "status") not in (None, "", "approved"):
        return _passed(f"{kind} not approved")
    if subject is None or webinar_id is None or at_ms is None:
        raise Unmapped(f"{kind} without email, webinar or event_ts")
    # One registration, be it reported as created, as approved or as both.
    id_ = digest("registered", webinar_id, inside(who, "id") or subject)
    made = Mapped([NewEvent("webinar.registered", subject, id_, at_ms, {"webinar_id": webinar_id})])
    learn(made, source, subject, id_, at_ms, who, fields_of(who, _TRAITS))
    return made


def _ended(webinar: Any, at_ms: int | None, source: Source) -> Mapped:
    if not (isinstance(source, Zoom) and source.api):
        return _passed("webinar.ended without api")
    uuid, webinar_id = text(inside(webinar, "uuid")), text(inside(webinar, "id"))
    if uuid is None or webinar_id is None or at_ms is None:
        raise Unmapped("webinar.ended without uuid, id or event_ts")
    begin_ms, end_ms = iso_ms(inside(webinar, "start_time")), iso_ms(inside(webinar, "end_time")) or at_ms
    planned_s = 60 * (number(inside(webinar, "duration")) or 0)
    length_s = (end_ms - begin_ms) / 1000 if begin_ms is not None and end_ms > begin_ms else planned_s
    about = {"uuid": uuid, "webinar": webinar_id, "end_ms": str(end_ms), "length_s": str(length_s)}
    due_ms = at_ms + REPORT_AFTER_MS
    return Mapped(lookups=[_lookup("report", about, due_ms=due_ms), _lookup("absentees", about, due_ms=due_ms)])


def encoded(uuid: str) -> str:
    """Return a webinar's UUID as Zoom wants it in a path: encoded twice if it begins with `/` or holds `//`."""
    once = path_part(uuid)
    return quote(once, safe="") if uuid.startswith("/") or "//" in uuid else once


def _lookup(ask: str, about: dict[str, str], page: str | None = None, due_ms: int = 0) -> Lookup:
    path = _PATHS[ask].format(path_part(about["webinar"]) if ask == "registrants" else encoded(about["uuid"]))
    if page:
        path += f"&next_page_token={quote(page, safe='')}"
    return Lookup(path, {**about, "ask": ask}, due_ms)


def _answer(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    if "uuid" not in about or "webinar" not in about or millis_ms(about.get("end_ms")) is None:
        raise Unmapped("the look-up does not say which webinar, or when it ended")
    match about.get("ask"):
        case "report" if isinstance(held.get("participants"), list):
            return _report(held, about)
        case "absentees" if isinstance(held.get("registrants"), list):
            return _absentees(held, about)
        case "registrants" if isinstance(held.get("registrants"), list):
            return _registrants(held, about)
        case ask:
            raise Unmapped(f"no answer to {ask}: {text(held.get('message')) or 'the list is missing'}")


def _report(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    made, sums = Mapped(), _sums(about)
    for row in listed(held["participants"]):
        registrant = text(row.get("registrant_id"))
        who = email_id(row.get("user_email")) or (registrant and f"#{registrant}")
        seconds = number(row.get("duration"))
        if not who or row.get("internal_user") is True or seconds is None or seconds < 0:
            made.passed_over["participant of our own" if row.get("internal_user") is True else "participant without email"] += 1
        elif row.get("status") == "in_waiting_room":
            made.passed_over["participant in the waiting room"] += 1
        else:
            _add(sums, who, seconds, iso_ms(row.get("leave_time")) or 0)
    return _next("report", held, about, sums, made)


def _registrants(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    sums = _sums(about)
    for one in listed(held["registrants"]):
        key, subject = f"#{text(one.get('id'))}", email_id(one.get("email"))
        if subject is not None and key in sums:
            _add(sums, subject, *sums.pop(key))
    return _next("registrants", held, about, sums, Mapped())


def _next(ask: str, held: dict[str, Any], about: dict[str, str], sums: _Sums, made: Mapped) -> Mapped:
    """Ask for the next page, then for the addresses of registrants, or make the events."""
    page, nameless = text(held.get("next_page_token")), any(who.startswith("#") for who in sums)
    carried = msgspec.json.encode(sums).decode()
    if len(carried) > _MOST_BYTES:
        raise Unmapped(f"the report names {len(sums)} people, more than fit")
    if page and (ask == "report" or nameless):
        made.lookups.append(_lookup(ask, {**about, "sums": carried}, page))
    elif ask == "report" and nameless:
        made.lookups.append(_lookup("registrants", {**about, "sums": carried}))
    else:
        _attended(sums, about, made)
    return made


def _attended(sums: _Sums, about: dict[str, str], made: Mapped) -> None:
    end_ms, length_s = millis_ms(about.get("end_ms")) or 0, number(about.get("length_s")) or 0
    for subject, (seconds, left_ms) in sums.items():
        if subject.startswith("#"):
            made.passed_over["participant without email"] += 1
            continue
        share = round(min(1.0, seconds / length_s), 4) if length_s > 0 else None
        data = present(webinar_id=about["webinar"], minutes=round(seconds / 60, 2), share=share)
        made.events.append(NewEvent("webinar.attended", subject, digest(about["uuid"], subject), left_ms or end_ms, data))


def _absentees(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    made, end_ms = Mapped(), millis_ms(about.get("end_ms")) or 0
    for one in listed(held["registrants"]):
        subject = email_id(one.get("email"))
        if subject is None:
            made.passed_over["absentee without email"] += 1
            continue
        id_ = digest(about["uuid"], subject)
        made.events.append(NewEvent("webinar.no_show", subject, id_, end_ms, {"webinar_id": about["webinar"]}))
    if page := text(held.get("next_page_token")):
        made.lookups.append(_lookup("absentees", about, page))
    return made


def _sums(about: dict[str, str]) -> _Sums:
    try:
        return msgspec.json.decode(about.get("sums", "{}"), type=_Sums)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unmapped(f"the look-up's sums cannot be read: {error}") from error


def _add(sums: _Sums, who: str, seconds: float, left_ms: int) -> None:
    before_s, before_ms = sums.get(who, (0, 0))
    sums[who] = (before_s + seconds, max(before_ms, left_ms))
