"""What holds for every map, whatever comes: no exception but `Unmapped`, stable ids, events that the worker accepts."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.inbound import form, inbound_of, source_of
from tests.kit.odd_webhooks import changed, places
from worker.connections.sources import Source
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.intake.vendors.common import Unmapped, cloud_event
from worker.intake.vendors.registry import MAPS, mapped

ADDRESS: Final = "Ada@Acme.Example"
SAMPLES: Final[dict[str, list[Any]]] = {
    "sendgrid": [
        [
            {
                "email": ADDRESS,
                "timestamp": 1461095250,
                "sg_event_id": "e",
                "sg_message_id": "m.f",
                "event": "open",
                "category": ["a"],
            }
        ]
    ],
    "brevo": [
        {"event": "click", "email": ADDRESS, "ts_epoch": 1520363423999, "message-id": "<m>", "tag": '["t"]', "link": "a"},
        {"event": "contact_deleted", "email": [ADDRESS], "ts": 1604937111},
    ],
    "mailgun": [
        {
            "signature": {"token": "t"},
            "event-data": {
                "event": "opened",
                "timestamp": 1534108637.153999,
                "recipient": ADDRESS,
                "tags": ["a"],
                "message": {"headers": {"message-id": "m"}},
                "client-info": {"bot": "apple", "user-agent": "curl/8"},
            },
        }
    ],
    "postmark": [
        {
            "RecordType": "Click",
            "MessageID": "m",
            "Recipient": ADDRESS,
            "ReceivedAt": "2016-04-27T16:21:41.2493688-04:00",
            "OriginalLink": "a",
            "Tag": "t",
        }
    ],
    "ses": [
        {
            "Type": "Notification",
            "MessageId": "s",
            "Timestamp": "2012-05-02T00:54:06.655Z",
            "Message": json.dumps(
                {
                    "eventType": "Bounce",
                    "mail": {"messageId": "m", "destination": [ADDRESS], "tags": {"campaign": ["c"]}},
                    "bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": ADDRESS}]},
                }
            ),
        }
    ],
    "customerio": [
        {
            "event_id": "e",
            "object_type": "email",
            "metric": "opened",
            "timestamp": 1585254348,
            "data": {
                "customer_id": "7",
                "identifiers": {"id": "7"},
                "delivery_id": "d",
                "recipient": ADDRESS,
                "campaign_id": 9,
            },
        }
    ],
    "resend": [
        {
            "type": "email.clicked",
            "created_at": "2023-09-28T17:20:38.990Z",
            "data": {"email_id": "m", "to": [ADDRESS], "click": {"link": "a", "userAgent": "curl/8"}},
        }
    ],
    "segment": [
        {
            "type": "page",
            "anonymousId": "v",
            "userId": "7",
            "messageId": "m",
            "timestamp": "2015-12-12T19:11:01.249Z",
            "context": {"page": {"url": "/a", "referrer": "b"}, "campaign": {"name": "c"}, "sessionId": 7},
        },
        {
            "batch": [
                {
                    "type": "identify",
                    "userId": "7",
                    "anonymousId": "v",
                    "traits": {"email": ADDRESS, "company": {"name": "Acme"}},
                },
                {"type": "track", "userId": "7", "event": "Demo Requested", "properties": {"form_id": 7}},
                {"type": "track", "userId": "7", "event": "Paid", "properties": {"amount": 7}},
                {"type": "group", "userId": "7", "traits": {"name": "Acme", "employees": 7}},
                {"type": "alias", "userId": "7", "previousId": "v"},
            ]
        },
    ],
    "yousign": [
        {
            "event_id": "e",
            "event_name": "signature_request.done",
            "event_time": "1740694692",
            "data": {"signature_request": {"id": "s", "external_id": "lead-42%3A7", "decline_information": {"reason": "r"}}},
        }
    ],
    "json": [
        {"rows": [{"type": "crm.won", "id": 7, "at": 1772714096.7899, "lead": 7, "email": ADDRESS, "data": {"amount": 3}}]}
    ],
    "mandrill": [
        [{"event": "click", "_id": "m", "ts": 1461095246, "url": "a", "msg": {"email": ADDRESS, "tags": ["t"], "_id": "m"}}]
    ],
    "mailchimp": [
        {
            "type": "subscribe",
            "fired_at": "2009-03-26 21:35:57",
            "data[id]": "8a25ff1d98",
            "data[list_id]": "l",
            "data[email]": ADDRESS,
            "data[merges][FNAME]": "Ada",
        }
    ],
}
"""A payload or more of each vendor, with a field of each kind that its map reads. Other tests show that they are mapped."""

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "segment": {"events": {"Paid": "crm.won"}},
    "yousign": {"events": {"signature_request.done": "crm.won"}},
    "json": {
        "map": {"each": "rows", "type": "type", "id": "id", "time": "at", "subject": "lead", "email": "email", "data": "data"},
        "traits": {"role": "data.role", "size": "length(data)"},
    },
}

ODD: Final[tuple[Any, ...]] = (
    None, True, "", " ", "@", "a@b", "x" * 20_000, "\x00", "1e999999999", "nan", "-1", "99999999999999", 0, -1, 0.1, 1e300,
    10**30, [], {}, [None], [[]], {"": None}, {"email": []}, "9999-12-31T23:59:59.9999999+00:00", "0001-01-01T00:00:00+23:59",
)  # fmt: skip


def body_of(vendor: str, sample: Any) -> bytes:
    """Return the body in the vendor's own format."""
    if vendor == "mandrill":
        return form(mandrill_events=json.dumps(sample))
    if vendor == "mailchimp":
        return form(**{name: str(value) for name, value in sample.items()}) if isinstance(sample, dict) else b""
    return json.dumps(sample).encode()


@cache
def source_for(vendor: str) -> Source:
    """Return a source that uses all that the vendor's map can do."""
    return source_of(vendor, erase=True, **SETTINGS.get(vendor, {}))


def judge(vendor: str, body: bytes) -> int:
    """Map *body* twice, by the vendor's map alone and by the registry; return how many events came of it."""
    source, inbound = source_for(vendor), inbound_of(vendor, body)
    try:
        MAPS[vendor](inbound, source)
        made, again = mapped(inbound, source), mapped(inbound, source)
    except Unmapped:
        return 0
    assert made == again
    sent = [cloud_event(new, "in") for new in made.events]
    for new, value in zip(made.events, sent, strict=True):
        held = decode(Record("t", 0, 0, None, None, value, ()))
        assert isinstance(held, Event)
        assert held.id.endswith(f":{new.type}")
        assert held.at_ms == new.at_ms
    assert len({json.loads(value)["id"] for value in sent}) == len(sent)
    return len(sent)


def test_every_map_of_this_page_has_a_sample() -> None:
    """A new vendor needs one."""
    assert set(SAMPLES) <= set(MAPS)


@pytest.mark.parametrize("vendor", SAMPLES)
def test_a_sample_gives_events(vendor: str) -> None:
    """Else the tests below would show nothing."""
    assert all(judge(vendor, body_of(vendor, sample)) for sample in SAMPLES[vendor])


@pytest.mark.parametrize("vendor", SAMPLES)
def test_an_odd_value_anywhere_gives_events_or_a_reason(vendor: str) -> None:
    """Every place of every sample, with every odd value."""
    for sample in SAMPLES[vendor]:
        for path in places(sample):
            for value in ODD:
                judge(vendor, body_of(vendor, changed(sample, path, value)))


@pytest.mark.parametrize("vendor", SAMPLES)
def test_a_body_that_was_cut_gives_events_or_a_reason(vendor: str) -> None:
    """At any byte."""
    for sample in SAMPLES[vendor]:
        body = body_of(vendor, sample)
        for end in range(len(body)):
            judge(vendor, body[:end])


@given(st.sampled_from(sorted(SAMPLES)), st.binary(max_size=200))
def test_any_bytes_give_events_or_a_reason(vendor: str, body: bytes) -> None:
    """Nothing else is raised."""
    judge(vendor, body)


@pytest.mark.parametrize("vendor", SAMPLES)
def test_deep_and_long_bodies_give_events_or_a_reason(vendor: str) -> None:
    """Brackets without end, a body of a megabyte, and many empty events."""
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"a" * 1_000_000, b"&" * 1_000_000, b"[" + b"{}," * 1_000 + b"{}]"):
        judge(vendor, body)
