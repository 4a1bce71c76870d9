"""Zoho's requests against a Zoho that refuses what Zoho refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of, expired, state_of
from tests.kit.vendors.zoho import Zoho, problem
from worker.automations.requests import Again, Answer, Expired, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.zoho import KIND
from worker.connections.secret import Secret
from worker.connections.targets import ZohoTarget

FIELDS = {"subject": "Call Ada", "body": "Hot", "due": "2026-03-05T16:34:56Z", "owner": "Anna@example.com"}
STATE = {"LeadPulse_Score": 78.5, "LeadPulse_Grade": "B1"}


@pytest.fixture
async def crm() -> AsyncIterator[Zoho]:
    """An account."""
    async with Zoho() as vendor:
        yield vendor


def driver(crm: Zoho, **settings: Any) -> Driver:
    """Return a driver of the account, logged in."""
    names = ("client_id", "client_secret", "refresh_token")
    secrets: dict[str, Any] = {name: Secret("${X}") for name in names}
    target = ZohoTarget(kind="zoho", base_url=crm.url, accounts_url=crm.url, **secrets, **settings)
    return Driver(KIND, target, crm.url, {"Authorization": f"Zoho-oauthtoken {crm.give_token()}"})


@pytest.mark.parametrize("module", ["Leads", "Contacts"])
async def test_a_task_is_made_on_the_leads_record(crm: Zoho, module: str) -> None:
    """The record is made first, with the last name that Zoho insists on."""
    ended = await driver(crm, object=module, id_field="LeadPulse_Id").act(act_of("crm", "task", FIELDS))
    assert (ended.error, crm.refusals) == (None, [])
    [(record, held)] = crm.rows[module].items()
    company = {"Company": "acme.example"} if module == "Leads" else {}
    assert held == {
        "LeadPulse_Id": "lead-42", "Email": "ada@acme.example", "Last_Name": "Lovelace", "First_Name": "Ada", **company,
    }  # fmt: skip
    [(id_, task)] = crm.rows["Tasks"].items()
    about = {"What_Id": {"id": record}, "$se_module": "Leads"} if module == "Leads" else {"Who_Id": {"id": record}}
    assert (ended.remote_id, task) == (
        id_,
        {
            "Subject": "Call Ada",
            "Due_Date": "2026-03-05",
            "Status": "Not Started",
            "Priority": "High",
            "Description": "Hot\n\nLeadPulse call lead-42:7",
            "Owner": {"id": "4150868000000225013"},
            "on": record,
            **about,
        },
    )


async def test_a_record_that_is_there_keeps_its_names(crm: Zoho) -> None:
    """And no workflow of the account starts, unless it is wanted."""
    crm.add("Leads", Email="ada@acme.example", Last_Name="King")
    await driver(crm, id_field="LeadPulse_Id").act(act_of("crm", "task", FIELDS))
    assert list(crm.rows["Leads"].values()) == [{"Email": "ada@acme.example", "Last_Name": "King", "LeadPulse_Id": "lead-42"}]
    assert crm.triggered == [[], []]
    await driver(crm, workflows=True).act(act_of("crm", "task", FIELDS))
    assert crm.triggered[2:] == [["workflow"], ["workflow"]]


async def test_an_address_never_replaces_a_name(crm: Zoho) -> None:
    """Where Zoho wants a last name for an update too, a lead without a name is searched first."""
    crm.strict = True
    known = crm.add("Leads", Email="ada@acme.example", Last_Name="King")
    written = await driver(crm).write(
        state_of("crm", "lead-1", STATE, person={"email": "ada@acme.example"}),
        state_of("crm", "lead-2", STATE, person={"email": "eve@acme.example"}),
        state_of("crm", "lead-3", STATE, person={"email": "zoe@acme.example", "name": "Zoe Fox"}),
    )
    assert [one.error for one in written] == [None] * 3
    assert crm.rows["Leads"][known] == {"Email": "ada@acme.example", "Last_Name": "King", **STATE}
    assert [row["Last_Name"] for row in crm.rows["Leads"].values()] == ["King", "eve@acme.example", "Fox"]
    assert crm.refusals == []


async def test_each_record_has_its_own_error(crm: Zoho) -> None:
    """200 with errors inside: a locked one is tried again, and new ones are made in a second request."""
    crm.add("Leads", Email="lead-1@acme.example", Last_Name="L")
    crm.locked.add("lead-1@acme.example")
    written = await driver(crm).write(
        state_of("crm", "lead-1", STATE),
        state_of("crm", "lead-2", STATE),
        state_of("crm", "lead-3", {"LeadPulse_Score": "much"}),
        state_of("crm", "lead-4", STATE, person={}),
        state_of("crm", "visitor:1", STATE, person={}),
    )
    assert [type(one.error) for one in written] == [Again, type(None), Final, Final, type(None)]
    assert "(LeadPulse_Score)" in str(written[2].error)
    assert [row.get("LeadPulse_Score") for row in crm.rows["Leads"].values()] == [None, 78.5]
    assert [one.method for one in crm.requests] == ["POST", "GET", "GET", "POST"]
    assert crm.refusals == []


async def test_a_search_that_is_refused_takes_nothing_from_the_rest_of_the_batch(crm: Zoho) -> None:
    """The other leads are made, and only the one that could not be searched comes again."""
    crm.strict = True
    crm.script("GET", "/search$", problem(429, "TOO_MANY_REQUESTS", "limit"))
    written = await driver(crm).write(
        *(state_of("crm", lead, STATE, person={"email": f"{lead}@acme.example"}) for lead in ("ada", "eve", "bob"))
    )
    assert {one.lead_id: type(one.error) for one in written} == {"ada": Again, "eve": type(None), "bob": type(None)}


async def test_a_batch_that_is_refused_whole_is_halved(crm: Zoho) -> None:
    """Down to one."""
    crm.script("POST", "/upsert$", problem(400, "INVALID_DATA", "body"), times=1)
    written = await driver(crm).write(*(state_of("crm", f"lead-{number}", STATE) for number in range(100)))
    assert {one.error for one in written} == {None}
    assert len(crm.rows["Leads"]) == 100


async def test_leads_with_zohos_own_ids(crm: Zoho) -> None:
    """As those that come from its notifications."""
    known = crm.add("Leads", Last_Name="L")
    own = driver(crm, id_field="id")
    written = await own.write(state_of("crm", known, STATE, person={}), state_of("crm", "lead-2", STATE))
    assert [one.error for one in written] == [None, None]
    assert crm.rows["Leads"][known]["LeadPulse_Score"] == 78.5
    ended = await own.act(act_of("crm", "task", FIELDS, lead_id=known))
    assert crm.rows["Tasks"][ended.remote_id]["on"] == known
    assert crm.refusals == []


@pytest.mark.parametrize("unsure", ["task", "*"])
async def test_a_task_whose_answer_was_lost_is_found(crm: Zoho, unsure: str) -> None:
    """By its reference, on whatever page it is; it is not made again."""
    crm.page = 2
    crm.lose_answer("POST", "/Tasks$")
    first = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert isinstance(first.error, Lost)
    [made] = crm.rows["Tasks"]
    others = {f"{number}": {"on": first.known["contact"], "Description": "LeadPulse call lead-42:71"} for number in range(5)}
    crm.rows["Tasks"] = others | crm.rows["Tasks"]
    second = await driver(crm).act(act_of("crm", "task", FIELDS), Run({} if unsure == "*" else first.known, unsure))
    assert (second.error, second.remote_id) == (None, made)
    assert len(crm.asked("POST", "/Tasks$")) == 1
    assert crm.refusals == []


async def test_a_task_that_cannot_be_found_is_unknown(crm: Zoho) -> None:
    """Also where the record has no tasks at all (204)."""
    crm.script("POST", "/Tasks$", lost=True)
    first = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert isinstance((await driver(crm).again(act_of("crm", "task", FIELDS), first)).error, Unknown)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem(429, "TOO_MANY_REQUESTS", "too many"), Again),
        (problem(400, "LIMIT_EXCEEDED", "limit"), Again),
        (problem(500, "INTERNAL_ERROR", "Internal server error occurred."), Lost),
        (problem(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope"), Misconfigured),
        (problem(401, "AUTHENTICATION_FAILURE", "Authentication failed"), Expired),
        (problem(404, "INVALID_URL_PATTERN", "Please check"), Misconfigured),
        (Reply(201, {"data": [{"status": "error", "code": "INVALID_DATA", "message": "bad"}]}), Final),
        (Reply(201, {"data": []}), Lost),
    ],
)
async def test_errors_are_told_apart(crm: Zoho, reply: Reply, kind: type[Exception]) -> None:
    """By their codes; a 2xx may hold an error, or nothing."""
    crm.script("POST", "/Tasks$", reply)
    ended = await driver(crm).act(act_of("crm", "task", FIELDS))
    assert type(ended.error) is kind


async def test_an_expired_token_says_so(crm: Zoho) -> None:
    """In the midst of an act."""
    held = driver(crm)
    crm.end_tokens()
    assert expired(await held.act(act_of("crm", "task", FIELDS)))


@pytest.mark.parametrize("id_field", ["LeadPulse_Id", ""])
async def test_a_record_is_deleted(crm: Zoho, id_field: str) -> None:
    """Once; a repeat finds nothing, and is no error."""
    crm.add("Leads", LeadPulse_Id="lead(4),2", Email="ada@acme.example", Last_Name="L")
    for _ in range(2):
        ended = await driver(crm, id_field=id_field).act(act_of("crm", "forget", {}, lead_id="lead(4),2"))
        assert ended.error is None
        assert crm.rows["Leads"] == {}
    assert crm.refusals == []


def test_few_credits_stop_us() -> None:
    """Zoho counts a day's credits."""
    assert KIND.spare(Answer(200, b"", {"x-api-credits-remaining": "499"})) == 3_600.0
    assert KIND.spare(Answer(200, b"", {"x-api-credits-remaining": "500"})) == 0.0


async def test_a_target_without_the_leads_id_is_stopped(crm: Zoho) -> None:
    """An operator has yet to make it. No act dies of that, and no batch goes in halves."""
    held = driver(crm, id_field="Lead_Ident")
    with pytest.raises(Misconfigured, match="act prepare"):
        await held.write(*(state_of("crm", f"lead-{number}", STATE) for number in range(10)))
    assert isinstance((await held.act(act_of("crm", "task", FIELDS))).error, Misconfigured)
    assert len(crm.requests) == 2
