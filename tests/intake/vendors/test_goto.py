"""GoTo Webinar: registrations, and the attendance of a session by the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import addresses, answered, asked, ids, said
from worker.intake.vendors.common import Unmapped

WEBINAR, SESSION, REGISTRANT, ORGANIZER = 8471289347212345678, 9071289347212345678, 5671289347212345678, 300000000000384444
ADDED: dict[str, Any] = {
    "eventName": "registrant.added",
    "eventVersion": "1.0.0",
    "product": "g2w",
    "eventKey": "3f2c1c9e-6c3c-4a2f",
    "firstName": "Ada",
    "lastName": "Lovelace",
    "email": "Ada@acme.example",
    "phone": "5550100",
    "country": "FR",
    "organization": "Acme",
    "jobTitle": "CTO",
    "Industry": "Software",
    "numberOfEmployees": "1,001-5,000",
    "purchasingRole": "Decision Maker",
    "registrationDate": "2026-01-01T10:00:00.123456Z",
    "status": "Approved",
    "webinarKey": WEBINAR,
    "webinarTitle": "t",
    "recurrenceType": "single_session",
    "webinarCreatorKey": ORGANIZER,
    "registrationSource": "newsletter",
    "registrantKey": REGISTRANT,
    "timestamp": "2026-01-01T10:00:01Z",
    "responses": [],
}
JOINED: dict[str, Any] = {
    "eventName": "registrant.joined",
    "eventVersion": "1.0.0",
    "product": "g2w",
    "eventKey": "k2",
    "email": "ada@acme.example",
    "webinarKey": WEBINAR,
    "sessionKey": SESSION,
    "recurrenceType": "single_session",
    "registrantKey": REGISTRANT,
    "webinarCreatorKey": ORGANIZER,
    "joinTime": 1767261600000,
    "timestamp": "2026-01-01T10:00:00Z",
}
BASE = f"https://api.getgo.com/G2W/rest/v2/organizers/{ORGANIZER}/webinars/{WEBINAR}"
SESSIONS = {
    "_embedded": {
        "sessionInfoResources": [
            {"sessionKey": "1", "startTime": "2026-01-01T08:00:00Z", "endTime": "2026-01-01T09:00:00Z"},
            {"sessionKey": str(SESSION), "startTime": "2026-01-01T10:00:00Z", "endTime": "2026-01-01T11:00:00Z"},
        ]
    },
    "page": {"totalPages": 1},
}


def attendee(email: str, seconds: int, leave: str = "2026-01-01T10:50:00Z") -> dict[str, Any]:
    """Return an attendee as the API gives one."""
    times = [{"joinTime": "2026-01-01T10:00:00Z", "leaveTime": leave}]
    return {
        "registrantKey": REGISTRANT,
        "email": email,
        "attendanceTimeInSeconds": seconds,
        "sessionKey": SESSION,
        "attendance": times,
    }


def test_a_registration_keeps_keys_as_texts() -> None:
    """They are larger than a float holds."""
    registered, profile = events_of("goto", ADDED)
    data = {"webinar_id": str(WEBINAR), "source": "newsletter"}
    assert told(registered) == ("webinar.registered", "email:ada@acme.example", "2026-01-01T10:00:00.123Z", data)
    assert registered["id"] == "3f2c1c9e-6c3c-4a2f:webinar.registered"
    assert profile["data"]["traits"] == {
        "email": "Ada@acme.example",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "role": "CTO",
        "phone": "5550100",
        "country": "FR",
        "decision_role": "Decision Maker",
        "company.name": "Acme",
        "company.industry": "Software",
        "company.size": 1001,
    }


@pytest.mark.parametrize("status", ["Waiting", "Cancelled", "Denied", None])
def test_only_an_approved_registration_counts(status: str | None) -> None:
    """The others are counted as passed over."""
    assert made_of("goto", {**ADDED, "status": status}).passed_over == {"registrant.added not approved": 1}


def test_attendance_is_asked_for_hours_after_someone_joined() -> None:
    """GoTo does not say when a session has ended. Each who joins asks at the same address."""
    made = asked("goto", JOINED)
    assert addresses("goto", made) == [f"{BASE}/sessions?page=0&size=200"]
    assert made.lookups[0].due_ms == 1767261600000 + 4 * 3_600_000
    later = asked("goto", {**JOINED, "joinTime": 1767261600001, "registrantKey": 1, "email": "bob@acme.example"})
    latest = asked("goto", {**JOINED, "joinTime": 1767261600000 + 3_599_999})
    assert later.lookups == latest.lookups
    assert later.lookups[0].due_ms == 1767261600000 + 5 * 3_600_000
    assert made_of("goto", JOINED).passed_over == {"registrant.joined without api": 1}


def test_one_event_a_person_with_share_and_the_absent_after() -> None:
    """Sessions give the length, attendees the times, registrants who did not come."""
    session = answered("goto", asked("goto", JOINED).lookups[0], SESSIONS)
    assert addresses("goto", session) == [f"{BASE}/sessions/{SESSION}/attendees"]
    rows = [attendee("Ada@acme.example", 900), attendee("ada@acme.example", 900, "2026-01-01T10:55:00Z"), attendee("", 5)]
    made = answered("goto", session.lookups[0], rows)
    assert said(made) == [
        (
            "webinar.attended",
            "email:ada@acme.example",
            "2026-01-01T10:55:00.000Z",
            {"webinar_id": str(WEBINAR), "minutes": 30.0, "share": 0.5},
        )
    ]
    assert ids(made) == ids(answered("goto", session.lookups[0], rows))
    assert addresses("goto", made) == [f"{BASE}/registrants"]
    people = [
        {"registrantKey": 1, "email": "ADA@acme.example", "status": "APPROVED"},
        {"registrantKey": 2, "email": "bob@acme.example", "status": "APPROVED"},
        {"registrantKey": 3, "email": "eve@acme.example", "status": "WAITING"},
    ]
    absent = answered("goto", made.lookups[0], people)
    assert said(absent) == [
        ("webinar.no_show", "email:bob@acme.example", "2026-01-01T11:00:00.000Z", {"webinar_id": str(WEBINAR)})
    ]


def test_of_a_series_nobody_is_absent() -> None:
    """A registrant may have meant another session. And without its length there is no share."""
    session = answered("goto", asked("goto", {**JOINED, "recurrenceType": "series"}).lookups[0], {"_embedded": {}})
    made = answered("goto", session.lookups[0], [attendee("ada@acme.example", 900)])
    assert [data for _, _, _, data in said(made)] == [{"webinar_id": str(WEBINAR), "minutes": 15.0}]
    assert made.lookups == []


def test_an_error_of_the_api_is_a_dead_letter() -> None:
    """With GoTo's words."""
    session = answered("goto", asked("goto", JOINED).lookups[0], SESSIONS)
    with pytest.raises(Unmapped, match="no answer to attendees: Not here"):
        answered("goto", session.lookups[0], {"errorCode": "NotFound", "description": "Not here"})


def test_what_is_missing_is_named() -> None:
    """Both webhooks."""
    with pytest.raises(Unmapped, match=r"registrant.added without email"):
        made_of("goto", {**ADDED, "email": None})
    with pytest.raises(Unmapped, match=r"registrant.joined without webinarCreatorKey"):
        asked("goto", {**JOINED, "sessionKey": None})
    assert made_of("goto", {"eventName": "webinar.changed"}).passed_over == {"webinar.changed": 1}
