"""HubSpot's requests against a HubSpot that refuses what HubSpot refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of, expired, state_of
from tests.kit.vendors.hubspot import HubSpot, conflict, error
from worker.automations.requests import Again, Answer, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.hubspot import KIND
from worker.connections.secret import Secret
from worker.connections.targets import HubSpotTarget

FIELDS = {"subject": "Call Ada", "body": "<p>Hot</p>", "due": "2026-03-05T16:34:56.789Z", "owner": "anna@example.com"}
STATE = {"leadpulse_score": 78.5, "leadpulse_grade": "B1"}


@pytest.fixture
async def hub() -> AsyncIterator[HubSpot]:
    """A portal."""
    async with HubSpot() as vendor:
        yield vendor


def driver(hub: HubSpot, **settings: Any) -> Driver:
    """Return a driver of the portal."""
    target = HubSpotTarget(kind="hubspot", token=Secret("${T}"), base_url=hub.url, **settings)
    return Driver(KIND, target, hub.url, {"Authorization": f"Bearer {hub.token}"})


@pytest.mark.parametrize("version", ["2026-03", "v3"])
async def test_a_task_is_made_on_the_leads_contact(hub: HubSpot, version: str) -> None:
    """The contact is made first, with the lead's id and address; nothing of it breaks HubSpot's specification."""
    ended = await driver(hub, version=version).act(act_of("crm", "task", FIELDS))
    assert (ended.error, hub.refusals) == (None, [])
    [contact] = hub.contacts
    assert hub.contacts[contact] == {"leadpulse_id": "lead-42", "email": "ada@acme.example"}
    assert hub.on_contact == {contact: [ended.remote_id]}
    assert hub.tasks[ended.remote_id] == {
        "hs_timestamp": "2026-03-05T16:34:56.789Z",
        "hs_task_subject": "Call Ada",
        "hs_task_body": "<p>Hot</p><p>LeadPulse call lead-42:7</p>",
        "hs_task_status": "NOT_STARTED",
        "hs_task_priority": "HIGH",
        "hs_task_type": "CALL",
        "hubspot_owner_id": "501",
    }
    assert ended.known == {"contact": contact}


async def test_a_contact_that_hubspot_has_by_its_address_gets_the_leads_id(hub: HubSpot) -> None:
    """No second contact; a task goes to the one that sales know."""
    hub.contacts["77"] = {"email": "ada@acme.example", "firstname": "Ada"}
    ended = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert ended.error is None
    assert list(hub.contacts) == ["77"]
    assert hub.contacts["77"]["leadpulse_id"] == "lead-42"
    assert list(hub.on_contact) == ["77"]


async def test_an_alias_gives_way_to_the_lead(hub: HubSpot) -> None:
    """A contact made for `email:ADDRESS` becomes the lead's once the CRM's id is known."""
    hub.contacts["77"] = {"email": "ada@acme.example", "leadpulse_id": "email:ada@acme.example"}
    assert (await driver(hub).act(act_of("crm", "task", FIELDS))).error is None
    assert hub.contacts["77"]["leadpulse_id"] == "lead-42"


async def test_the_address_of_another_leads_contact_is_not_taken(hub: HubSpot) -> None:
    """Else two leads would write over each other. Where the lead has a contact of its own, that one counts."""
    hub.contacts["77"] = {"email": "ada@acme.example", "leadpulse_id": "lead-1"}
    ended = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert isinstance(ended.error, Final)
    assert "belongs to the contact of lead lead-1" in str(ended.error)
    assert hub.tasks == {}
    hub.contacts["78"] = {"leadpulse_id": "lead-42"}
    ended = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert ended.error is None
    assert list(hub.on_contact) == ["78"]
    assert hub.contacts["77"] == {"email": "ada@acme.example", "leadpulse_id": "lead-1"}


async def test_leads_with_hubspots_own_ids_need_no_property(hub: HubSpot) -> None:
    """As those that come from HubSpot's webhooks. Others are found by their addresses."""
    hub.contacts["77"] = {"email": "ada@acme.example"}
    own = driver(hub, id_property="hs_object_id")
    ended = await own.act(act_of("crm", "task", FIELDS, lead_id="77"))
    assert (ended.error, ended.steps) == (None, ["owner", "task"])
    written = await own.write(
        state_of("crm", "77", STATE),
        state_of("crm", "email:eve@x.example", STATE, person={}),
        state_of("crm", "x", STATE, person={}),
    )
    assert [type(one.error) for one in written] == [type(None), type(None), Final]
    assert hub.contacts["77"]["leadpulse_score"] == "78.5"
    assert hub.contact_with("email", "eve@x.example")
    assert hub.refusals == []


@pytest.mark.parametrize("unsure", ["task", "*"])
async def test_a_task_whose_answer_was_lost_is_found(hub: HubSpot, unsure: str) -> None:
    """By its reference, among all tasks of the contact; it is not made again."""
    act = act_of("crm", "task", FIELDS, rule="call & tell")
    hub.lose_answer("POST", "/tasks$")
    first = await driver(hub).act(act)
    assert isinstance(first.error, Lost)
    assert first.unsure == "task"
    [made] = hub.tasks
    for number in range(230):
        hub.tasks[f"o{number}"] = {"hs_task_body": "<p>LeadPulse call lead-42:71</p>"}
        hub.on_contact[first.known["contact"]].insert(0, f"o{number}")
    second = await driver(hub).act(act, Run({} if unsure == "*" else first.known, unsure))
    assert (second.error, second.remote_id) == (None, made)
    assert len(hub.asked("POST", "/tasks$")) == 1
    assert hub.refusals == []


async def test_a_task_that_cannot_be_found_is_unknown(hub: HubSpot) -> None:
    """HubSpot promises no instant from which a new task is shown, so its absence proves nothing."""
    act = act_of("crm", "task", FIELDS)
    hub.script("POST", "/tasks$", lost=True)
    first = await driver(hub).act(act)
    second = await driver(hub).again(act, first)
    assert isinstance(second.error, Unknown)
    assert hub.tasks == {}
    hub.contacts.clear()
    third = await driver(hub).again(act, first)
    assert isinstance(third.error, Unknown), "the contact may have been deleted with its tasks"


@pytest.mark.parametrize("status", [500, 502, 504, 521])
async def test_a_gateways_answer_leaves_a_create_unsure(hub: HubSpot, status: int) -> None:
    """The task may have been made behind it."""
    hub.script("POST", "/tasks$", Reply(status, b"<html>"), effect=True)
    first = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert isinstance(first.error, Lost)
    second = await driver(hub).again(act_of("crm", "task", FIELDS), first)
    assert second.remote_id in hub.tasks
    assert len(hub.tasks) == 1


async def test_a_success_without_an_id_leaves_a_create_unsure(hub: HubSpot) -> None:
    """A 2xx alone proves nothing."""
    hub.script("POST", "/tasks$", Reply(201, {}))
    first = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert isinstance(first.error, Lost)
    assert first.unsure == "task"


async def test_a_batch_with_errors_inside_is_taken_apart(hub: HubSpot) -> None:
    """207: what succeeded is written, and each other lead has its own reason."""
    hub.contacts["77"] = {"email": "lead-2@acme.example", "leadpulse_id": "lead-1"}
    written = await driver(hub).write(
        state_of("crm", "lead-2", STATE),
        state_of("crm", "lead-3", {"leadpulse_score": "much"}),
        state_of("crm", "lead-4", {"leadpulse_scor": 1}),
        state_of("crm", "lead-5", STATE),
    )
    assert [(one.lead_id, type(one.error)) for one in written] == [
        ("lead-2", Final), ("lead-3", Final), ("lead-4", Final), ("lead-5", type(None)),
    ]  # fmt: skip
    assert 'Property "leadpulse_scor" does not exist' in str(written[2].error)
    assert hub.contacts[str(hub.contact_with("leadpulse_id", "lead-5"))]["leadpulse_score"] == "78.5"


async def test_a_batch_that_is_refused_whole_is_halved(hub: HubSpot) -> None:
    """409 for one of many: all others are written, and the one is found by its address."""
    hub.whole_batch_fails = True
    hub.contacts["77"] = {"email": "lead-5@acme.example"}
    written = await driver(hub).write(*(state_of("crm", f"lead-{number}", STATE) for number in range(9)))
    assert [one.error for one in written] == [None] * 9
    assert hub.contacts["77"] == {
        "email": "lead-5@acme.example",
        "leadpulse_id": "lead-5",
        "leadpulse_score": "78.5",
        "leadpulse_grade": "B1",
    }
    assert len(hub.contacts) == 9


async def test_a_property_that_hubspot_lacks_costs_one_request_more(hub: HubSpot) -> None:
    """Not one for each lead: those of the rule that names it are refused, and all others are written."""
    hub.whole_batch_fails = True
    states = [state_of("crm", f"lead-{number}", STATE | ({"leadpulse_scor": 1} if number < 40 else {})) for number in range(80)]
    written = await driver(hub).write(*states)
    assert [type(one.error) for one in written] == [Final] * 40 + [type(None)] * 40
    assert "has no property leadpulse_scor of contacts" in str(written[0].error)
    assert len(hub.requests) == 2
    written = await driver(hub).write(*states[:40])
    assert {type(one.error) for one in written} == {Final}
    assert len(hub.requests) == 3


async def test_a_success_with_nothing_in_it_is_no_success(hub: HubSpot) -> None:
    """2xx with neither results nor errors: nothing was done."""
    hub.script("POST", "/batch/upsert$", Reply(200, {"status": "COMPLETE", "results": []}))
    [written] = await driver(hub).write(state_of("crm", "lead-1", STATE))
    assert isinstance(written.error, Final)
    assert "neither a result nor an error" in str(written.error)


async def test_states_of_several_rules_go_as_one(hub: HubSpot) -> None:
    """HubSpot refuses a batch with one id twice. The newest value counts."""
    written = await driver(hub).write(
        state_of("crm", "lead-1", {"leadpulse_score": 2, "leadpulse_grade": "A1"}, 8, rule="1"),
        state_of("crm", "lead-1", {"leadpulse_score": 1, "leadpulse_stage": "sql"}, 7),
    )
    assert [one.error for one in written] == [None, None]
    [held] = hub.contacts.values()
    assert (held["leadpulse_score"], held["leadpulse_grade"], held["leadpulse_stage"]) == ("2", "A1", "sql")
    assert hub.refusals == []


async def test_a_browser_without_an_address_is_no_contact(hub: HubSpot) -> None:
    """Its state is passed over without a request."""
    [written] = await driver(hub).write(state_of("crm", "visitor:0190f5c2", STATE, person={}))
    assert (written.error, hub.requests) == (None, [])
    ended = await driver(hub).act(act_of("crm", "task", FIELDS, lead_id="visitor:0190f5c2", person={}))
    assert isinstance(ended.error, Final)


async def test_values_are_the_texts_that_hubspot_takes(hub: HubSpot) -> None:
    """All are strings, and an empty one clears."""
    values = {"leadpulse_score": 78.0, "leadpulse_grade": None, "leadpulse_stage": True, "leadpulse_reasons": ["a", "b"]}
    await driver(hub).write(state_of("crm", "lead-1", values, person={}))
    [held] = hub.contacts.values()
    assert held == {
        "leadpulse_id": "lead-1",
        "leadpulse_score": "78",
        "leadpulse_grade": "",
        "leadpulse_stage": "true",
        "leadpulse_reasons": "a;b",
    }


@pytest.mark.parametrize(
    ("reply", "kind", "after_s"),
    [
        (Reply(429, {"policyName": "TEN_SECONDLY_ROLLING"}), Again, 10.0),
        (Reply(429, {"policyName": "DAILY"}), Again, 3_600.0),
        (Reply(429, None, {"Retry-After": "7"}), Again, 7.0),
        (
            Reply(503, None, {"Date": "Tue, 03 Mar 2026 12:00:00 GMT", "Retry-After": "Tue, 03 Mar 2026 12:01:00 GMT"}),
            Again,
            60.0,
        ),
        (Reply(503, b"<html>"), Again, 0.0),
        (Reply(477, None, {"Retry-After": "86400"}), Again, 86_400.0),
        (Reply(423), Again, 10.0),
        (error(403, "MISSING_SCOPES", "scopes"), Misconfigured, 0.0),
        (Reply(302, None, {"Location": "/x"}), Misconfigured, 0.0),
        (error(400, "VALIDATION_ERROR", "bad"), Final, 0.0),
    ],
)
async def test_errors_are_told_apart(hub: HubSpot, reply: Reply, kind: type[Exception], after_s: float) -> None:
    """By HubSpot's page on errors, with the time that it asks for."""
    hub.script("POST", "/tasks$", reply)
    ended = await driver(hub).act(act_of("crm", "task", FIELDS))
    assert type(ended.error) is kind
    assert getattr(ended.error, "after_s", 0.0) == after_s
    assert ended.unsure == ""


async def test_an_expired_token_says_so(hub: HubSpot) -> None:
    """Also in the midst of an act; what was done before is kept."""
    held = driver(hub)
    hub.script("POST", "/tasks$", error(401, "EXPIRED_AUTHENTICATION", "token expired"))
    first = await held.act(act_of("crm", "task", FIELDS))
    assert expired(first)
    second = await held.again(act_of("crm", "task", FIELDS), first)
    assert second.steps == ["owner", "task"]


async def test_an_owner_that_hubspot_does_not_know_is_named(hub: HubSpot) -> None:
    """And no task is made without an owner in silence."""
    ended = await driver(hub).act(act_of("crm", "task", FIELDS | {"owner": "zoe@example.com"}))
    assert isinstance(ended.error, Final)
    assert "has no owner …@example.com" in str(ended.error)


async def test_a_contact_is_deleted_for_privacy(hub: HubSpot) -> None:
    """Once; a repeat finds nothing, and is no error."""
    hub.contacts["77"] = {"email": "ada@acme.example", "leadpulse_id": "lead-42"}
    for _ in range(2):
        assert (await driver(hub).act(act_of("crm", "forget", {}))).error is None
        assert hub.contacts == {}


def test_limit_headers_leave_a_share_to_others() -> None:
    """Below 30 % of the interval's requests, nothing is sent for its length."""
    assert KIND.spare(Answer(200, b"", limits(100, 29))) == 10.0
    assert KIND.spare(Answer(200, b"", limits(100, 30))) == 0.0
    assert KIND.spare(Answer(200, b"", {})) == 0.0


def limits(most: int, left: int) -> dict[str, str]:
    """Return HubSpot's headers."""
    held = {"max": most, "remaining": left, "interval-milliseconds": 10_000}
    return {f"x-hubspot-ratelimit-{name}": str(value) for name, value in held.items()}


def test_conflicts_have_the_form_that_users_report() -> None:
    """The steps read the existing contact's id out of it."""
    assert conflict("77").body["message"] == "Contact already exists. Existing ID: 77"


async def test_a_target_without_the_leads_id_is_stopped(hub: HubSpot) -> None:
    """An operator has yet to make it. No act dies of that, and no batch goes in halves."""
    held = driver(hub, id_property="leadpulse_ident")
    with pytest.raises(Misconfigured, match="act prepare"):
        await held.write(*(state_of("crm", f"lead-{number}", STATE) for number in range(10)))
    assert isinstance((await held.act(act_of("crm", "task", FIELDS))).error, Misconfigured)
    assert len(hub.requests) == 2


async def test_a_look_up_that_is_refused_takes_nothing_from_the_rest_of_the_batch(hub: HubSpot) -> None:
    """The other leads are written, and only the one whose contact could not be looked up comes again."""
    hub.contacts["77"] = {"email": "eve@acme.example"}
    hub.script("GET", "/contacts/77", error(429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit."))
    written = await driver(hub).write(*(state_of("crm", lead, STATE) for lead in ("ada", "eve", "bob")))
    assert {one.lead_id: type(one.error) for one in written} == {"ada": type(None), "eve": Again, "bob": type(None)}
    assert [type(one.error) for one in await driver(hub).write(state_of("crm", "eve", STATE))] == [type(None)]
    assert hub.contacts["77"]["leadpulse_score"] == "78.5"
