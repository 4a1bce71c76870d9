"""Mailchimp's audiences: `subscribe` and `unsubscribe` as in Mailchimp's guide."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, form, made_of, told
from worker.intake.vendors.common import Unmapped

AT = {"fired_at": "2009-03-26 21:35:57"}
CONTACT = {
    "data[id]": "8a25ff1d98",
    "data[list_id]": "a6b5da1054",
    "data[email]": "api@mailchimp.com",
    "data[email_type]": "html",
    "data[merges][EMAIL]": "api@mailchimp.com",
    "data[merges][FNAME]": "Mailchimp",
    "data[merges][LNAME]": "API",
    "data[merges][JOB]": "CTO",
}
SUBJECT = ("email:api@mailchimp.com", "2009-03-26T21:35:57.000Z")


def test_a_subscription_gives_the_profile_too() -> None:
    """Traits by Mailchimp's merge fields, and by the source's map."""
    subscribed, profile = events_of("mailchimp", form(type="subscribe", **AT, **CONTACT), traits={"role": "merges.JOB"})
    assert told(subscribed) == ("email.subscribed", *SUBJECT, {"list": "a6b5da1054"})
    traits = {"first_name": "Mailchimp", "last_name": "API", "role": "CTO"}
    assert told(profile) == ("profile.updated", *SUBJECT, {"traits": traits})


@pytest.mark.parametrize(
    ("sent", "type_"),
    [
        ({"type": "unsubscribe", "data[action]": "unsub", "data[reason]": "manual"}, "email.unsubscribed"),
        ({"type": "unsubscribe", "data[action]": "unsub", "data[reason]": "abuse"}, "email.complained"),
        ({"type": "cleaned", "data[reason]": "hard"}, "email.bounced"),
        ({"type": "cleaned", "data[reason]": "abuse"}, "email.complained"),
    ],
)
def test_each_end_of_a_subscription_is_mapped(sent: dict[str, str], type_: str) -> None:
    """The campaign stands for the message."""
    (event,) = events_of("mailchimp", form(**AT, **CONTACT, **sent, **{"data[campaign_id]": "cb398d21d2"}))
    assert told(event) == (type_, *SUBJECT, {"message_id": "campaign:cb398d21d2", "campaign_id": "cb398d21d2"})


def test_a_deleted_contact_is_erased_only_where_the_source_asks() -> None:
    """Its deletion is no unsubscription either."""
    body = form(type="unsubscribe", **AT, **CONTACT, **{"data[action]": "delete"})
    assert (made_of("mailchimp", body).events, made_of("mailchimp", body).passed_over.total()) == ([], 1)
    assert [event["type"] for event in events_of("mailchimp", body, erase=True)] == ["lead.erased"]


def test_a_profile_says_traits_alone() -> None:
    """No subscription."""
    (event,) = events_of("mailchimp", form(type="profile", **AT, **CONTACT))
    assert event["type"] == "profile.updated"


@pytest.mark.parametrize("kind", ["upemail", "campaign"])
def test_what_says_nothing_for_scoring_is_passed_over(kind: str) -> None:
    """It has no `data[email]`."""
    made = made_of("mailchimp", form(type=kind, **AT, **{"data[new_email]": "a@b.example", "data[id]": "1"}))
    assert (made.events, made.refused, dict(made.passed_over)) == ([], [], {kind: 1})


@pytest.mark.parametrize("body", [b"", b"type=", b"{}", b"\xff"])
def test_another_body_is_unmapped(body: Any) -> None:
    """A form with a type, or nothing."""
    with pytest.raises(Unmapped):
        made_of("mailchimp", body)
