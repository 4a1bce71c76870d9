"""A person in webhooks: found wherever the person stands, and shown without other people."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.inbound import RECEIVED_MS, inbound_of, source_of
from tests.kit.vendor_cases import cases
from worker.connections.sources import VENDORS
from worker.intake.inbound import Inbound, encode_inbound
from worker.intake.person_names import Found, PersonNames, found_in, readable, without
from worker.intake.questions import Question, asks_about, without_person
from worker.intake.vendors.common import Unmapped, digest
from worker.intake.vendors.registry import mapped

ADA, BOB = "email:ada@acme.example", "email:bob@acme.example"
OF_ADA = PersonNames([ADA])


def event(email: str, number: int = 1) -> dict[str, Any]:
    """Return an event of SendGrid's."""
    return {"event": "open", "email": email, "timestamp": 1_790_000_000, "sg_event_id": f"e{number}", "sg_message_id": "m.1"}


def found(vendor: str, body: Any, names: PersonNames = OF_ADA, key: str = "", **fields: Any) -> Found | None:
    """Return what *names* find, and hold that the quick look does not miss it."""
    inbound = inbound_of(vendor, body, **fields)
    made = found_in(inbound, key, names, source_of(vendor))
    if made is not None and key not in names.ids:
        assert names.may_be_in(encode_inbound(inbound))
    return made


def test_a_batch_is_cut_to_the_person() -> None:
    """Nobody sees the others."""
    batch = [event("Ada@ACME.example"), event("bob@acme.example", 2), event("ada@acme.example", 3)]
    assert found("sendgrid", batch) == Found([batch[0], batch[2]], {}, shared=True)
    assert found("sendgrid", batch[1:2]) is None
    assert found("sendgrid", [batch[2]]) == Found([batch[2]], {}, shared=False)


def test_text_that_holds_json_is_opened() -> None:
    """As Mandrill has it in a form, and Amazon in an envelope."""
    rows = [{"event": "open", "_id": "m", "ts": 1, "msg": {"email": f"{name}@acme.example"}} for name in ("ada", "bob")]
    form = urlencode({"mandrill_events": json.dumps(rows)}).encode()
    assert found("mandrill", form) == Found({"mandrill_events": rows[:1]}, {}, shared=True)
    envelope = {
        "Type": "Notification",
        "Message": json.dumps({"mail": {"destination": ["ada@acme.example", "bob@acme.example"]}}),
    }
    opened = found("ses", envelope)
    assert opened is not None
    assert opened.payload["Message"] == {"mail": {"destination": ["ada@acme.example"]}}


@pytest.mark.parametrize(
    "body",
    [
        b"<x><Email>Ada@acme.example</Email></x>",
        b"to=Ada+Lovelace+%3Cada%40acme.example%3E&x=1",
        {"link": "https://x.example/?m=ada%40acme.example&y=1"},
        {"to": "bob@acme.example, Ada <ADA@acme.example>"},
        {"text": 'said "ada@acme.example"'},
        b'{"email": "ada\\u0040acme.example"}',
        b'{"email": "\\u0061da@acme.example"}',
    ],
)
def test_an_address_is_found_in_any_form(body: Any) -> None:
    """Also where no map can read the webhook."""
    assert found("brevo", body) is not None


@pytest.mark.parametrize(
    "body", [{"email": "ada@acme.example.org"}, {"email": "xada@acme.example"}, {"name": "ada", "at": "acme.example"}, b"\xff"]
)
def test_another_address_is_another_person(body: Any) -> None:
    """However alike."""
    assert found("brevo", body) is None


def test_a_short_id_is_the_person_only_where_the_map_says_so() -> None:
    """Else 12 would be a stage, a page or a number of seats."""
    change = {"eventId": 1, "subscriptionId": 12, "occurredAt": RECEIVED_MS, "subscriptionType": "contact.propertyChange"}
    change |= {"propertyName": "jobtitle", "propertyValue": "CTO"}
    names = PersonNames(["12"])
    batch = [change | {"objectId": 12}, change | {"objectId": 13, "eventId": 2}]
    assert found("hubspot", batch, names) == Found(batch[:1], {}, shared=True)
    assert found("hubspot", batch[1:], names) is None
    assert found("brevo", {"seats": 12}, names) is None
    assert found("brevo", {"contact": "5725767000003000010"}, PersonNames(["5725767000003000010"])) is not None


def test_the_key_names_the_person_too() -> None:
    """An unreadable webhook of one person is all theirs."""
    assert found("brevo", b"\xff\xfe", key=ADA) == Found("\ufffd\ufffd", {}, shared=False)


def test_what_was_asked_is_cut_likewise() -> None:
    """Zoom's look-ups carry who attended so far."""
    about = {"ask": "report", "sums": json.dumps({ADA: [60, 1], BOB: [70, 2]})}
    rows = [{"user_email": f"{name}@acme.example"} for name in ("ada", "bob")]
    opened = found("zoom", {"participants": rows}, about=about)
    assert opened is not None
    assert opened.payload == {"participants": rows[:1]}
    assert opened.about == {"ask": "report", "sums": {ADA: [60, 1]}}


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_s_person_is_found(vendor: str) -> None:
    """By the ids that the events have, and by no other's."""
    case = cases(RECEIVED_MS)[vendor]
    settings: dict[str, Any] = msgspec.yaml.decode(f"{{vendor: {vendor}{case.settings}}}")
    settings = {name: held for name, held in settings.items() if name not in ("vendor", "api")}
    source = source_of(vendor, **settings)
    for body in case.bodies:
        raw = body if vendor != "mailgun" else b'{"signature": {"token": "t"}, "event-data": %b}' % body
        raw = raw if vendor != "mandrill" else urlencode({"mandrill_events": raw.decode()}).encode()
        if vendor == "ses":
            raw = json.dumps({"Type": "Notification", "MessageId": "m", "Message": raw.decode()}).encode()
        inbound = Inbound("in", vendor, RECEIVED_MS, raw, headers={"svix-id": "msg_1"})
        for lead in {new.subject for new in mapped(inbound, source).events}:
            names = PersonNames([lead])
            assert names.may_be_in(encode_inbound(inbound))
            made = found_in(inbound, "", names, source)
            assert made is not None
            assert not made.shared or vendor == "sendgrid"
        assert found_in(inbound, "", PersonNames(["email:nobody@v.example", "990017"]), source) is None


def test_a_webhook_without_the_person_keeps_the_others() -> None:
    """As it was where the person is not in it, and nothing where it is about the person alone."""
    batch = [event("ada@acme.example"), event("bob@acme.example", 2), event("ada@acme.example", 3), 7]
    inbound, source = inbound_of("sendgrid", batch), source_of("sendgrid")
    rest = without(inbound, "", OF_ADA, source)
    assert rest is not None
    assert json.loads(rest.body) == [batch[1], 7]
    assert without(rest, "", OF_ADA, source) is rest
    assert without(inbound_of("sendgrid", batch[:1]), "", OF_ADA, source) is None
    assert without(inbound_of("sendgrid", event("ada@acme.example")), "", OF_ADA, source) is None
    assert without(inbound_of("brevo", b"\xff"), ADA, OF_ADA, source) is None


NAMES = st.sampled_from([ADA, "visitor:0d9c1e6e-93a4-4a0e-8d0c-2a55b5b1b0f1", "5725767000003000010", "jörg@müller.example"])
LEAF = st.one_of(st.none(), st.integers(), st.text(max_size=8), NAMES, NAMES.map(lambda name: name.partition(":")[2] or name))
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | NAMES, inner, max_size=3)
)


@given(JSON, NAMES, st.booleans())
def test_the_quick_look_misses_nothing(value: Any, lead: str, ascii_only: bool) -> None:
    """And what is left after a person was taken out does not name them."""
    names, source = PersonNames([lead]), source_of("brevo")
    inbound = inbound_of("brevo", json.dumps(value, ensure_ascii=ascii_only).encode())
    if found_in(inbound, "", names, source) is None:
        return
    assert names.may_be_in(encode_inbound(inbound))
    rest = without(inbound, "", names, source)
    assert rest is None or not names.surely_in(readable(rest.body))


@given(st.binary(max_size=200), st.sampled_from(sorted(VENDORS)))
def test_any_bytes_are_looked_through(body: bytes, vendor: str) -> None:
    """Nothing is raised."""
    found(vendor, body)
    without(inbound_of(vendor, body), "", OF_ADA, source_of(vendor))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b"a=" * 500_000])
def test_deep_and_long_bodies_are_looked_through(body: bytes) -> None:
    """Nothing is raised."""
    found("brevo", body, key=ADA)


def test_a_question_about_the_person_is_taken_back() -> None:
    """One that carries many people goes on without this one. A deal may have the number of a contact."""
    contact = Question("crm", "/contacts/12", {"ask": "contact", "object": "12"}, 0)
    deal = Question("crm", "/deals/12", {"ask": "deal", "object": "12"}, 0)
    names = PersonNames(["12", ADA])
    assert without_person(contact, names) is None
    assert asks_about(contact, names)
    assert without_person(deal, names) is deal
    assert not asks_about(deal, names)
    zoom = Question("w", "/x", {"ask": "report", "sums": json.dumps({ADA: [1, 2], BOB: [3.5, 4]})}, 0)
    goto = Question("w", "/x", {"ask": "registrants", "came": json.dumps([ADA, BOB])}, 0)
    assert json.loads(without_person(zoom, names).about["sums"]) == {BOB: [3.5, 4]}  # type: ignore[union-attr]
    assert json.loads(without_person(goto, names).about["came"]) == [digest(ADA), BOB]  # type: ignore[union-attr]
    odd = Question("w", "/x", {"sums": "[", "came": "7"}, 0)
    assert without_person(odd, names) is odd


def test_who_attended_at_goto_is_known_again_without_an_address() -> None:
    """Nobody who attended has stayed away, neither by a look-up of this version nor by one of an earlier."""
    source = source_of("goto")
    about = {"organizer": "1", "webinar": "2", "session": "3", "single": "yes", "end_ms": "1790000000000", "length_s": "60"}
    attended = [{"email": "ada@acme.example", "attendanceTimeInSeconds": 60, "attendance": []}]
    made = mapped(inbound_of("goto", attended, kind="lookup", about=about | {"ask": "attendees"}), source)
    [lookup] = made.lookups
    assert "ada" not in str(lookup)
    registered = [{"email": f"{name}@acme.example", "status": "APPROVED"} for name in ("ada", "bob")]
    for came in (lookup.about["came"], json.dumps([ADA])):
        asked = about | {"ask": "registrants", "came": came}
        absent = mapped(inbound_of("goto", registered, kind="lookup", about=asked), source)
        assert [(new.type, new.subject) for new in absent.events] == [("webinar.no_show", BOB)]


def test_a_map_that_cannot_read_it_is_no_obstacle() -> None:
    """The address tells enough."""
    body = b"from ada@acme.example"
    with pytest.raises(Unmapped):
        mapped(inbound_of("typeform", body), source_of("typeform"))
    assert found("typeform", body) == Found(body.decode(), {}, shared=False)


def test_the_query_may_name_the_person() -> None:
    """Where a tool calls an address that was made for each person."""
    assert found("brevo", {"x": 1}, query="m=Ada%40acme.example") is not None
