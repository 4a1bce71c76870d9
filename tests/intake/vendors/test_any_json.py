"""The source `json`: events by expressions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import RECEIVED_MS, events_of, made_of, told
from worker.intake.vendors.common import Unmapped

MAP = {
    "type": "join('', ['custom.', kind])",
    "id": "id",
    "time": "at",
    "email": "contact.email",
    "data": "{amount: amount}",
}
BODY = {"kind": "deal_paid", "id": 17, "at": "2026-03-05T12:34:56.7899Z", "contact": {"email": "Ada@acme.example"}, "amount": 3}
AT = "2026-03-05T12:34:56.789Z"


def test_each_part_is_found_by_its_expression() -> None:
    """The example of the guide."""
    (event,) = events_of("json", BODY, map=MAP)
    assert told(event) == ("custom.deal_paid", "email:ada@acme.example", AT, {"amount": 3})
    assert event["id"] == "17:custom.deal_paid"


def test_a_subject_and_an_address_are_linked() -> None:
    """The address alone, in an event of its own; the source's traits in another."""
    found = events_of("json", {**BODY, "crm": 42, "job": "CTO"}, map={**MAP, "subject": "crm"}, traits={"role": "job"})
    assert [(one["id"], one["subject"], one["data"]) for one in found] == [
        ("17:custom.deal_paid", "42", {"amount": 3}),
        ("17:traits:profile.updated", "42", {"traits": {"role": "CTO"}}),
        ("17:profile.updated", "42", {"traits": {"email": "Ada@acme.example"}}),
    ]


@pytest.mark.parametrize(
    ("at", "time"),
    [
        (1772714096, "2026-03-05T12:34:56.000Z"),
        (1772714096.7899, AT),
        ("1772714096789", AT),
        (1772714096789, AT),
        ("2026-03-05T13:34:56.789+01:00", AT),
    ],
)
def test_a_time_is_text_or_seconds_or_milliseconds(at: Any, time: str) -> None:
    """Cut, never rounded."""
    assert [event["time"] for event in events_of("json", {**BODY, "at": at}, map=MAP)] == [time]


def test_without_an_expression_the_time_is_when_it_came() -> None:
    """The id is the same when it comes again."""
    made = made_of("json", BODY, map={"type": "'crm.won'", "id": "id", "subject": "'lead-1'"})
    assert [(event.at_ms, event.id, event.type) for event in made.events] == [(RECEIVED_MS, "17", "crm.won")]


def test_a_list_gives_an_event_for_each() -> None:
    """What cannot be mapped is refused by its place, and the others are sent."""
    rows = [BODY, {**BODY, "at": "soon"}, {**BODY, "id": None}, 7, {**BODY, "contact": None}, {**BODY, "kind": "Not a name"}]
    made = made_of("json", {"rows": rows}, map={**MAP, "each": "rows"})
    assert len(made.events) == 1
    assert [refused.partition(":")[0] for refused in made.refused] == ["[1]", "[2]", "[3]", "[4]", "custom.Not a name 17"]


@pytest.mark.parametrize(
    ("body", "map_"),
    [
        (b"{", MAP),
        ({"rows": 1}, {**MAP, "each": "rows"}),
        ({"rows": 1}, {**MAP, "each": "length(rows)"}),
    ],
)
def test_a_body_that_does_not_fit_is_unmapped(body: Any, map_: dict[str, str]) -> None:
    """An expression may fail: a number has no length."""
    with pytest.raises(Unmapped):
        made_of("json", body, map=map_)


def test_data_must_be_an_object() -> None:
    """With the reason."""
    assert made_of("json", BODY, map={**MAP, "data": "amount"}).refused == ["[0]: `data` finds no object"]
