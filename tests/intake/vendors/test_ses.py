"""Amazon SES by SNS: both forms of its messages, as in Amazon's guide and as seen by django-anymail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

MESSAGE = "7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000"
SNS_ID = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
MAIL = {
    "timestamp": "2016-10-14T05:02:16.645Z",
    "messageId": MESSAGE,
    "destination": ["recipient@example.com"],
    "tags": {"ses:configuration-set": ["ConfigSet"], "campaign": ["spring"]},
}
SEVERAL = {**MAIL, "destination": ["jane@example.com", "Mary <mary@example.com>"]}
AT = {"timestamp": "2017-08-09T22:00:19.652Z"}
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 10_3_3 like Mac OS X)..."


def sns(message: Any, **more: Any) -> dict[str, Any]:
    """Return a message of SES in SNS's envelope."""
    return {
        "Type": "Notification",
        "MessageId": SNS_ID,
        "TopicArn": "arn:aws:sns:eu-west-1:1:mail",
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "Message": message if isinstance(message, str) else json.dumps(message),
        **more,
    }


@pytest.mark.parametrize(
    ("message", "type_", "data"),
    [
        ({"eventType": "Open", "mail": MAIL, "open": {**AT, "userAgent": AGENT}}, "email.opened", {}),
        (
            {"eventType": "Click", "mail": MAIL, "click": {**AT, "link": "https://x.example/a", "userAgent": AGENT}},
            "email.clicked",
            {"url": "https://x.example/a"},
        ),
        (
            {"notificationType": "Delivery", "mail": SEVERAL, "delivery": {**AT, "recipients": ["recipient@example.com"]}},
            "email.delivered",
            {},
        ),
        (
            {
                "notificationType": "Bounce",
                "mail": SEVERAL,
                "bounce": {**AT, "bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "recipient@example.com"}]},
            },
            "email.bounced",
            {},
        ),
        (
            {
                "eventType": "Complaint",
                "mail": SEVERAL,
                "complaint": {**AT, "complainedRecipients": [{"emailAddress": "recipient@example.com"}]},
            },
            "email.complained",
            {},
        ),
        (
            {
                "eventType": "Subscription",
                "mail": MAIL,
                "subscription": {**AT, "contactList": "news", "newTopicPreferences": {"unsubscribeAll": True}},
            },
            "email.unsubscribed",
            {},
        ),
    ],
)
def test_each_kind_of_event_is_mapped(message: Any, type_: str, data: dict[str, Any]) -> None:
    """The time is that of what happened, not of SNS."""
    (event,) = events_of("ses", sns(message))
    expected = {"message_id": MESSAGE, "campaign_id": "spring", **data}
    assert told(event) == (type_, "email:recipient@example.com", "2017-08-09T22:00:19.652Z", expected)
    assert event["id"] == f"{SNS_ID}:{type_}"


def test_a_bounce_of_several_is_one_event_for_each() -> None:
    """SNS has one id for all of them."""
    bounced = [{"emailAddress": "jane@example.com"}, {"emailAddress": "richard@example.com"}]
    message = {
        "notificationType": "Bounce",
        "mail": SEVERAL,
        "bounce": {"bounceType": "Permanent", "bouncedRecipients": bounced},
    }
    found = events_of("ses", sns(message))
    assert [one["subject"] for one in found] == ["email:jane@example.com", "email:richard@example.com"]
    assert len({one["id"] for one in found}) == 2
    assert found[0]["time"] == "2012-05-02T00:54:06.655Z"


def test_an_open_by_one_of_several_is_nobody_s() -> None:
    """SES does not say who opened it."""
    made = made_of("ses", sns({"eventType": "Open", "mail": SEVERAL, "open": AT}))
    assert (made.events, made.refused, dict(made.passed_over)) == ([], [], {"Open of several recipients": 1})


@pytest.mark.parametrize(
    "body",
    [
        sns({"eventType": "Send", "mail": MAIL, "send": {}}),
        sns({"eventType": "Rendering Failure", "mail": MAIL, "failure": {"templateName": "x"}}),
        sns({"notificationType": "Bounce", "mail": MAIL, "bounce": {"bounceType": "Transient"}}),
        sns({"eventType": "Subscription", "mail": MAIL, "subscription": {"newTopicPreferences": {"unsubscribeAll": False}}}),
        sns("Successfully validated SNS topic for Amazon SES event publishing."),
        sns(
            "x", Type="SubscriptionConfirmation", SubscribeURL="https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
        ),
    ],
)
def test_what_says_nothing_for_scoring_is_passed_over(body: Any) -> None:
    """So is what SNS says of itself."""
    made = made_of("ses", body)
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 1)
