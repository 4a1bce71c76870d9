"""SendGrid: shapes as in Twilio's reference and as seen by django-anymail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

MESSAGE = "wrfRRvF7Q0GgwUo2CvDmEA"
SENT = {
    "email": "Recipient@Example.com",
    "timestamp": 1461095250,
    "smtp-id": "<wrfRRvF7Q0GgwUo2CvDmEA@ismtpd0006p1sjc2.sendgrid.net>",
    "sg_event_id": "nOSv8m0eTQ-vxvwNwt3fZQ",
    "sg_message_id": f"{MESSAGE}.filter0425p1mdw1.13037.57168B4A1D.0",
    "category": ["spring", "tag2"],
}
TOLD = ("email:recipient@example.com", "2016-04-19T19:47:30.000Z")


def one(event: str, **more: Any) -> list[dict[str, Any]]:
    """Return a request with one event."""
    return [{**SENT, "event": event, **more}]


@pytest.mark.parametrize(
    ("body", "type_", "data"),
    [
        (one("delivered", ip="167.89.17.173", tls=1, response="250 2.0.0 OK"), "email.delivered", {}),
        (one("open", useragent="Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0"), "email.opened", {}),
        (one("open", sg_machine_open=True), "email.opened", {"machine": True}),
        (one("open", sg_machine_open="true"), "email.opened", {"machine": True}),
        (one("open", sg_machine_open=False), "email.opened", {}),
        (
            one("click", url="http://www.example.com", url_offset={"index": 0}),
            "email.clicked",
            {"url": "http://www.example.com"},
        ),
        (one("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 no account"), "email.bounced", {}),
        (one("dropped", reason="Bounced Address", status="5.0.0"), "email.bounced", {}),
        (one("dropped", reason="Invalid"), "email.bounced", {}),
        (one("spamreport"), "email.complained", {}),
        (one("unsubscribe"), "email.unsubscribed", {}),
    ],
)
def test_each_kind_of_event_is_mapped(body: Any, type_: str, data: dict[str, Any]) -> None:
    """The person by the address in lower case, the message by the part before the first dot."""
    (event,) = events_of("sendgrid", body)
    assert told(event) == (type_, *TOLD, {"message_id": MESSAGE, "campaign_id": "spring", **data})
    assert event["id"] == f"nOSv8m0eTQ-vxvwNwt3fZQ:{type_}"


def test_what_says_nothing_for_scoring_is_passed_over() -> None:
    """A block is the server's no to one message; a group is one list of many."""
    body = [
        *one("processed"),
        *one("deferred", attempt="1"),
        *one("bounce", type="blocked"),
        *one("dropped", reason="Unsubscribed Address"),
        *one("group_unsubscribe", asm_group_id=7),
    ]
    made = made_of("sendgrid", body)
    assert (made.events, made.refused) == ([], [])
    assert made.passed_over == {"processed": 1, "deferred": 1, "bounce": 1, "dropped": 1, "group_unsubscribe": 1}


def test_groups_are_mapped_where_the_source_says_so() -> None:
    """A subscription needs no message."""
    body = one("group_unsubscribe") + one("group_resubscribe", sg_event_id="b")
    assert [event["type"] for event in events_of("sendgrid", body, groups="unsubscribe")] == [
        "email.unsubscribed",
        "email.subscribed",
    ]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "14c5d75ce93"),
        ("filter0093p1las1.9128.5717FB8127.0", "filter0093p1las1.9128.5717FB8127.0"),
        (None, SENT["smtp-id"]),
    ],
)
def test_a_message_is_not_named_by_a_server(written: str | None, message: str) -> None:
    """A dropped message has an id without a part of its own: all that one server dropped would be one message."""
    (event,) = events_of("sendgrid", one("delivered", sg_message_id=written))
    assert event["data"]["message_id"] == message


def test_one_odd_event_does_not_lose_the_others() -> None:
    """What has no address or time is refused, with the reason."""
    body = one("open", email=None) + one("open", timestamp="soon") + one("open")
    made = made_of("sendgrid", body)
    assert len(made.events) == 1
    assert made.refused == ["open: no address of a person", "open: no time that can be read"]


def test_custom_arguments_do_not_change_the_kind() -> None:
    """They are merged into the event, with any names and kinds of value."""
    body = one("open", category={"a": 1}, singlesend_id=["x"], url="http://custom.example", useragent=7)
    (event,) = events_of("sendgrid", body)
    assert event["data"] == {"message_id": MESSAGE}
    (event,) = events_of("sendgrid", one("click", sg_machine_open=True))
    assert "machine" not in event["data"]


def test_without_an_id_of_its_own_an_event_has_a_stable_one() -> None:
    """The same event again, the same id; another link, another id."""
    bare = {**SENT, "sg_event_id": None}
    ids = [events_of("sendgrid", [{**bare, "event": "click", "url": url}])[0]["id"] for url in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


def test_a_robot_s_click_is_a_machine_s_where_the_source_asks() -> None:
    """By its user agent. Off unless asked for."""
    body = one("click", useragent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
    asked = events_of("sendgrid", body, machines={"user_agents": True})
    assert ("machine" in events_of("sendgrid", body)[0]["data"], asked[0]["data"]["machine"]) == (False, True)
