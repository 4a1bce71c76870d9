"""Salesforce's requests against a Salesforce that refuses what Salesforce refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of, expired, state_of
from tests.kit.vendors.salesforce import Salesforce, error
from worker.automations.requests import Again, Answer, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.salesforce import KIND
from worker.automations.targets.salesforce_api import text
from worker.connections.secret import Secret
from worker.connections.targets import SalesforceTarget

FIELDS = {"subject": "Call Ada", "body": "Hot & near", "due": "2026-03-05T23:34:56+01:00", "owner": "anna@example.com"}
STATE = {"LeadPulse_Score__c": 78.5, "LeadPulse_Grade__c": "B1"}


@pytest.fixture
async def org() -> AsyncIterator[Salesforce]:
    """An organisation."""
    async with Salesforce() as vendor:
        yield vendor


def driver(org: Salesforce, **settings: Any) -> Driver:
    """Return a driver of the organisation, logged in."""
    client: dict[str, Any] = {"client_id": Secret("${I}"), "client_secret": Secret("${S}")}
    target = SalesforceTarget(kind="salesforce", base_url=org.url, **client, **settings)
    return Driver(KIND, target, org.url, {"Authorization": f"Bearer {org.give_token()}"})


@pytest.mark.parametrize("kind", ["Lead", "Contact"])
async def test_a_task_is_made_on_the_leads_record(org: Salesforce, kind: str) -> None:
    """The record is made first, with what Salesforce insists on."""
    ended = await driver(org, object=kind).act(act_of("crm", "task", FIELDS))
    assert (ended.error, org.refusals) == (None, [])
    [record] = org.of(kind)
    assert (record["LeadPulse_Id__c"], record["LastName"], record["FirstName"]) == ("lead-42", "Lovelace", "Ada")
    assert (record["Email"], record.get("Company")) == ("ada@acme.example", "acme.example" if kind == "Lead" else None)
    [task] = org.of("Task")
    assert {name: task[name] for name in ("WhoId", "Subject", "ActivityDate", "Priority", "Description")} == {
        "WhoId": record["Id"],
        "Subject": "Call Ada",
        "ActivityDate": "2026-03-05",
        "Priority": "High",
        "Description": "Hot & near\n\nLeadPulse call lead-42:7",
    }
    assert task["OwnerId"] == org.of("User")[0]["Id"]
    assert ended.remote_id == task["Id"]


async def test_a_record_that_is_there_keeps_its_names(org: Salesforce) -> None:
    """Sales may have corrected them."""
    org.add("Lead", LeadPulse_Id__c="lead-42", LastName="King", Company="Acme Ltd")
    ended = await driver(org).act(act_of("crm", "task", FIELDS))
    assert (ended.error, ended.steps) == (None, ["contact", "owner", "task"])
    [record] = org.of("Lead")
    assert (record["LastName"], record["Company"]) == ("King", "Acme Ltd")


async def test_a_record_with_the_leads_address_gets_the_external_id(org: Salesforce) -> None:
    """No second one is made, whatever quotes the address has."""
    known = org.add("Lead", Email="o'neil@acme.example", LastName="O'Neil", Company="Acme")
    ended = await driver(org).act(act_of("crm", "task", FIELDS, person={"email": "O'Neil@acme.example"}))
    assert (ended.error, org.refusals) == (None, [])
    assert [row["Id"] for row in org.of("Lead")] == [known]
    assert org.rows[known]["LeadPulse_Id__c"] == "lead-42"


async def test_another_leads_record_is_left_alone(org: Salesforce) -> None:
    """Two leads with one address have a record each."""
    org.add("Lead", Email="ada@acme.example", LastName="King", Company="Acme", LeadPulse_Id__c="lead-1")
    assert (await driver(org).act(act_of("crm", "task", FIELDS))).error is None
    assert [row["LeadPulse_Id__c"] for row in org.of("Lead")] == ["lead-1", "lead-42"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_converted_lead_is_written_as_its_contact(org: Salesforce, known: bool) -> None:
    """Whether it is found by the external id or by the address."""
    held = {"LeadPulse_Id__c": "lead-42"} if known else {}
    lead = org.add("Lead", Email="ada@acme.example", LastName="King", Company="Acme", **held)
    contact = org.convert(lead)
    assert (await driver(org).act(act_of("crm", "task", FIELDS))).error is None
    assert [task["WhoId"] for task in org.of("Task")] == [contact]
    [written] = await driver(org).write(state_of("crm", "lead-42", STATE, person={"email": "ada@acme.example"}))
    assert (written.error, org.rows[contact]["LeadPulse_Score__c"]) == (None, 78.5)
    assert org.refusals == []


@pytest.mark.parametrize("unsure", ["task", "*"])
async def test_a_task_whose_answer_was_lost_is_found(org: Salesforce, unsure: str) -> None:
    """By its reference, among the record's tasks; it is not made again."""
    org.lose_answer("POST", "/sobjects/Task$")
    first = await driver(org).act(act_of("crm", "task", FIELDS))
    assert isinstance(first.error, Lost)
    org.add("Task", WhoId=first.known["contact"], Description="LeadPulse call lead-42:71")
    second = await driver(org).act(act_of("crm", "task", FIELDS), Run({} if unsure == "*" else first.known, unsure))
    assert second.remote_id == org.of("Task")[0]["Id"]
    assert len(org.asked("POST", "/sobjects/Task$")) == 1
    assert org.refusals == []


async def test_a_task_that_cannot_be_found_is_unknown(org: Salesforce) -> None:
    """Its request may still be on its way."""
    org.script("POST", "/sobjects/Task$", lost=True)
    first = await driver(org).act(act_of("crm", "task", FIELDS))
    second = await driver(org).again(act_of("crm", "task", FIELDS), first)
    assert isinstance(second.error, Unknown)


async def test_a_batch_is_a_few_requests_whatever_is_in_it(org: Salesforce) -> None:
    """New ones, known ones, adopted ones and converted ones."""
    org.add("Lead", LeadPulse_Id__c="lead-0", LastName="Known", Company="A")
    org.add("Lead", Email="lead-1@acme.example", LastName="Adopted", Company="A")
    contact = org.convert(org.add("Lead", LeadPulse_Id__c="lead-2", LastName="Converted", Company="A"))
    written = await driver(org).write(*(state_of("crm", f"lead-{number}", STATE) for number in range(200)))
    assert {type(one.error) for one in written} == {type(None)}
    assert [str(one).rpartition("/")[2] for one in org.requests if one.method == "PATCH"] == [
        "LeadPulse_Id__c", "sobjects", "LeadPulse_Id__c", "sobjects",
    ]  # fmt: skip
    assert sum(row.get("LeadPulse_Score__c") == 78.5 for row in org.of("Lead")) == 199
    assert org.rows[contact]["LeadPulse_Score__c"] == 78.5
    assert org.refusals == []
    org.requests.clear()
    await driver(org).write(*(state_of("crm", f"lead-{number}", STATE) for number in range(3, 200)))
    assert len(org.requests) == 1


@pytest.mark.parametrize("id_field", ["LeadPulse_Id__c", "Id"])
async def test_long_addresses_are_asked_for_in_several_requests(org: Salesforce, id_field: str) -> None:
    """Salesforce takes 16,384 bytes of address and headers. Each lead is found all the same."""
    leads = [f"email:{number:03}{'é' if number % 2 else 'x' * 50}@{'a' * 40}.example" for number in range(200)]
    for lead in leads:
        org.add("Lead", Email=lead.removeprefix("email:"), LastName="There", Company="A")
    written = await driver(org, id_field=id_field).write(*(state_of("crm", lead, STATE, person={}) for lead in leads))
    assert {type(one.error) for one in written} == {type(None)}
    assert len([one for one in org.requests if one.method == "GET"]) > 1
    assert (len(org.of("Lead")), org.refusals) == (200, [])


async def test_many_converted_leads_are_asked_for_in_several_requests(org: Salesforce) -> None:
    """As many as a batch has, whose ids are long."""
    leads = [f"{number:03}{'é' * 40}" for number in range(200)]
    contacts = [org.convert(org.add("Lead", LeadPulse_Id__c=lead, LastName="Converted", Company="A")) for lead in leads]
    written = await driver(org).write(*(state_of("crm", lead, STATE) for lead in leads))
    assert {type(one.error) for one in written} == {type(None)}
    assert [org.rows[contact].get("LeadPulse_Score__c") for contact in contacts] == [78.5] * 200
    assert org.refusals == []


async def test_each_record_has_its_own_error(org: Salesforce) -> None:
    """200 with errors inside; a locked one is tried again."""
    org.locked.add("lead-1")
    org.add("Lead", LeadPulse_Id__c="lead-2", LastName="L", Company="A")
    written = await driver(org).write(
        state_of("crm", "lead-1", STATE),
        state_of("crm", "lead-2", {"LeadPulse_Grade__c": "x" * 256}),
        state_of("crm", "lead-3", STATE),
        state_of("crm", "lead-4", STATE | {"LeadPulse_Scor__c": 1}),
    )
    assert [type(one.error) for one in written] == [Again, Final, type(None), Final]
    assert "no field LeadPulse_Scor__c" in str(written[3].error)


async def test_a_value_of_another_type_harms_no_other_record(org: Salesforce) -> None:
    """Salesforce refuses the whole request, so it goes in halves."""
    states = [state_of("crm", f"lead-{number}", STATE) for number in range(9)]
    states[5] = state_of("crm", "lead-5", {"LeadPulse_Score__c": "much"})
    written = await driver(org).write(*states)
    assert [number for number, one in enumerate(written) if one.error] == [5]


async def test_leads_with_salesforces_own_ids(org: Salesforce) -> None:
    """As those that come from its webhooks: leads and contacts together, and none is made."""
    lead = org.add("Lead", LastName="L", Company="A")
    contact = org.add("Contact", LastName="C", Email="eve@x.example")
    own = driver(org, id_field="Id", object="Contact")
    written = await own.write(
        state_of("crm", lead, STATE), state_of("crm", contact, STATE), state_of("crm", "email:eve@x.example", STATE, person={}),
        state_of("crm", "email:zoe@x.example", STATE, person={}),
    )  # fmt: skip
    assert [type(one.error) for one in written] == [type(None)] * 3 + [Final]
    assert org.rows[lead]["LeadPulse_Score__c"] == org.rows[contact]["LeadPulse_Score__c"] == 78.5
    ended = await own.act(act_of("crm", "task", FIELDS, lead_id=lead))
    assert org.rows[ended.remote_id]["WhoId"] == lead
    assert org.refusals == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), Again),
        (error(400, "UNABLE_TO_LOCK_ROW", "locked"), Again),
        (error(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "trigger: Too many SOQL queries: 101"), Again),
        (error(503, "SERVER_UNAVAILABLE", "busy"), Again),
        (error(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred"), Lost),
        (error(403, "API_DISABLED_FOR_ORG", "API is not enabled"), Misconfigured),
        (error(404, "NOT_FOUND", "The requested resource does not exist"), Misconfigured),
        (error(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "no"), Final),
    ],
)
async def test_errors_are_told_apart(org: Salesforce, reply: Reply, kind: type[Exception]) -> None:
    """By their codes, since one status means several things."""
    org.script("POST", "/sobjects/Task$", reply)
    ended = await driver(org).act(act_of("crm", "task", FIELDS))
    assert type(ended.error) is kind
    assert ended.unsure == ("task" if kind is Lost else "")


async def test_an_expired_session_says_so(org: Salesforce) -> None:
    """A new token goes on where the old one ended."""
    held = driver(org)
    org.end_tokens()
    assert expired(await held.act(act_of("crm", "task", FIELDS)))
    assert (await driver(org).act(act_of("crm", "task", FIELDS))).error is None


async def test_a_record_is_deleted(org: Salesforce) -> None:
    """Once; a repeat finds nothing, and is no error."""
    org.add("Lead", LeadPulse_Id__c="lead-42", LastName="L", Company="A")
    for _ in range(2):
        assert (await driver(org).act(act_of("crm", "forget", {}))).error is None
        assert org.of("Lead") == []


def test_texts_of_queries_are_escaped() -> None:
    """A lead's address is no part of the query's language."""
    assert text("a' OR Name != '\\") == r"'a\' OR Name != \'\\'"


def test_usage_stops_short_of_the_days_end() -> None:
    """At 95 %."""
    assert KIND.spare(Answer(200, b"", {"sforce-limit-info": "api-usage=95/100"})) == 900.0
    assert KIND.spare(Answer(200, b"", {"sforce-limit-info": "api-usage=94/100"})) == 0.0
    assert KIND.spare(Answer(200, b"", {"sforce-limit-info": "api-usage=0/0"})) == 0.0


async def test_a_target_without_the_leads_id_is_stopped(org: Salesforce) -> None:
    """An operator has yet to make it. No act dies of that, and no batch goes in halves."""
    held = driver(org, id_field="Lead_Ident__c")
    with pytest.raises(Misconfigured, match="act prepare"):
        await held.write(*(state_of("crm", f"lead-{number}", STATE) for number in range(10)))
    assert isinstance((await held.act(act_of("crm", "task", FIELDS))).error, Misconfigured)
    assert len(org.requests) == 2
