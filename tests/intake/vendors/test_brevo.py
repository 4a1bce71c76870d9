"""Brevo: shapes as seen by django-anymail, and contacts as in Brevo's changelog."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import RECEIVED_MS, events_of, made_of, told

MESSAGE = "<201803062010.27287306012@smtp-relay.mailin.fr>"
SENT = {
    "email": "recipient@example.com",
    "id": 9999999,
    "message-id": MESSAGE,
    "subject": "Test subject",
    "date": "2018-03-06 11:10:23",
    "ts": 1520331023,
    "ts_event": 1520331023,
    "ts_epoch": 1520363423999,
    "tag": '["tag1","tag2"]',
    "tags": ["tag1", "tag2"],
    "template_id": 12,
}


@pytest.mark.parametrize(
    ("event", "type_", "data"),
    [
        ({"event": "delivered"}, "email.delivered", {}),
        ({"event": "opened"}, "email.opened", {}),
        ({"event": "unique_opened"}, "email.opened", {}),
        ({"event": "proxy_open"}, "email.opened", {"machine": True}),
        ({"event": "unique_proxy_open"}, "email.opened", {"machine": True}),
        ({"event": "click", "link": "https://example.com/click/me"}, "email.clicked", {"url": "https://example.com/click/me"}),
        ({"event": "hard_bounce", "reason": " RecipientError: 550"}, "email.bounced", {}),
        ({"event": "invalid_email"}, "email.bounced", {}),
        ({"event": "spam"}, "email.complained", {}),
        ({"event": "complaint"}, "email.complained", {}),
        ({"event": "unsubscribe"}, "email.unsubscribed", {}),
    ],
)
def test_each_kind_of_event_is_mapped(event: dict[str, Any], type_: str, data: dict[str, Any]) -> None:
    """The time is `ts_epoch`, the only one in UTC."""
    (found,) = events_of("brevo", SENT | event)
    expected = {"message_id": MESSAGE, "campaign_id": "tag1", **data}
    assert told(found) == (type_, "email:recipient@example.com", "2018-03-06T19:10:23.999Z", expected)


def test_what_says_nothing_for_scoring_is_passed_over() -> None:
    """An addition to a list is the sender's act: it must not lift an unsubscription."""
    kinds = ("request", "deferred", "soft_bounce", "blocked", "error", "list_addition", "contact_updated", "contact_deleted")
    made = made_of("brevo", [SENT | {"event": kind} for kind in kinds])
    assert (made.events, made.refused, dict(made.passed_over)) == ([], [], dict.fromkeys(kinds, 1))


def test_an_event_has_a_stable_id_of_what_happened() -> None:
    """Brevo gives none. Two clicks on two links in one second are two."""
    click = SENT | {"event": "click"}
    ids = [events_of("brevo", click | {"link": link})[0]["id"] for link in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("times", "time"),
    [
        ({"ts_epoch": 1604933623}, "2020-11-09T14:53:43.000Z"),
        ({"ts_epoch": None, "s_epoch": 1534486682000}, "2018-08-17T06:18:02.000Z"),
        ({"ts_epoch": None}, "2018-03-06T10:10:23.000Z"),
        ({"ts_epoch": None, "ts_event": RECEIVED_MS // 1000 + 36_000}, "2026-09-21T14:13:20.000Z"),
    ],
)
def test_other_times_are_taken_where_the_first_is_missing(times: dict[str, Any], time: str) -> None:
    """Brevo's examples show seconds, too; a local time ahead of ours is held to when the event was received."""
    (found,) = events_of("brevo", SENT | {"event": "opened"} | times)
    assert found["time"] == time


def test_a_marketing_event_has_its_campaign_for_a_message() -> None:
    """It has no `message-id`."""
    body = {"event": "click", "email": "a@b.example", "camp_id": 488, "ts_event": 1604937111, "URL": "https://example.com"}
    (found,) = events_of("brevo", body)
    assert found["data"] == {"message_id": "campaign:488", "campaign_id": "488", "url": "https://example.com"}


def test_contacts_are_erased_and_told_of_where_the_source_asks() -> None:
    """A deletion may name several."""
    deleted = {"event": "contact_deleted", "email": ["a@b.example", "c@d.example"], "ts": 1604937111}
    assert [(one["type"], one["subject"]) for one in events_of("brevo", deleted, erase=True)] == [
        ("lead.erased", "email:a@b.example"),
        ("lead.erased", "email:c@d.example"),
    ]
    updated = {"event": "contact_updated", "email": "a@b.example", "ts": 1604937111, "content": [{"JOB": "CTO"}]}
    (found,) = events_of("brevo", updated, traits={"role": "content[0].JOB", "phone": "content[0].SMS"})
    assert (found["type"], found["data"]) == ("profile.updated", {"traits": {"role": "CTO"}})
