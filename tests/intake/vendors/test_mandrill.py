"""Mandrill: shapes as seen by django-anymail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.inbound import events_of, form, made_of, told
from worker.intake.vendors.common import Unmapped

MESSAGE = "abcdef012345789abcdef012345789"
MSG = {"ts": 1461095211, "email": "recipient@example.com", "tags": ["tag1", "tag2"], "_id": MESSAGE}


def one(event: str, **more: Any) -> dict[str, Any]:
    """Return one event of the list."""
    return {"event": event, "msg": MSG, "_id": MESSAGE, "ts": 1461095246, **more}


def body(*found: Any) -> bytes:
    """Return a request with the events."""
    return form(mandrill_events=json.dumps(found))


@pytest.mark.parametrize(
    ("sent", "type_", "data"),
    [
        (one("open"), "email.opened", {}),
        (one("click", url="http://example.com", user_agent="Mozilla/5.0"), "email.clicked", {"url": "http://example.com"}),
        (one("hard_bounce"), "email.bounced", {}),
        (one("spam"), "email.complained", {}),
        (one("unsub"), "email.unsubscribed", {}),
        (one("delivered"), "email.delivered", {}),
    ],
)
def test_each_kind_of_event_is_mapped(sent: Any, type_: str, data: dict[str, Any]) -> None:
    """`ts` of the event, not of the message."""
    (event,) = events_of("mandrill", body(sent))
    expected = {"message_id": MESSAGE, "campaign_id": "tag1", **data}
    assert told(event) == (type_, "email:recipient@example.com", "2016-04-19T19:47:26.000Z", expected)


def test_events_of_one_message_have_ids_of_their_own() -> None:
    """`_id` is the message's."""
    sent = [one("open"), one("open", ts=1461095247), one("click", url="a"), one("click", url="b")]
    ids = [event["id"] for event in events_of("mandrill", body(*sent))]
    assert len(set(ids)) == 4
    assert ids == [event["id"] for event in events_of("mandrill", body(*sent))]


def test_what_says_nothing_for_scoring_is_passed_over() -> None:
    """Among it what Mandrill keeps in its own lists."""
    sync = {"type": "blacklist", "action": "add", "reject": {"email": "recipient@example.com"}}
    made = made_of("mandrill", body(one("send"), one("soft_bounce"), one("reject"), one("deferral"), sync))
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 5)


@pytest.mark.parametrize(
    "sent", [b"", b"a=b", form(mandrill_events="{}"), form(mandrill_events="[1]"), form(mandrill_events="[")]
)
def test_another_body_is_unmapped(sent: bytes) -> None:
    """A form with a JSON list, or nothing."""
    with pytest.raises(Unmapped, match="mandrill_events"):
        made_of("mandrill", sent)
