"""Pipedrive's requests against a Pipedrive that refuses what Pipedrive refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of, state_of
from tests.kit.vendors.pipedrive import Pipedrive, problem
from worker.automations.requests import Again, Expired, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.pipedrive import KIND
from worker.connections.secret import Secret
from worker.connections.targets import PipedriveTarget

FIELDS = {"subject": "Call Ada", "body": "<p>Hot</p>", "due": "2026-03-05T16:34:56.789Z", "owner": "anna@example.com"}
SCORE = "d4de1c1518b4531717c676029a45911c340390a6"


@pytest.fixture
async def crm() -> AsyncIterator[Pipedrive]:
    """A company."""
    async with Pipedrive() as vendor:
        vendor.fields[SCORE] = {"field_type": "double"}
        yield vendor


def driver(crm: Pipedrive, **settings: Any) -> Driver:
    """Return a driver of the company."""
    target = PipedriveTarget(kind="pipedrive", token=Secret("${T}"), base_url=crm.url, **settings)
    return Driver(KIND, target, crm.url, {"x-api-token": crm.token})


async def test_a_task_is_made_for_the_leads_person(crm: Pipedrive) -> None:
    """Who is made first; the person is the activity's first participant."""
    ended = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert (ended.error, crm.refusals) == (None, [])
    [(person, held)] = crm.persons.items()
    assert held["name"] == "Ada Lovelace"
    assert held["emails"] == [{"value": "ada@acme.example", "primary": True, "label": "work"}]
    assert crm.activities[int(ended.remote_id)] == {
        "subject": "Call Ada",
        "type": "task",
        "due_date": "2026-03-05",
        "due_time": "16:34:56",
        "participants": [{"person_id": person, "primary": True}],
        "person_id": person,
        "note": "<p>Hot</p><p>LeadPulse call lead-42:7</p>",
        "owner_id": 31,
    }


async def test_a_person_who_is_there_gets_the_task(crm: Pipedrive) -> None:
    """The oldest one with the whole address, in any case of letters."""
    crm.add_person("x@acme.example")
    first = crm.add_person("ADA@acme.example")
    crm.add_person("ada@acme.example")
    ended = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert crm.activities[int(ended.remote_id)]["person_id"] == first


@pytest.mark.parametrize("unsure", ["task", "*"])
async def test_a_task_whose_answer_was_lost_is_found(crm: Pipedrive, unsure: str) -> None:
    """By its reference, on whatever page it is; it is not made again."""
    crm.lose_answer("POST", "/activities$")
    first = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert isinstance(first.error, Lost)
    person = int(first.known["contact"])
    for number in range(1_000, 1_600):
        crm.activities[number] = {"person_id": person, "note": "LeadPulse call lead-42:71"}
    second = await driver(crm).act(act_of("crm", "task", FIELDS), Run({} if unsure == "*" else first.known, unsure))
    assert (second.error, len(crm.asked("POST", "/activities$")), len(crm.persons)) == (None, 1, 1)
    assert crm.refusals == []


async def test_a_person_whose_answer_was_lost_is_found_or_unknown(crm: Pipedrive) -> None:
    """There is no upsert: a second person must not be made, and the search may lag behind."""
    crm.lose_answer("POST", "/persons$")
    first = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert (type(first.error), first.unsure) == (Lost, "person")
    crm.hidden = True
    assert isinstance((await driver(crm).again(act_of("crm", "task", FIELDS), first)).error, Unknown)
    crm.hidden = False
    second = await driver(crm).again(act_of("crm", "task", FIELDS), first)
    assert (second.error, len(crm.persons), len(crm.activities)) == (None, 1, 1)


async def test_a_task_that_cannot_be_found_is_unknown(crm: Pipedrive) -> None:
    """Its request may still be on its way."""
    crm.script("POST", "/activities$", lost=True)
    first = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert isinstance((await driver(crm).again(act_of("crm", "task", FIELDS), first)).error, Unknown)


async def test_states_go_to_persons_who_are_there(crm: Pipedrive) -> None:
    """By the address, or by Pipedrive's own id; no person is made for a state."""
    known = crm.add_person("lead-1@acme.example")
    held = driver(crm)
    [one] = await held.write(state_of("crm", "lead-1", {SCORE: 78.5, "visible_to": 3}))
    assert (one.error, crm.persons[known]["custom_fields"], crm.persons[known]["visible_to"]) == (None, {SCORE: 78.5}, 3)
    for lead_id in ("lead-2", "visitor:1"):
        [one] = await held.write(state_of("crm", lead_id, {SCORE: 1}, person={}))
        assert one.error is None
    own = driver(crm, id_field="id")
    await own.write(state_of("crm", str(known), {SCORE: 5}, person={}))
    assert crm.persons[known]["custom_fields"] == {SCORE: 5}
    [one] = await own.write(state_of("crm", "999", {SCORE: 5}, person={}))
    assert isinstance(one.error, Final)
    assert (len(crm.persons), crm.refusals) == (1, [])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(429, "rate limit exceeded"), Again),
        (problem(401, "unauthorized access"), Expired),
        (problem(402, "Company account is not open"), Misconfigured),
        (problem(403, "Scope and URL mismatch"), Misconfigured),
        (problem(500, "Internal"), Lost),
        (problem(400, "bad"), Final),
        (Reply(200, {"success": True}), Lost),
    ],
)
async def test_errors_are_told_apart(crm: Pipedrive, reply: Reply, kind: type[Exception]) -> None:
    """A 2xx without an id proves nothing."""
    crm.script("POST", "/activities$", reply)
    ended = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert type(ended.error) is kind


async def test_an_owner_of_another_address_is_not_taken(crm: Pipedrive) -> None:
    """The search finds parts of addresses too."""
    ended = await driver(crm).act(act_of("crm", "task", FIELDS | {"owner": "ann@example.com"}))
    assert crm.activities[int(ended.remote_id)]["owner_id"] == 30
    ended = await driver(crm).act(act_of("crm", "task", FIELDS | {"owner": "an@example.com"}))
    assert isinstance(ended.error, Final)


async def test_a_person_is_deleted(crm: Pipedrive) -> None:
    """Once; a repeat finds nobody, and is no error."""
    crm.add_person("ada@acme.example")
    for _ in range(2):
        assert (await driver(crm).act(act_of("crm", "forget", {}))).error is None
        assert crm.persons == {}
