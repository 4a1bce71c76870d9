"""Postmark: shapes as seen by django-anymail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

MESSAGE = "f4830d10-9c35-4f0c-bca3-3d9b459821f8"
SEEN = {"MessageID": MESSAGE, "Recipient": "recipient@example.com", "Tag": "welcome-email"}
BOUNCED = {
    "ID": 901542550,
    "MessageID": MESSAGE,
    "Email": "recipient@example.com",
    "BouncedAt": "2016-04-27T16:28:50.3963933-04:00",
    "Tag": "welcome-email",
}
CHANGED = {**SEEN, "RecordType": "SubscriptionChange", "ChangedAt": "2022-06-05T17:17:32Z", "Origin": "Recipient"}


@pytest.mark.parametrize(
    ("body", "type_", "time", "data"),
    [
        (
            {**SEEN, "RecordType": "Delivery", "DeliveredAt": "2014-08-01T13:28:10.2735393-04:00"},
            "email.delivered",
            "2014-08-01T17:28:10.273Z",
            {},
        ),
        (
            {**SEEN, "RecordType": "Open", "FirstOpen": True, "ReceivedAt": "2016-04-27T16:21:41.2499999-04:00"},
            "email.opened",
            "2016-04-27T20:21:41.249Z",
            {},
        ),
        (
            {
                **SEEN,
                "RecordType": "Click",
                "OriginalLink": "https://x.example/a",
                "ReceivedAt": "2017-10-25T15:21:11.9065619Z",
            },
            "email.clicked",
            "2017-10-25T15:21:11.906Z",
            {"url": "https://x.example/a"},
        ),
        ({**BOUNCED, "RecordType": "Bounce", "Type": "HardBounce"}, "email.bounced", "2016-04-27T20:28:50.396Z", {}),
        ({**BOUNCED, "RecordType": "Bounce", "Type": "Unsubscribe"}, "email.unsubscribed", "2016-04-27T20:28:50.396Z", {}),
        (
            {**BOUNCED, "RecordType": "SpamComplaint", "Type": "SpamComplaint"},
            "email.complained",
            "2016-04-27T20:28:50.396Z",
            {},
        ),
        (
            {**CHANGED, "SuppressSending": True, "SuppressionReason": "ManualSuppression"},
            "email.unsubscribed",
            "2022-06-05T17:17:32.000Z",
            {},
        ),
    ],
)
def test_each_kind_of_event_is_mapped(body: Any, type_: str, time: str, data: dict[str, Any]) -> None:
    """Seven decimals are cut to three."""
    (event,) = events_of("postmark", body)
    assert told(event) == (
        type_,
        "email:recipient@example.com",
        time,
        {"message_id": MESSAGE, "campaign_id": "welcome-email", **data},
    )


def test_sending_that_is_no_longer_suppressed_is_a_subscription() -> None:
    """The same record tells of both."""
    (event,) = events_of("postmark", {**CHANGED, "SuppressSending": False, "SuppressionReason": None})
    assert (event["type"], event["data"]) == ("email.subscribed", {"message_id": MESSAGE})


@pytest.mark.parametrize(
    "body",
    [
        {**CHANGED, "SuppressSending": True, "SuppressionReason": "HardBounce"},
        {**CHANGED, "SuppressSending": True, "SuppressionReason": "SpamComplaint"},
        {**BOUNCED, "RecordType": "Bounce", "Type": "Transient"},
        {**BOUNCED, "RecordType": "Bounce", "Type": "SpamNotification"},
        {"FromFull": {"Email": "a@b.example"}, "MessageID": "1"},
    ],
)
def test_what_says_nothing_for_scoring_is_passed_over(body: Any) -> None:
    """A suppression after a bounce has a record of the bounce beside it."""
    made = made_of("postmark", body)
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 1)


def test_an_event_without_an_id_has_a_stable_one() -> None:
    """Only bounces and complaints have one of Postmark's."""
    opened = {**SEEN, "RecordType": "Open", "ReceivedAt": "2016-04-27T16:21:41.2493688-04:00"}
    again, other = dict(reversed(opened.items())), {**opened, "ReceivedAt": "2016-04-27T16:21:42-04:00"}
    ids = [events_of("postmark", body)[0]["id"] for body in (opened, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert (
        events_of("postmark", {**BOUNCED, "RecordType": "Bounce"} | {"Type": "HardBounce"})[0]["id"]
        == "901542550:email.bounced"
    )
