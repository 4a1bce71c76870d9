"""Resend: shapes as seen by django-anymail, and contacts as in Resend's changelog."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

SVIX = {"svix-id": "msg_2g4B5x"}
DATA = {
    "created_at": "2023-09-28T17:19:43.982Z",
    "email_id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "from": "Sender <from@example.com>",
    "to": ["Recipient <To@example.org>"],
    "subject": "Sending test",
}


def one(kind: str, **more: Any) -> dict[str, Any]:
    """Return a request."""
    return {"created_at": "2023-09-28T17:20:38.990Z", "type": kind, "data": {**DATA, **more}}


@pytest.mark.parametrize(
    ("body", "type_", "data"),
    [
        (one("email.delivered"), "email.delivered", {}),
        (one("email.opened"), "email.opened", {}),
        (
            one("email.clicked", click={"link": "https://example.com/test"}),
            "email.clicked",
            {"url": "https://example.com/test"},
        ),
        (one("email.bounced", bounce={"message": "hard"}), "email.bounced", {}),
        (one("email.bounced", bounce={"type": "Permanent"}), "email.bounced", {}),
        (one("email.complained"), "email.complained", {}),
    ],
)
def test_each_kind_of_event_is_mapped(body: Any, type_: str, data: dict[str, Any]) -> None:
    """The time is the event's `created_at`, not the message's; the id is Svix's."""
    (event,) = events_of("resend", body, SVIX)
    expected = {"message_id": DATA["email_id"], **data}
    assert told(event) == (type_, "email:to@example.org", "2023-09-28T17:20:38.990Z", expected)
    assert event["id"] == f"msg_2g4B5x:{type_}"


@pytest.mark.parametrize(
    "body",
    [
        one("email.sent"),
        one("email.delivery_delayed"),
        one("email.bounced", bounce={"type": "Transient"}),
        one("email.opened", to=["a@b.example", "c@d.example"]),
        one("email.opened", cc=["c@d.example"]),
        one("contact.deleted", email="a@b.example"),
    ],
)
def test_what_says_nothing_for_scoring_is_passed_over(body: Any) -> None:
    """Among it what may be another receiver's."""
    made = made_of("resend", body, SVIX)
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 1)


def test_a_contact_that_unsubscribed_is_mapped() -> None:
    """And what it says of the person."""
    contact = {"id": "e169aa45", "email": "steve@example.com", "first_name": "Steve", "unsubscribed": True}
    body = {"type": "contact.updated", "created_at": "2024-10-11T23:47:56.678Z", "data": contact}
    assert [(one["type"], one["data"].get("traits")) for one in events_of("resend", body, SVIX)] == [
        ("email.unsubscribed", None),
        ("profile.updated", {"first_name": "Steve"}),
    ]
    again = {**body, "data": {**contact, "unsubscribed": False}}
    assert [one["type"] for one in events_of("resend", again, SVIX)] == ["profile.updated"]
    deleted = {**body, "type": "contact.deleted"}
    assert [one["type"] for one in events_of("resend", deleted, SVIX, erase=True)] == ["lead.erased"]


def test_without_svix_s_header_an_event_has_a_stable_id() -> None:
    """The header may have been lost on the way."""
    ids = [events_of("resend", body)[0]["id"] for body in (one("email.opened"), one("email.opened"), one("email.delivered"))]
    assert ids[0] == ids[1] != ids[2]
