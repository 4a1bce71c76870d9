"""Pipedrive webhooks v2: persons and deals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import ids, said
from worker.intake.vendors.common import Unmapped

STAGES = {"5": "crm.opportunity", "won": "crm.won", "lost": "crm.lost"}
HASH = "d4de1c1518b4531717c676029a45911c340390a6"
AT = "2025-06-19T16:07:36.754Z"
PERSON: dict[str, Any] = {
    "id": 12,
    "name": "Ada Lovelace",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "job_title": "CTO",
    "emails": [
        {"value": "home@acme.example", "primary": False, "label": "home"},
        {"value": "Ada@acme.example", "primary": True, "label": "work"},
    ],
    "phones": [{"value": "", "primary": True, "label": "work"}],
    "owner_id": 7,
    "org_id": 3,
    "custom_fields": {HASH: {"type": "varchar", "value": "vp"}},
    "update_time": "2025-06-19T16:07:36Z",
}
DEAL: dict[str, Any] = {
    "id": 1,
    "title": "test deal",
    "value": 2000,
    "currency": "EUR",
    "status": "open",
    "stage_id": 5,
    "pipeline_id": 1,
    "owner_id": 7,
    "person_id": 12,
    "org_id": 3,
    "lost_reason": None,
}


def hook(entity: str, action: str, data: Any, previous: Any = None, **meta: Any) -> dict[str, Any]:
    """Return a webhook's body, with the envelope of a recorded one."""
    held = {
        "action": action,
        "company_id": "12345678",
        "correlation_id": "6e0e-4f2b",
        "entity_id": "12",
        "entity": entity,
        "id": "5c3f-11aa",
        "is_bulk_edit": False,
        "timestamp": "2025-06-19T16:07:36.754Z",
        "type": "application",
        "user_id": "7",
        "version": "2.0",
        "webhook_id": "1",
        "change_source": "app",
        "attempt": 1,
        "host": "pd.pipedrive.com",
    }
    return {"data": data, "previous": previous, "meta": {**held, **meta}}


def test_the_person_is_the_lead_and_its_address_a_trait() -> None:
    """The primary address."""
    [profile] = events_of("pipedrive", hook("person", "create", PERSON))
    traits = {"email": "Ada@acme.example", "first_name": "Ada", "last_name": "Lovelace", "role": "CTO"}
    assert told(profile) == ("profile.updated", "12", AT, {"traits": traits})
    [profile] = events_of("pipedrive", hook("person", "create", PERSON), traits={"seniority": f'custom_fields."{HASH}".value'})
    assert profile["data"]["traits"] == {**traits, "seniority": "vp"}


def test_a_change_counts_if_a_trait_has_changed() -> None:
    """Our own writes are of other fields, so they say nothing. Tools that enrich persons write by the API too."""
    for source in ("api", "app"):
        previous = {"custom_fields": {HASH: {"value": "x"}}, "update_time": "2025-06-19T16:07:30Z"}
        made = made_of("pipedrive", hook("person", "change", PERSON, previous, change_source=source))
        assert made.passed_over == {"change.person of no trait": 1}
        assert made.events == []
        body = hook("person", "change", PERSON, {"job_title": None}, change_source=source)
        assert [one["data"]["traits"]["role"] for one in events_of("pipedrive", body)] == ["CTO"]
    mapped = {"seniority": f'custom_fields."{HASH}".value'}
    body = hook("person", "change", PERSON, {"custom_fields": {HASH: {"value": "x"}}}, change_source="api")
    assert events_of("pipedrive", body, traits=mapped)[0]["data"]["traits"]["seniority"] == "vp"


def test_an_emptied_field_removes_its_trait() -> None:
    """`previous` says what was there."""
    [profile] = events_of("pipedrive", hook("person", "change", {**PERSON, "job_title": None}, {"job_title": "CTO"}))
    assert profile["data"]["traits"]["role"] is None


def test_a_deal_counts_when_its_stage_or_status_changes() -> None:
    """A status wins over the stage that the deal was in."""
    opened = events_of("pipedrive", hook("deal", "create", DEAL), stages=STAGES)
    assert [told(one) for one in opened] == [("crm.opportunity", "12", AT, {"amount": 2000, "owner": "7"})]
    lost = {**DEAL, "status": "lost", "lost_reason": "price"}
    body = hook("deal", "change", lost, {"status": "open"}, change_source="api")
    assert [told(one) for one in events_of("pipedrive", body, stages=STAGES)] == [
        ("crm.lost", "12", AT, {"amount": 2000, "owner": "7", "reason": "price"})
    ]
    for data, previous, word in (
        (DEAL, {"value": 1}, "deal without a new stage that `stages` names"),
        (DEAL | {"stage_id": 6}, {"stage_id": 5}, "deal without a new stage that `stages` names"),
        (DEAL | {"person_id": None}, {"stage_id": 4}, "deal without person"),
    ):
        assert made_of("pipedrive", hook("deal", "change", data, previous), stages=STAGES).passed_over == {word: 1}


def test_a_deleted_person_is_erased_if_the_source_says_so() -> None:
    """One that was merged into another is not."""
    body = hook("person", "delete", None, PERSON)
    assert made_of("pipedrive", body).passed_over == {"delete.person": 1}
    assert said(made_of("pipedrive", body, erase=True)) == [("lead.erased", "12", AT, {})]
    assert made_of("pipedrive", hook("person", "delete", None, PERSON, merged_to_id=13), erase=True).events == []


def test_another_attempt_is_the_same_event() -> None:
    """Whatever `meta.id` does."""
    first, again, other = (
        made_of("pipedrive", hook("person", "create", PERSON, **meta))
        for meta in ({}, {"id": "other", "attempt": 2}, {"correlation_id": "other"})
    )
    assert ids(first) == ids(again) != ids(other)


@pytest.mark.parametrize(
    ("timestamp", "at"), [(1727447128, "2024-09-27T14:25:28.000Z"), (1727447128123, "2024-09-27T14:25:28.123Z")]
)
def test_times_as_numbers_are_read_too(timestamp: int, at: str) -> None:
    """As in examples of others."""
    [profile] = events_of("pipedrive", hook("person", "create", PERSON, timestamp=timestamp))
    assert profile["time"] == at


def test_other_entities_are_counted_and_what_is_missing_is_named() -> None:
    """Webhooks v1 too: they have another envelope."""
    assert made_of("pipedrive", hook("activity", "create", {})).passed_over == {"create.activity": 1}
    assert made_of("pipedrive", {"v": 1, "meta": {"action": "updated", "object": "person"}}).events == []
    with pytest.raises(Unmapped, match="without id or timestamp"):
        made_of("pipedrive", hook("person", "create", PERSON, timestamp=None))
