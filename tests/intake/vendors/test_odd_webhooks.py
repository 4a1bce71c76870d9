"""Webinars, forms and CRMs: any bytes, any odd value, in webhooks and in answers to look-ups."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.inbound import RECEIVED_MS, source_of
from tests.kit.lookups import TARGETS, connected
from tests.kit.odd_webhooks import ODD, changed, judge, places
from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Unmapped
from worker.intake.vendors.registry import mapped

AT: Final = "2026-01-01T10:00:00.123456Z"
STAGES: Final = {"won": "crm.won", "lost": "crm.lost", "5": "crm.opportunity"}
WEBHOOKS: Final[dict[str, list[Any]]] = {
    "zoom": [
        {
            "event": "webinar.registration_created",
            "event_ts": 1626230691572,
            "payload": {
                "object": {
                    "id": 93398114182,
                    "registrant": {
                        "id": "R",
                        "email": "a@b.example",
                        "job_title": "CTO",
                        "no_of_employees": "51-100",
                        "status": "approved",
                    },
                }
            },
        },
        {
            "event": "webinar.ended",
            "event_ts": 1626230691572,
            "payload": {"object": {"id": "9", "uuid": "/a//b", "start_time": AT, "end_time": AT, "duration": 60}},
        },
    ],
    "livestorm": [
        {
            "data": {
                "type": "people",
                "attributes": {
                    "email": "a@b.example",
                    "created_at": 1720628000,
                    "updated_at": 1720629999,
                    "registrant_detail": {
                        "event_id": "e",
                        "session_id": "s",
                        "created_at": 1720628000,
                        "attended": attended,
                        "attendance_rate": 50,
                        "attendance_duration": 60,
                        "fields": [{"id": "job_title", "value": "CTO"}],
                    },
                },
            },
            "meta": {"webhook": {"event": "people.attended" if attended else "people.registered"}},
        }
        for attended in (True, False)
    ],
    "goto": [
        {
            "eventName": "registrant.added",
            "eventKey": "k",
            "email": "a@b.example",
            "status": "Approved",
            "webinarKey": 8471289347212345678,
            "registrantKey": 5671289347212345678,
            "registrationDate": AT,
            "timestamp": AT,
            "numberOfEmployees": "1,001-5,000",
        },
        {
            "eventName": "registrant.joined",
            "webinarKey": 1,
            "sessionKey": 2,
            "webinarCreatorKey": 3,
            "joinTime": 1767261600000,
            "recurrenceType": "single_session",
        },
    ],
    "typeform": [
        {
            "event_type": "form_response",
            "form_response": {
                "form_id": "f",
                "token": "t",
                "submitted_at": AT,
                "hidden": {"email": "c@d.example"},
                "answers": [
                    {"type": "email", "email": "a@b.example", "field": {"id": "1", "ref": "mail"}},
                    {"type": "choices", "choices": {"labels": ["a"], "other": "b"}, "field": {"id": "2"}},
                    {"type": "choice", "choice": {"label": "a"}, "field": {"id": "3"}},
                ],
            },
        }
    ],
    "calendly": [
        {
            "event": "invitee.created",
            "created_at": AT,
            "payload": {
                "uri": "https://x/invitees/1",
                "email": "a@b.example",
                "created_at": AT,
                "old_invitee": None,
                "questions_and_answers": [{"question": "q", "answer": "a"}],
                "scheduled_event": {"event_type": "https://x/t"},
            },
        },
        {
            "event": "invitee_no_show.created",
            "created_at": AT,
            "payload": {"uri": "https://x/1", "email": "a@b.example", "no_show": {"uri": "u", "created_at": AT}},
        },
        {
            "event": "routing_form_submission.created",
            "created_at": AT,
            "payload": {
                "uri": "https://x/1",
                "routing_form": "https://x/f",
                "questions_and_answers": [{"question": "q", "answer": "a@b.example"}],
            },
        },
    ],
    "hubspot": [
        [
            {
                "eventId": 1,
                "subscriptionId": 2,
                "appId": 3,
                "occurredAt": 1462216307945,
                "subscriptionType": kind,
                "objectTypeId": "0-1",
                "objectId": 123,
                "propertyName": name,
                "propertyValue": "5",
                "sourceId": "9",
            }
        ]
        for kind, name in (
            ("contact.propertyChange", "numemployees"),
            ("object.creation", ""),
            ("deal.propertyChange", "dealstage"),
            ("contact.privacyDeletion", ""),
        )
    ],
    "pipedrive": [
        {
            "meta": {"action": "change", "entity": "person", "entity_id": "12", "correlation_id": "c", "timestamp": AT},
            "data": {
                "id": 12,
                "job_title": "CTO",
                "emails": [{"value": "a@b.example", "primary": True}],
                "custom_fields": {"h": 1},
            },
            "previous": {"job_title": "x", "custom_fields": {"h": 2}},
        },
        {
            "meta": {"action": "change", "entity": "deal", "timestamp": 1727447128, "change_source": "api"},
            "data": {
                "id": 1,
                "status": "won",
                "stage_id": 5,
                "value": 10.5,
                "owner_id": 1,
                "person_id": 12,
                "lost_reason": "x",
            },
            "previous": {"status": "open"},
        },
        {"meta": {"action": "delete", "entity": "person", "entity_id": "12", "timestamp": AT}, "data": None, "previous": {}},
    ],
    "zoho": [
        {
            "server_time": 1718115953625,
            "affected_values": [{"record_id": "1", "values": values}],
            "module": module,
            "ids": ["1", "2"],
            "affected_fields": [{"1": ["Email"]}],
            "operation": operation,
        }
        for module, operation, values in (
            ("Leads", "update", {"Email": "a@b.example", "No_of_Employees": 80, "Lead_Status": "lost"}),
            ("Deals", "update", {"Stage": "won"}),
            ("Contacts", "delete", {}),
        )
    ],
    "salesforce": [
        {
            "type": "Lead",
            "Id": "00Q",
            "Email": "a@b.example",
            "LastModifiedDate": AT,
            "Status": "lost",
            "NumberOfEmployees": 80,
        },
        {"attributes": {"type": "Opportunity"}, "Id": "0065w000023STAmAAO", "StageName": "won", "Amount": 1, "OwnerId": "5"},
        {"type": "Opportunity", "Id": "6", "StageName": "won", "ContactId": "3", "LastStageChangeDate": AT},
        {"type": "Contact", "Id": "3", "IsDeleted": True},
    ],
    "activecampaign": [
        {
            "type": kind,
            "date_time": AT,
            "initiated_from": "public",
            "list": "4",
            "contact": {"id": "3", "email": "a@b.example", "first_name": "A"},
            "deal": {
                "id": "1",
                "stageid": "5",
                "status": "1",
                "value": "1,000.00",
                "contactid": "3",
                "contact_email": "a@b.example",
            },
            "campaign": {"id": "7", "message": {"id": "9"}},
            "link": {"url": "a"},
        }
        for kind in ("update", "subscribe", "click", "deal_add")
    ],
}
"""Webhooks with a field of each kind that a map reads. Other tests show what they are mapped to."""

ANSWERS: Final[dict[str, list[tuple[dict[str, str], Any]]]] = {
    "zoom": [
        (
            {"uuid": "u", "webinar": "9", "end_ms": "1767261600000", "length_s": "3600.0", "ask": ask, "sums": '{"#R":[1,2]}'},
            {
                "next_page_token": "",
                name: [{"id": "R", "user_email": "a@b.example", "email": "c@d.example", "duration": 60, "leave_time": AT}],
            },
        )
        for ask, name in (("report", "participants"), ("absentees", "registrants"), ("registrants", "registrants"))
    ],
    "goto": [
        (
            {"organizer": "1", "webinar": "2", "session": "3", "single": "yes", "ask": ask, "length_s": "60", "came": "[]"},
            held,
        )
        for ask, held in (
            ("sessions", {"_embedded": {"sessionInfoResources": [{"sessionKey": "3", "startTime": AT, "endTime": AT}]}}),
            ("attendees", [{"email": "a@b.example", "attendanceTimeInSeconds": 60, "attendance": [{"leaveTime": AT}]}]),
            ("registrants", [{"email": "a@b.example", "status": "APPROVED"}]),
        )
    ],
    "hubspot": [
        (
            {"ask": ask, "object": "1", "id": "i", "at_ms": "1462216307945", "type": "crm.lost"},
            {
                "properties": {"email": "a@b.example", "amount": "10", "hubspot_owner_id": "1", "closed_lost_reason": "x"},
                "associations": {"contacts": {"results": [{"id": "2"}, {"id": "3"}]}},
            },
        )
        for ask in ("contact", "deal")
    ],
    "zoho": [
        (
            {"ask": module, "object": "1", "id": "i", "at_ms": "1462216307945"},
            {
                "data": [
                    {"Email": "a@b.example", "Stage": "lost", "Amount": 1, "Contact_Name": {"id": "2"}, "Owner": {"id": "3"}},
                ]
            },
        )
        for module in ("Leads", "Deals")
    ],
    "salesforce": [
        (
            {"ask": "roles", "type": "crm.won", "id": "i", "at_ms": "1462216307945", "amount": "1.5", "owner": "o"},
            {"records": [{"ContactId": "1"}, {"ContactId": "2"}]},
        )
    ],
}
"""Answers to look-ups, each with what was asked."""

FORM: Final = urlencode({"type": "update", "date_time": AT, "contact[id]": "3", "contact[fields][x]": "y"}).encode()
MESSAGE: Final = (
    b'<?xml version="1.0"?><e:Envelope xmlns:e="e" xmlns:x="x"><e:Body><notifications><Notification><Id>04l</Id>'
    b'<sObject x:type="sf:Lead"><sf:Id xmlns:sf="s">00Q</sf:Id><sf:Email xmlns:sf="s">a@b.example</sf:Email></sObject>'
    b"</Notification></notifications></e:Body></e:Envelope>"
)


def _source(vendor: str) -> Source:
    settings: dict[str, Any] = {"erase": True, "traits": {"seniority": "x.y", "role2": "keys(@) | [0]"}}
    if vendor in ("hubspot", "pipedrive", "zoho", "salesforce", "activecampaign"):
        settings["stages"] = STAGES
    return connected(vendor, **settings)[0] if vendor in TARGETS else source_of(vendor, **settings)


def _judge(vendor: str, body: bytes, about: dict[str, str] | None = None, source: Source | None = None) -> int:
    kind: Any = "webhook" if about is None else "lookup"
    inbound = Inbound("in", vendor, RECEIVED_MS, body, kind=kind, about=about or {})
    return judge(inbound, source or _source(vendor))


@pytest.mark.parametrize("vendor", WEBHOOKS)
def test_a_sample_gives_events_or_questions(vendor: str) -> None:
    """Else the tests below would show nothing."""
    for sample in WEBHOOKS[vendor]:
        assert _judge(vendor, msgspec.json.encode(sample)), sample
    for about, sample in ANSWERS.get(vendor, []):
        assert _judge(vendor, msgspec.json.encode(sample), about), about
    assert _judge("activecampaign", FORM)
    assert _judge("salesforce", MESSAGE)


@pytest.mark.parametrize("vendor", WEBHOOKS)
def test_an_odd_value_anywhere_gives_events_or_a_reason(vendor: str) -> None:
    """Every place of every sample, with every odd value."""
    source = _source(vendor)
    for sample in WEBHOOKS[vendor]:
        for path in places(sample):
            for value in ODD:
                _judge(vendor, msgspec.json.encode(changed(sample, path, value)), source=source)


@pytest.mark.parametrize("vendor", ANSWERS)
def test_an_odd_answer_gives_events_or_a_reason(vendor: str) -> None:
    """What was asked may be odd too: a version before this one may have asked."""
    source = _source(vendor)
    for about, sample in ANSWERS[vendor]:
        for path in places(sample):
            for value in ODD:
                _judge(vendor, msgspec.json.encode(changed(sample, path, value)), about, source)
        for name in about:
            for value in ODD:
                if isinstance(value, str):
                    _judge(vendor, msgspec.json.encode(sample), {**about, name: value}, source)
            _judge(vendor, msgspec.json.encode(sample), {key: word for key, word in about.items() if key != name}, source)


@pytest.mark.parametrize(("vendor", "body"), [("activecampaign", FORM), ("salesforce", MESSAGE)])
def test_a_form_or_a_message_that_was_cut_gives_events_or_a_reason(vendor: str, body: bytes) -> None:
    """At any byte, and with any byte lost."""
    source = _source(vendor)
    for end in range(len(body)):
        _judge(vendor, body[:end], source=source)
        _judge(vendor, body[:end] + body[end + 1 :], source=source)


@given(st.sampled_from(sorted(WEBHOOKS)), st.binary(max_size=200), st.booleans())
def test_any_bytes_give_events_or_a_reason(vendor: str, body: bytes, lookup: bool) -> None:
    """Nothing else is raised."""
    _judge(vendor, body, {} if lookup else None)


@pytest.mark.parametrize("vendor", WEBHOOKS)
def test_deep_and_long_bodies_give_events_or_a_reason(vendor: str) -> None:
    """Brackets without end, and a body of a megabyte."""
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"<a>" * 100_000, b"&" * 1_000_000, b"a=" * 500_000):
        _judge(vendor, body)


@pytest.mark.parametrize("vendor", ANSWERS)
def test_a_question_that_was_given_up_is_a_dead_letter_with_the_reason(vendor: str) -> None:
    """Whatever was asked. Nothing more is asked then."""
    body = msgspec.json.encode({"message": "given up: the API answers 503"})
    for about, _ in ANSWERS[vendor]:
        with pytest.raises(Unmapped, match="the API answers 503"):
            mapped(Inbound("in", vendor, RECEIVED_MS, body, kind="lookup", about=about), _source(vendor))
