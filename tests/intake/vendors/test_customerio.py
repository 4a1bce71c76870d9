"""Customer.io: shapes as in rudder-transformer's tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

ID = "01E4C8BES5XT87ZWRJFTB35YJ3"
DATA = {
    "broadcast_id": 9,
    "customer_id": "0200102",
    "identifiers": {"id": "0200102"},
    "delivery_id": "RPILAgABcRhIBqSp7kiPekGBIeVh",
    "recipient": "Test@example.com",
}


def one(metric: str, object_type: str = "email", **more: Any) -> dict[str, Any]:
    """Return a request."""
    return {"event_id": ID, "object_type": object_type, "metric": metric, "timestamp": 1585254348, "data": {**DATA, **more}}


@pytest.mark.parametrize(
    ("body", "type_", "data"),
    [
        (one("delivered"), "email.delivered", {}),
        (one("opened"), "email.opened", {}),
        (one("opened", proxied=True), "email.opened", {"machine": True}),
        (one("clicked", href="http://google.com", link_id=1), "email.clicked", {"url": "http://google.com"}),
        (one("bounced", failure_message="550 5.5.0"), "email.bounced", {}),
        (one("spammed"), "email.complained", {}),
        (one("unsubscribed", "customer"), "email.unsubscribed", {}),
    ],
)
def test_each_kind_of_event_is_mapped_and_links_the_address(body: Any, type_: str, data: dict[str, Any]) -> None:
    """The id is the subject, and `profile.updated {email}` alone links it to the address."""
    event, link = events_of("customerio", body)
    place = ("0200102", "2020-03-26T20:25:48.000Z")
    assert told(event) == (type_, *place, {"message_id": DATA["delivery_id"], "campaign_id": "9", **data})
    assert told(link) == ("profile.updated", *place, {"traits": {"email": "Test@example.com"}})
    assert [event["id"], link["id"]] == [f"{ID}:{type_}", f"{ID}:profile.updated"]


@pytest.mark.parametrize("ids", [{"customer_id": None, "identifiers": {}}, {"identifiers": {"id": "test@example.com"}}])
def test_a_person_known_by_the_address_is_its_lead(ids: dict[str, Any]) -> None:
    """Also where the workspace uses the address for an id."""
    (event,) = events_of("customerio", one("opened", **ids))
    assert event["subject"] == "email:test@example.com"


def test_a_subscription_has_no_campaign() -> None:
    """Its address stands in another field."""
    body = {**one("subscribed", "customer"), "data": {"customer_id": "7", "email_address": "test@example.com"}}
    event, link = events_of("customerio", body)
    assert (event["type"], event["data"], link["data"]) == ("email.subscribed", {}, {"traits": {"email": "test@example.com"}})


@pytest.mark.parametrize("body", [one("drafted"), one("sent"), one("sent", "sms"), one("dropped"), {}, {"data": []}])
def test_what_says_nothing_for_scoring_is_passed_over(body: Any) -> None:
    """Other channels, too."""
    made = made_of("customerio", body)
    assert (made.events, made.refused, made.passed_over.total()) == ([], [], 1)


def test_a_time_that_is_none_is_refused() -> None:
    """With the reason."""
    assert made_of("customerio", {**one("opened"), "timestamp": "abc"}).refused == ["email opened: no time that can be read"]
