"""Segment's protocol: messages as in the Segment Spec."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import RECEIVED_MS, events_of, made_of, told
from worker.intake.vendors.common import Unmapped
from worker.intake.vendors.segment import Caller, messages_of, of_messages

VISITOR = "507f191e810c19729de860ea"
USER = "97980cfea0067"
AT = "2015-12-12T19:11:01.249Z"
SENT = {
    "anonymousId": VISITOR,
    "messageId": "022bb90c-bbac-11e4-8dfc-aa07a5b093db",
    "originalTimestamp": "2015-12-12T19:11:01.152Z",
    "receivedAt": "2015-12-12T19:11:01.266Z",
    "sentAt": "2015-12-12T19:11:01.169Z",
    "timestamp": AT,
    "context": {
        "ip": "8.8.8.8",
        "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_5) AppleWebKit/537.36 Chrome/40.0.2214.115 Safari/537.36",
        "campaign": {"name": "spring", "source": "newsletter", "medium": "email", "term": "", "content": "image link"},
        "page": {"path": "/pricing", "url": "https://www.example.com/pricing", "referrer": "https://www.example.com/"},
    },
}
BROWSER = Caller(RECEIVED_MS)
SERVER = Caller(RECEIVED_MS, server=True)


def one(kind: str, **more: Any) -> dict[str, Any]:
    """Return a message."""
    return {**SENT, "type": kind, **more}


def test_a_page_is_a_view() -> None:
    """Of the visitor, with the campaign."""
    (event,) = events_of("segment", one("page", name="Pricing", properties={"title": "Pricing"}))
    data = {
        "url": "https://www.example.com/pricing",
        "referrer": "https://www.example.com/",
        "utm": {"campaign": "spring", "source": "newsletter", "medium": "email", "content": "image link"},
    }
    assert told(event) == ("page.viewed", f"visitor:{VISITOR}", AT, data)
    assert event["id"] == f"{SENT['messageId']}:page.viewed"


def test_a_track_is_named_by_the_map() -> None:
    """The source's map goes over ours. What was filled in is kept apart from our fields."""
    body = [
        one("track", userId=USER, event="Demo Requested", properties={"form_id": "f", "machine": True}),
        one("track", userId=USER, event="Deal Won", properties={"amount": 120.5}),
        one("track", userId=USER, event="Product Viewed"),
    ]
    first, second = events_of("segment", body, events={"Deal Won": "crm.won"})
    assert told(first) == ("demo.requested", USER, AT, {"form_id": "f", "fields": {"form_id": "f", "machine": True}})
    assert told(second) == ("crm.won", USER, AT, {"amount": 120.5})


def test_identify_gives_traits_and_links_the_visitor() -> None:
    """Reserved traits of the spec, and those that the source maps."""
    traits = {
        "email": "ada@acme.example",
        "title": "CTO",
        "firstName": "Ada",
        "plan": "trial",
        "company": {"name": "Acme", "employee_count": 80},
        "address": {"country": "FR"},
    }
    profile, link = events_of("segment", one("identify", userId=USER, traits=traits), traits={"plan": "plan"})
    held = {"email": "ada@acme.example", "role": "CTO", "first_name": "Ada", "country": "FR", "plan": "trial"}
    assert told(profile) == (
        "profile.updated",
        USER,
        AT,
        {"traits": {**held, "company.name": "Acme", "company.size": 80}},
    )
    assert told(link) == ("lead.identified", USER, AT, {"anonymous_id": f"visitor:{VISITOR}"})


def test_group_and_alias_are_mapped() -> None:
    """A group is the company; an alias, the visitor's id from before."""
    body = [
        one("group", userId=USER, groupId="g", traits={"name": "Acme", "industry": "SaaS", "employees": 329}),
        one("alias", userId=USER, previousId=VISITOR, anonymousId=None, messageId="2"),
    ]
    group, alias = events_of("segment", body)
    assert group["data"]["traits"] == {"company.name": "Acme", "company.industry": "SaaS", "company.size": 329}
    assert told(alias) == ("lead.identified", USER, AT, {"anonymous_id": f"visitor:{VISITOR}"})


def test_an_address_as_an_id_is_the_lead_of_that_address() -> None:
    """In lower case."""
    (event,) = events_of("segment", one("page", userId="Ada@Acme.example"))
    assert event["subject"] == "email:ada@acme.example"


@pytest.mark.parametrize("kind", ["page", "track", "identify", "group", "alias"])
def test_a_browser_never_names_a_known_lead(kind: str) -> None:
    """Whatever it says of itself, it is a visitor without traits."""
    said = one(kind, userId="lead-42", event="Demo Requested", previousId="lead-43", traits={"email": "ada@acme.example"})
    made = of_messages([said], BROWSER)
    assert {event.subject for event in made.events} <= {f"visitor:{VISITOR}"}
    assert not {event.type for event in made.events} & {"profile.updated", "lead.identified"}
    assert len(made.events) + made.passed_over.total() == 1


def test_a_browser_sends_its_own_types_alone() -> None:
    """And the types `custom.NAME` that its site lists."""
    caller = Caller(RECEIVED_MS, names={"Paid": "crm.won"}, custom=frozenset({"custom.calculator"}))
    said = [one("track", event=name) for name in ("Paid", "custom.calculator", "custom.other", "Demo Requested")]
    made = of_messages(said, caller)
    assert [event.type for event in made.events] == ["custom.calculator", "demo.requested"]
    assert dict(made.passed_over) == {"crm.won of a browser": 1, "custom.other": 1}


def test_a_token_s_lead_is_linked_and_given_no_traits() -> None:
    """The token says who it is. The visitor stays the subject of what it does."""
    caller = Caller(RECEIVED_MS, identified="lead-42")
    made = of_messages([one("identify", userId="lead-43", traits={"email": "x@y.example"}), one("page")], caller)
    assert [(event.type, event.subject) for event in made.events] == [
        ("lead.identified", "lead-42"),
        ("page.viewed", f"visitor:{VISITOR}"),
    ]


@pytest.mark.parametrize(
    ("agreed", "needs", "taken"),
    [
        ({"Advertising": True, "Analytics": False}, (), 0),
        ({"Advertising": True}, (), 1),
        ({}, (), 0),
        (None, (), 1),
        (None, ("Analytics",), 1),
        ({}, ("Analytics",), 0),
        ({"Advertising": False, "Analytics": True}, ("Analytics",), 1),
        ({"Advertising": True, "Analytics": True}, ("Analytics", "Profiling"), 0),
        ({"Advertising": True, "Analytics": "true"}, ("Analytics",), 0),
    ],
)
def test_consent_is_obeyed_where_it_is_told(agreed: dict[str, Any] | None, needs: tuple[str, ...], taken: int) -> None:
    """A no to anything is a no to scoring, unless the connections say which categories scoring needs.

    As in Segment's own table: without preferences a message flows, and empty ones agree to nothing.
    """
    context = {**SENT["context"], "consent": {"categoryPreferences": agreed}}  # type: ignore[dict-item]
    made = of_messages([one("page", context=context)], Caller(RECEIVED_MS, server=True, categories=needs))
    assert (len(made.events), made.passed_over["without consent"]) == (taken, 1 - taken)


def test_a_source_says_which_categories_it_needs() -> None:
    """The webhook destination obeys them too."""
    body = one("page", context={"consent": {"categoryPreferences": {"Ads": False, "Analytics": True}}})
    body["properties"] = {"url": "https://x.example/"}
    assert made_of("segment", body).events == []
    assert len(made_of("segment", body, consent_categories=["Analytics"]).events) == 1


def test_a_robot_is_passed_over() -> None:
    """By its user agent. A server's own program names known leads, and is none."""
    context = {**SENT["context"], "userAgent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}  # type: ignore[dict-item]
    assert dict(of_messages([one("page", context=context)], SERVER).passed_over) == {"robot": 1}
    assert len(of_messages([one("page", context=context, userId=USER)], SERVER).events) == 1


def test_a_message_is_never_lost_in_silence() -> None:
    """An event, a refusal or a count. An expression that fails takes no other message with it."""
    said = [one("identify", userId=USER, anonymousId=None), one("group", userId=USER), one("page")]
    made = of_messages(said, SERVER)
    assert len(made.events) == 1
    assert dict(made.passed_over) == {"identify without anything to tell": 1, "group without anything to tell": 1}
    caller = Caller(RECEIVED_MS, server=True, traits={"size": "length(size)"})
    made = of_messages([one("identify", userId=USER, traits={"size": 7}), one("page")], caller)
    assert ([event.type for event in made.events], len(made.refused)) == (["page.viewed"], 1)


@pytest.mark.parametrize(
    ("times", "at_ms"),
    [
        ({"timestamp": "2030-01-01T00:00:00Z", "sentAt": "2030-01-01T00:00:02.500Z"}, RECEIVED_MS - 2_500),
        ({"timestamp": "2030-01-01T00:00:09Z", "sentAt": "2030-01-01T00:00:00Z"}, RECEIVED_MS),
        ({"timestamp": "2030-01-01T00:00:00Z", "sentAt": None}, RECEIVED_MS),
        ({"timestamp": None, "originalTimestamp": None}, RECEIVED_MS),
        ({"timestamp": "1999-01-01T00:00:00Z", "sentAt": "2030-01-01T00:00:00Z"}, RECEIVED_MS - 978_307_200_000),
    ],
)
def test_a_wrong_clock_is_repaired(times: dict[str, Any], at_ms: int) -> None:
    """By the time between an event and its sending. No event is later than when it came."""
    made = of_messages([one("page", **times)], Caller(RECEIVED_MS, repair=True))
    assert [event.at_ms for event in made.events] == [at_ms]


def test_a_batch_shares_what_stands_beside_it() -> None:
    """Its messages' own values go first."""
    batch = {"batch": [{"type": "page"}, {"type": "track", "sentAt": "b"}], "sentAt": "a", "context": {"x": 1}}
    assert messages_of([batch]) == [
        {"type": "page", "sentAt": "a", "context": {"x": 1}},
        {"type": "track", "sentAt": "b", "context": {"x": 1}},
    ]


@pytest.mark.parametrize("body", [b"", b"1", b"[1]", b'{"batch": 1}', b'{"batch": [1]}'])
def test_another_body_is_unmapped(body: bytes) -> None:
    """An object, or several."""
    with pytest.raises(Unmapped):
        made_of("segment", body)


def test_what_names_nobody_is_refused() -> None:
    """With the reason."""
    made = made_of("segment", [one("page", anonymousId=None), one("page", context={}), {}, {"type": "screen"}])
    assert made.refused == ["page: neither anonymousId nor a userId that may be named", "page: no url"]
    assert dict(made.passed_over) == {"?": 1, "screen": 1}
