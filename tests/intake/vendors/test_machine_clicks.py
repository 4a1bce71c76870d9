"""Clicks that no person made, by what else is known of the message."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, source_of
from worker.errors import ConnectionsError
from worker.intake.vendors.common import NewEvent
from worker.intake.vendors.machine_clicks import AGENT, SEVERAL, SOON, TRAPPED, Trace, decode_trace, encode_trace, judged

SENT_S = 1_700_000_000
ASKED = {"machines": {"click_after_delivery": "10s", "links_within": "2s"}}


def one(event: str, at_s: int, url: str | None = None, email: str = "a@b.example") -> dict[str, Any]:
    """Return an event of SendGrid's."""
    id_ = f"{event}{at_s}{url}{email}"
    return {"event": event, "email": email, "timestamp": SENT_S + at_s, "sg_event_id": id_, "sg_message_id": "m.f", "url": url}


def machines(body: list[dict[str, Any]], **settings: Any) -> list[bool]:
    """Return for each click whether it is a machine's, in order of the body."""
    found = events_of("sendgrid", body, **settings)
    return ["machine" in event["data"] for event in found if event["type"] == "email.clicked"]


@pytest.mark.parametrize(("after_s", "machine"), [(-3, True), (0, True), (9, True), (10, False), (3_600, False)])
def test_a_click_soon_after_the_delivery_is_a_scanner_s(after_s: int, machine: bool) -> None:
    """So is one before it: the scanner has the mail first."""
    body = [one("click", after_s, "a"), one("delivered", 0)]
    assert machines(body, **ASKED) == [machine]
    assert machines(body) == [False]
    assert machines(body, machines={"links_within": "2s"}) == [False]
    assert made_of("sendgrid", body, **ASKED).machines == ({SOON: 1} if machine else {})


def test_clicks_on_several_links_at_once_are_a_scanner_s() -> None:
    """Both of them. Twice on one link is a person with a nervous hand."""
    body = [one("click", 100, "a"), one("click", 102, "b"), one("click", 105, "c"), one("click", 106, "c")]
    assert machines(body, **ASKED) == [True, True, False, False]
    assert made_of("sendgrid", body, **ASKED).machines == {SEVERAL: 2}


@pytest.mark.parametrize("link", ["https://a.example/unseen", "https://a.example/unseen?utm_source=mail#top"])
def test_a_hidden_link_gives_a_scanner_away(link: str) -> None:
    """Its other clicks of that minute too, and none of another hour or to another person."""
    asked: dict[str, Any] = {"machines": {"hidden_links": ["https://a.example/unseen"]}}
    body = [one("click", 60, "a"), one("click", 100, link), one("click", 160, "b"), one("click", 161, "c")]
    body.append(one("click", 100, "a", email="c@d.example"))
    assert machines(body, **asked) == [True, True, True, False, False]
    assert made_of("sendgrid", body, **asked).machines == {TRAPPED: 3}
    assert machines(body) == [False] * 5


@pytest.mark.parametrize("link", ["/unseen", "https://a.example", "https://a.example/x?y=1", "mailto:a@b.example", ""])
def test_a_hidden_link_that_fits_no_click_is_a_mistake(link: str) -> None:
    """It would guess nothing, without a word."""
    with pytest.raises(ConnectionsError, match="is no link"):
        source_of("sendgrid", machines={"hidden_links": [link]})


def test_robots_by_their_user_agent_are_counted() -> None:
    """As every guess is. What the vendor flags is no guess."""
    asked: dict[str, Any] = {"machines": {"user_agents": True}}
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    body = [one("click", 60, "a") | {"useragent": "LinkScanner (bot)"}, one("click", 61, "b") | {"useragent": firefox}]
    assert machines(body, **asked) == [True, False]
    assert made_of("sendgrid", body, **asked).machines == {AGENT: 1}


def test_another_person_s_clicks_say_nothing() -> None:
    """A message goes to many."""
    body = [one("click", 100, "a"), one("click", 100, "b", email="c@d.example")]
    assert machines(body, **ASKED) == [False, False]


def test_the_order_within_a_request_does_not_matter() -> None:
    """A vendor sends a batch in no order."""
    body = [one("delivered", 0), one("click", 3, "a"), one("click", 50, "b"), one("click", 51, "c"), one("click", 99, "d")]
    for order in itertools.permutations(body):
        flags = {
            event["data"]["url"]: "machine" in event["data"]
            for event in events_of("sendgrid", list(order), **ASKED)[:]
            if event["type"] == "email.clicked"
        }
        assert flags == {"a": True, "b": True, "c": True, "d": False}


def test_traces_tell_of_earlier_requests() -> None:
    """They survive being written down; the same click again is not a second one."""
    source = source_of("mailgun", **ASKED)

    def event(type_: str, at_ms: int, url: str = "") -> NewEvent:
        return NewEvent(type_, "email:a@b.example", f"{type_}{at_ms}{url}", at_ms, {"message_id": "m", "url": url})

    traces: dict[str, Trace] = {}
    judged("in", source, [event("email.delivered", 1_000)], traces)
    traces = {key: decode_trace(encode_trace(trace)) for key, trace in traces.items()}
    soon = judged("in", source, [event("email.clicked", 5_000, "a")], traces)
    again = judged("in", source, [event("email.clicked", 5_000, "a")], traces)
    late = judged("in", source, [event("email.clicked", 60_000, "a"), event("email.opened", 60_000)], traces)
    assert [found[0].data.get("machine") for found, _ in (soon, again, late)] == [True, True, None]
    assert len(traces) == 1
    assert judged("other", source, [event("email.clicked", 5_000, "a")], traces)[1] == {}


@pytest.mark.parametrize("held", [b"", b"\xff", b"\x91\xa1a", b"\x92\xc0\x91\x92\xa1\xff\x01"])
def test_other_bytes_are_an_empty_trace(held: bytes) -> None:
    """A guess that cannot be made must not stop the mapper."""
    assert decode_trace(held) == Trace()
