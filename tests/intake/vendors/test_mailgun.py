"""Mailgun: shapes as seen by django-anymail, and `client-info.bot` as in mailgun-go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

TOKEN = "651869375b9df3c98fc15c4889b102119add1235c38fc92824"
MESSAGE = "20180812211713.1.DF5966851B4BAA99@example.org"


def body(event: str, **more: Any) -> dict[str, Any]:
    """Return a request."""
    held = {
        "event": event,
        "id": "hTWCTD81RtiDN-...",
        "timestamp": 1534108637.153999,
        "tags": ["welcome", "variation-A"],
        "recipient": "recipient@example.com",
        "message": {"headers": {"to": "recipient@example.com", "message-id": MESSAGE}},
        "user-variables": {"event": "custom"},
        **more,
    }
    return {"signature": {"timestamp": "1534108637", "token": TOKEN, "signature": "..."}, "event-data": held}


@pytest.mark.parametrize(
    ("sent", "type_", "data"),
    [
        (body("delivered", flags={"is-test-mode": False}), "email.delivered", {}),
        (body("opened", **{"client-info": {"bot": "", "user-agent": "Mozilla/5.0"}}), "email.opened", {}),
        (body("opened", **{"client-info": {"bot": "apple"}}), "email.opened", {"machine": True}),
        (body("opened", **{"client-info": None}), "email.opened", {}),
        (body("clicked", url="https://example.com/test"), "email.clicked", {"url": "https://example.com/test"}),
        (body("clicked", **{"client-info": {"bot": "generic"}}), "email.clicked", {"machine": True}),
        (body("failed", severity="permanent", reason="bounce"), "email.bounced", {}),
        (body("complained"), "email.complained", {}),
        (body("unsubscribed"), "email.unsubscribed", {}),
    ],
)
def test_each_kind_of_event_is_mapped(sent: Any, type_: str, data: dict[str, Any]) -> None:
    """Microseconds are cut; the token is the id."""
    (event,) = events_of("mailgun", sent)
    expected = {"message_id": MESSAGE, "campaign_id": "welcome", **data}
    assert told(event) == (type_, "email:recipient@example.com", "2018-08-12T21:17:17.153Z", expected)
    assert event["id"] == f"{TOKEN}:{type_}"


@pytest.mark.parametrize("sent", [body("failed", severity="temporary"), body("accepted"), body("rejected", recipient=None)])
def test_what_says_nothing_for_scoring_is_passed_over(sent: Any) -> None:
    """Mailgun tries again after a temporary failure."""
    made = made_of("mailgun", sent)
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 1)
