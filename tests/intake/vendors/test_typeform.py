"""Typeform: a response in the form of its own example payload."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import ids
from worker.intake.vendors.common import Unmapped


def answer(kind: str, ref: str, value: Any) -> dict[str, Any]:
    """Return an answer to the question with this `ref`."""
    return {"type": kind, kind: value, "field": {"id": f"id-{ref}", "type": "x", "ref": ref}}


def response(*more: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a webhook's body."""
    held = {
        "form_id": "lT4Z3j",
        "token": "a3a12ec67a1365927098a606107fac15",
        "landed_at": "2018-01-18T18:07:02Z",
        "submitted_at": "2018-01-18T18:17:02Z",
        "hidden": {"campaign": "spring"},
        "calculated": {"score": 9},
        "definition": {"id": "lT4Z3j", "title": "Webhooks example", "fields": []},
        "answers": [
            answer("text", "job", "CTO"),
            answer("email", "mail", "Laura@Example.com"),
            answer("phone_number", "phone", "+33612345678"),
            answer("boolean", "newsletter", False),
            answer("number", "seats", 120),
            answer("choice", "when", {"label": "this quarter"}),
            answer("choice", "what", {"other": "something else"}),
            answer("choices", "tools", {"labels": ["CRM", "mail"], "other": "fax"}),
            answer("file_url", "file", "https://api.typeform.com/x"),
            *more,
        ],
        **fields,
    }
    return {"event_id": "LtWXD3crgy", "event_type": "form_response", "form_response": held}


def test_an_answered_form_is_what_the_source_says() -> None:
    """Other forms are `form.submitted`."""
    submitted, profile = events_of("typeform", response())
    filled = {
        "job": "CTO",
        "mail": "Laura@Example.com",
        "phone": "+33612345678",
        "newsletter": False,
        "seats": 120,
        "when": "this quarter",
        "what": "something else",
        "tools": ["CRM", "mail", "fax"],
        "file": "https://api.typeform.com/x",
    }
    data = {"form_id": "lT4Z3j", "fields": filled}
    assert told(submitted) == ("form.submitted", "email:laura@example.com", "2018-01-18T18:17:02.000Z", data)
    assert profile["data"]["traits"] == {"email": "Laura@Example.com", "phone": "+33612345678"}
    requested = events_of("typeform", response(), forms={"lT4Z3j": "demo.requested"})[0]
    assert requested["type"] == "demo.requested"
    assert requested["id"] == "a3a12ec67a1365927098a606107fac15:demo.requested"


def test_traits_of_the_source_see_answers_and_hidden_fields() -> None:
    """Answers by ref and by id."""
    traits = {"role": "answers.job", "seats": 'answers."id-seats"', "campaign": "hidden.campaign", "none": "answers.none"}
    _, profile = events_of("typeform", response(), traits=traits)
    expected = {"email": "Laura@Example.com", "phone": "+33612345678", "role": "CTO", "seats": 120, "campaign": "spring"}
    assert profile["data"]["traits"] == expected


def test_a_hidden_address_counts_where_none_was_asked_for() -> None:
    """Links in mails carry it. Without any, nobody is named."""
    [submitted, _] = events_of("typeform", response(answers=[], hidden={"email": "A@b.example"}))
    assert told(submitted)[1] == "email:a@b.example"
    assert made_of("typeform", response(answers=[])).passed_over == {"form_response without an address": 1}


def test_a_repeat_is_the_same_event() -> None:
    """`event_id` names the delivery, the token the response."""
    assert ids(made_of("typeform", response())) == ids(made_of("typeform", response() | {"event_id": "other"}))


def test_a_type_that_needs_more_than_a_form_is_refused() -> None:
    """The profile is sent all the same."""
    made = made_of("typeform", response(), forms={"lT4Z3j": "webinar.registered"})
    assert "webinar_id" in made.refused[0]
    assert [one.type for one in made.events] == ["profile.updated"]


@pytest.mark.parametrize("field", ["form_id", "token", "submitted_at"])
def test_what_is_missing_is_named(field: str) -> None:
    """Nothing stands in for it."""
    with pytest.raises(Unmapped, match="without form_id, token or submitted_at"):
        made_of("typeform", response(**{field: None}))


def test_other_events_are_counted() -> None:
    """Typeform has one today."""
    assert made_of("typeform", {"event_type": "form_response_partial"}).passed_over == {"form_response_partial": 1}
