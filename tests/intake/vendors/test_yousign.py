"""Yousign: the envelope as in its API reference, version 3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told

REQUEST = {"id": "b2f4e3", "status": "done", "external_id": "lead-42%3A7"}
DONE = {"events": {"signature_request.done": "crm.won", "signature_request.declined": "crm.lost"}}


def body(event_name: str = "signature_request.done", **request: Any) -> dict[str, Any]:
    """Return a request of Yousign's."""
    return {
        "event_id": "0ca8c0e8",
        "event_name": event_name,
        "event_time": "1740694692",
        "subscription_id": "f3b7",
        "sandbox": True,
        "data": {"signature_request": {**REQUEST, **request}},
    }


def test_a_signature_is_what_the_source_says() -> None:
    """Of the lead whose output the contract was sent for."""
    (event,) = events_of("yousign", body(), **DONE)
    assert told(event) == ("crm.won", "lead-42", "2025-02-27T22:18:12.000Z", {})
    assert event["id"] == "0ca8c0e8:crm.won"


def test_a_reason_to_decline_is_kept() -> None:
    """In the words of who declined."""
    sent = body("signature_request.declined", decline_information={"reason": "too dear"})
    (event,) = events_of("yousign", sent, **DONE)
    assert (event["type"], event["data"]) == ("crm.lost", {"reason": "too dear"})


@pytest.mark.parametrize(
    ("request_", "subject"),
    [
        ({"external_id": "lead-42"}, "lead-42"),
        ({"external_id": "email%3Aada%40acme.example%3A12"}, "email:ada@acme.example"),
        ({"external_id": None, "signers": [{"info": {"email": "Ada@acme.example"}}]}, "email:ada@acme.example"),
    ],
)
def test_the_lead_is_named_by_the_external_id_or_the_only_signer(request_: dict[str, Any], subject: str) -> None:
    """A request that was made by hand has no external id."""
    assert [event["subject"] for event in events_of("yousign", body(**request_), **DONE)] == [subject]


def test_what_the_source_does_not_map_is_passed_over() -> None:
    """Without a map, nothing is scored."""
    assert dict(made_of("yousign", body()).passed_over) == {"signature_request.done": 1}


def test_a_request_of_several_signers_is_nobody_s() -> None:
    """With the reason."""
    two = [{"info": {"email": "a@b.example"}}, {"info": {"email": "c@d.example"}}]
    refused = made_of("yousign", body(external_id=None, signers=two), **DONE).refused
    assert refused == ["signature_request.done: no external_id, and no address of one signer"]
    assert made_of("yousign", {**body(), "event_time": None}, **DONE).refused == [
        "signature_request.done: no time that can be read"
    ]
