"""GoTo Webinar: registrations, and attendance of a session by the API after it has ended.

Fields of the API by GoTo's OpenAPI document, fields of webhooks by its guide "Webhooks". GoTo sends no webhook at the end of a
session. So each `registrant.joined` asks for the session's attendees some hours later, on the hour: equal look-ups are one.
Untested against a live account.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.connections.sources import GoTo, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Lookup,
    Mapped,
    NewEvent,
    Unmapped,
    digest,
    email_id,
    iso_ms,
    json_of,
    millis_ms,
    present,
    text,
)
from worker.intake.vendors.records import fields_of, inside, learn, listed, number, object_of, path_part

ATTENDEES_AFTER_MS: Final = 4 * 3_600_000
"""The attendees are asked for this long after someone joined."""

_HOUR_MS: Final = 3_600_000
"""Look-ups are due on the hour: all who join within an hour ask the same, so they ask once."""

_TRAITS: Final = {
    "email": "email",
    "first_name": "firstName",
    "last_name": "lastName",
    "role": "jobTitle",
    "phone": "phone",
    "country": "country",
    "decision_role": "purchasingRole",
    "company.name": "organization",
    "company.industry": "industry",
    "company.size": "numberOfEmployees",
}
_WEBINAR: Final = "/G2W/rest/v2/organizers/{organizer}/webinars/{webinar}"
_PATHS: Final = {
    "sessions": f"{_WEBINAR}/sessions?page=0&size=200",
    "attendees": f"{_WEBINAR}/sessions/{{session}}/attendees",
    "registrants": f"{_WEBINAR}/registrants",
}
_KEYS: Final = {"organizer": "webinarCreatorKey", "webinar": "webinarKey", "session": "sessionKey"}
"""Our word → field of the webhook."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one webhook, or the answer to a look-up. Raises `Unmapped`."""
    if inbound.kind == "lookup":
        return _answer(json_of(inbound), inbound.about, inbound.received_ms)
    held = object_of(inbound)
    match held.get("eventName"):
        case "registrant.added":
            return _registered(held, source)
        case "registrant.joined":
            return _joined(held, source)
        case kind:
            return _passed(str(kind))


def _passed(word: str) -> Mapped:
    made = Mapped()
    made.passed_over[word] += 1
    return made


def _registered(held: dict[str, Any], source: Source) -> Mapped:
    if str(held.get("status")).lower() != "approved":
        return _passed("registrant.added not approved")
    subject, webinar = email_id(held.get("email")), text(held.get("webinarKey"))
    at_ms = _registered_ms(held)
    if subject is None or webinar is None or at_ms is None:
        raise Unmapped("registrant.added without email, webinarKey or registrationDate")
    id_ = text(held.get("eventKey")) or digest(webinar, held.get("registrantKey"), subject)
    data = present(webinar_id=webinar, source=text(held.get("registrationSource")))
    made = Mapped([NewEvent("webinar.registered", subject, id_, at_ms, data)])
    record = {**held, "industry": held.get("industry") or held.get("Industry")}  # GoTo's guide writes it so
    learn(made, source, subject, id_, at_ms, record, fields_of(record, _TRAITS))
    return made


def _registered_ms(held: dict[str, Any]) -> int | None:
    return iso_ms(held.get("registrationDate")) or iso_ms(held.get("timestamp"))


def _joined(held: dict[str, Any], source: Source) -> Mapped:
    if not (isinstance(source, GoTo) and source.api):
        return _passed("registrant.joined without api")
    found = {name: text(held.get(field)) for name, field in _KEYS.items()}
    about = {name: key for name, key in found.items() if key}
    at_ms = millis_ms(held.get("joinTime")) or iso_ms(held.get("timestamp"))
    if len(about) != len(_KEYS) or at_ms is None:
        raise Unmapped("registrant.joined without webinarCreatorKey, webinarKey, sessionKey or joinTime")
    about["single"] = "yes" if held.get("recurrenceType") == "single_session" else "no"
    due_ms = -(-(at_ms + ATTENDEES_AFTER_MS) // _HOUR_MS) * _HOUR_MS
    return Mapped(lookups=[_lookup("sessions", about, due_ms)])


def _lookup(ask: str, about: dict[str, str], due_ms: int = 0) -> Lookup:
    keys = {name: path_part(about[name]) for name in _KEYS}
    return Lookup(_PATHS[ask].format(**keys), {**about, "ask": ask}, due_ms)


def _answer(held: Any, about: dict[str, str], received_ms: int) -> Mapped:
    if not all(name in about for name in _KEYS):
        raise Unmapped("the look-up does not say which session")
    match about.get("ask"), held:
        case "sessions", {"_embedded": _}:
            return _session(held, about)
        case "attendees", list():
            return _attendees(held, about, received_ms)
        case "registrants", list():
            return _absent(held, about, received_ms)
        case ask, _:
            said = text(inside(held, "description")) or text(inside(held, "message"))
            raise Unmapped(f"no answer to {ask}: {said or 'the list is missing'}")


def _session(held: dict[str, Any], about: dict[str, str]) -> Mapped:
    """Learn when the session was, then ask who attended."""
    for one in listed(inside(held, "_embedded", "sessionInfoResources")):
        begin_ms, end_ms = iso_ms(one.get("startTime")), iso_ms(one.get("endTime"))
        if text(one.get("sessionKey")) == about["session"] and begin_ms is not None and end_ms is not None:
            times = {"end_ms": str(end_ms), "length_s": str((end_ms - begin_ms) / 1000)}
            return Mapped(lookups=[_lookup("attendees", {**about, **times})])
    return Mapped(lookups=[_lookup("attendees", about)])


def _attendees(held: list[Any], about: dict[str, str], received_ms: int) -> Mapped:
    made = Mapped()
    sums: dict[str, tuple[float, int]] = {}
    for one in listed(held):
        subject, seconds = email_id(one.get("email")), number(one.get("attendanceTimeInSeconds"))
        if subject is None or seconds is None or seconds < 0:
            made.passed_over["attendee without email"] += 1
            continue
        left = [iso_ms(pair.get("leaveTime")) or 0 for pair in listed(one.get("attendance"))]
        before_s, before_ms = sums.get(subject, (0, 0))
        sums[subject] = (before_s + seconds, max([before_ms, *left]))
    end_ms, length_s = _end_ms(about, received_ms), number(about.get("length_s")) or 0
    for subject, (seconds, left_ms) in sums.items():
        share = round(min(1.0, seconds / length_s), 4) if length_s > 0 else None
        data = present(webinar_id=about["webinar"], minutes=round(seconds / 60, 2), share=share)
        made.events.append(NewEvent("webinar.attended", subject, digest(about["session"], subject), left_ms or end_ms, data))
    if about.get("single") == "yes":  # of a series, a registrant may have meant another session
        came = {**about, "came": msgspec.json.encode(sorted(map(digest, sums))).decode()}
        made.lookups.append(_lookup("registrants", came))
    return made


def _absent(held: list[Any], about: dict[str, str], received_ms: int) -> Mapped:
    made, end_ms = Mapped(), _end_ms(about, received_ms)
    try:
        came = frozenset(msgspec.json.decode(about.get("came", "[]"), type=list[str]))
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unmapped(f"the look-up's list of attendees cannot be read: {error}") from error
    for one in listed(held):
        subject = email_id(one.get("email"))
        if subject is None or str(one.get("status")).upper() != "APPROVED":
            continue
        if not came.isdisjoint((digest(subject), subject)):  # earlier versions wrote the addresses themselves
            continue
        id_ = digest(about["session"], subject)
        made.events.append(NewEvent("webinar.no_show", subject, id_, end_ms, {"webinar_id": about["webinar"]}))
    return made


def _end_ms(about: dict[str, str], received_ms: int) -> int:
    return millis_ms(about.get("end_ms")) or received_ms
