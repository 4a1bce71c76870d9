"""Calendly: appointments and routing forms, in the form of its examples."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import ids
from worker.intake.vendors.common import Unmapped

INVITEE: dict[str, Any] = {
    "uri": "https://api.calendly.com/scheduled_events/AAA/invitees/BBB",
    "email": "Jane@Example.com",
    "name": "Jane Doe",
    "first_name": "Jane",
    "last_name": None,
    "status": "active",
    "timezone": "Europe/Paris",
    "event": "https://api.calendly.com/scheduled_events/AAA",
    "created_at": "2024-01-15T10:30:00.123999Z",
    "updated_at": "2024-01-15T10:30:00.123999Z",
    "text_reminder_number": "+33 6 12 34 56 78",
    "rescheduled": False,
    "old_invitee": None,
    "new_invitee": None,
    "no_show": None,
    "questions_and_answers": [{"question": "Your role?", "answer": "CTO", "position": 0}],
    "tracking": {"utm_source": "newsletter"},
    "scheduled_event": {
        "uri": "https://api.calendly.com/scheduled_events/AAA",
        "event_type": "https://api.calendly.com/event_types/DEMO30",
        "start_time": "2024-02-01T10:00:00.000000Z",
    },
}


def hook(event: str = "invitee.created", **payload: Any) -> dict[str, Any]:
    """Return a webhook's body."""
    held = {**INVITEE, **payload}
    return {
        "event": event,
        "created_at": "2024-01-15T10:30:01.000000Z",
        "created_by": "https://api.calendly.com/users/U",
        "payload": held,
    }


def test_an_appointment_is_a_request_for_a_demo() -> None:
    """With the answers, at the time when it was made, cut to milliseconds."""
    requested, profile = events_of("calendly", hook())
    data = {"form_id": "DEMO30", "fields": {"Your role?": "CTO"}}
    assert told(requested) == ("demo.requested", "email:jane@example.com", "2024-01-15T10:30:00.123Z", data)
    assert profile["data"]["traits"] == {"email": "Jane@Example.com", "first_name": "Jane", "phone": "+33 6 12 34 56 78"}
    _, mapped = events_of("calendly", hook(), traits={"role": 'answers."Your role?"'})
    assert mapped["data"]["traits"]["role"] == "CTO"


def test_another_time_for_the_same_appointment_is_no_request() -> None:
    """Both parts of it are counted."""
    assert made_of("calendly", hook(old_invitee="https://api.calendly.com/x")).passed_over == {"invitee.created again": 1}
    assert made_of("calendly", hook("invitee.canceled", rescheduled=True)).passed_over == {"invitee.canceled": 1}


def test_a_missed_appointment_is_a_no_show() -> None:
    """At the time when it was marked. Taken back and marked again, it is another one."""
    no_show = {"uri": "https://api.calendly.com/invitee_no_shows/N", "created_at": "2024-02-01T11:00:00.000000Z"}
    [missed] = events_of("calendly", hook("invitee_no_show.created", no_show=no_show))
    assert told(missed) == ("crm.no_show", "email:jane@example.com", "2024-02-01T11:00:00.000Z", {})
    again = made_of("calendly", hook("invitee_no_show.created", no_show=no_show | {"uri": "other"}))
    assert ids(again) != [missed["id"]]
    assert made_of("calendly", hook("invitee_no_show.deleted")).passed_over == {"invitee_no_show.deleted": 1}


def test_a_routing_form_counts_if_it_asks_for_an_address() -> None:
    """An answer that is one names the person."""
    answers = [{"question": "Mail", "answer": "Jane@Example.com"}, {"question": "What", "answer": "mail me @ home"}]
    submission = {
        "uri": "https://api.calendly.com/routing_form_submissions/S",
        "routing_form": "https://api.calendly.com/routing_forms/F",
        "created_at": "2024-01-15T10:30:00.000000Z",
        "questions_and_answers": answers,
    }
    body = {"event": "routing_form_submission.created", "created_at": "2024-01-15T10:30:01Z", "payload": submission}
    submitted, profile = events_of("calendly", body)
    assert told(submitted)[:2] == ("form.submitted", "email:jane@example.com")
    assert submitted["data"]["form_id"] == "F"
    assert profile["data"]["traits"] == {"email": "Jane@Example.com"}
    nobody = body | {"payload": submission | {"questions_and_answers": answers[1:]}}
    assert made_of("calendly", nobody).passed_over == {"routing_form_submission.created without an address": 1}


@pytest.mark.parametrize("event", ["invitee.created", "invitee_no_show.created"])
def test_what_is_missing_is_named(event: str) -> None:
    """The person."""
    with pytest.raises(Unmapped, match=f"{event} without email"):
        made_of("calendly", hook(event, email=None))
    with pytest.raises(Unmapped, match="without payload"):
        made_of("calendly", {"event": event})
