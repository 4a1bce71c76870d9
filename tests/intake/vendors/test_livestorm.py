"""Livestorm: a person as its API gives one, and four kinds of webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, inbound_of, made_of, source_of, told
from tests.kit.lookups import ids, said
from worker.intake.vendors.common import Mapped, Unmapped
from worker.intake.vendors.registry import mapped


def person(**detail: Any) -> dict[str, Any]:
    """Return a webhook's body: the shape of Livestorm's published example of a person."""
    fields = [
        {"id": "email", "type": "text", "value": "Jean@Mysite.example", "required": True},
        {"id": "first_name", "type": "text", "value": "Jean-Baptiste", "required": None},
        {"id": "job_title", "type": "text", "value": "CMO", "required": True},
        {"id": "company", "type": "text", "value": "My Site", "required": True},
        {"id": "company_size", "type": "text", "value": "11-50", "required": True},
    ]
    held = {
        "event_id": "34304943-e1d2-42f6",
        "session_id": "18f9b8b2-020f",
        "created_at": 1720628126,
        "updated_at": 1720628126,
        "fields": fields,
        "attended": False,
        "attendance_rate": None,
        "attendance_duration": 0,
        "has_viewed_replay": False,
        "registration_type": "API",
        **detail,
    }
    attributes = {"role": "participant", "created_at": 1720628000, "updated_at": 1720629999, "timezone": "UTC"}
    attributes |= {"first_name": None, "last_name": "Smith", "email": "Jean@Mysite.example", "avatar_link": None}
    return {"data": {"id": "b1", "type": "people", "attributes": {**attributes, "registrant_detail": held}}}


def asked(body: Any, query: str) -> Mapped:
    """Return what the map makes of a request with this query."""
    return mapped(inbound_of("livestorm", body, query=query), source_of("livestorm"))


def test_a_registration_tells_what_was_filled_in() -> None:
    """A person's own fields count where the person's record is blank. The role in Livestorm is no job."""
    registered, profile = events_of("livestorm", person())
    data = {"webinar_id": "34304943-e1d2-42f6"}
    assert told(registered) == ("webinar.registered", "email:jean@mysite.example", "2024-07-10T16:15:26.000Z", data)
    assert profile["data"]["traits"] == {
        "email": "Jean@Mysite.example",
        "first_name": "Jean-Baptiste",
        "last_name": "Smith",
        "role": "CMO",
        "company.name": "My Site",
        "company.size": 11,
    }


def test_attendance_has_minutes_and_share() -> None:
    """Seconds and percent at the vendor."""
    [attended] = events_of("livestorm", person(attended=True, attendance_rate=84.5, attendance_duration=2280))
    data = {"webinar_id": "34304943-e1d2-42f6", "minutes": 38.0, "share": 0.845}
    assert told(attended) == ("webinar.attended", "email:jean@mysite.example", "2024-07-10T16:46:39.000Z", data)
    assert [one["type"] for one in events_of("livestorm", person(has_viewed_replay=True))] == ["webinar.replayed"]


@pytest.mark.parametrize("query", ["event=people.not_attended", "event=not_attended&x=%FF"])
def test_the_address_of_the_webhook_names_the_kind(query: str) -> None:
    """A person who was absent looks like one who has registered."""
    made = asked(person(), query)
    assert [type_ for type_, *_ in said(made)] == ["webinar.no_show"]
    body = person() | {"meta": {"webhook": {"event": "people.not_attended"}}}
    assert ids(asked(body, "")) == ids(made)


def test_a_later_change_of_the_person_is_the_same_attendance() -> None:
    """Its id is of person and session."""
    first = person(attended=True, attendance_duration=60)
    later = person(attended=True, attendance_duration=60)
    later["data"]["attributes"]["updated_at"] += 100
    assert ids(made_of("livestorm", first)) == ids(made_of("livestorm", later))


def test_other_objects_and_kinds_are_counted() -> None:
    """Sessions, and events of the future."""
    assert made_of("livestorm", {"data": {"type": "sessions", "attributes": {}}}).passed_over == {"sessions": 1}
    assert asked(person(), "event=people.asked").passed_over == {"people.asked": 1}


def test_what_is_missing_is_named() -> None:
    """No webinar, no person."""
    with pytest.raises(Unmapped, match="without email, event_id or a time"):
        made_of("livestorm", person(event_id=None))
