"""Zoho CRM: notifications as a live account sent them, and records as the API answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.inbound import events_of, made_of, told
from tests.kit.lookups import addresses, answered, asked, ids, said
from worker.intake.vendors.common import Unmapped

ONE, TWO = "5725767000003000010", "5725767000003000020"
STAGES = {"Closed Won": "crm.won", "Closed Lost": "crm.lost", "Junk Lead": "crm.rejected"}
AT = "2024-06-11T14:25:53.625Z"


def notice(module: str, operation: str, values: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a notification about the records of *values*."""
    return {
        "server_time": 1718115953625,
        "affected_values": [{"record_id": record, "values": held} for record, held in (values or {}).items() if held],
        "query_params": {},
        "module": module,
        "resource_uri": "https://www.zohoapis.com/crm/v8/Leads",
        "ids": list(values or {}),
        "affected_fields": [],
        "operation": operation,
        "channel_id": "1000000068001",
        "token": "t",
        **fields,
    }


def test_the_record_is_the_lead_and_its_values_are_traits() -> None:
    """Several records in one notification; an emptied field removes its trait."""
    values = {ONE: {"Email": "Ada@acme.example", "No_of_Employees": 80}, TWO: {"Designation": None, "field71": "x"}}
    first, second = events_of("zoho", notice("Leads", "update", values))
    assert told(first) == ("profile.updated", ONE, AT, {"traits": {"email": "Ada@acme.example", "company.size": 80}})
    assert told(second) == ("profile.updated", TWO, AT, {"traits": {"role": None}})
    [contact] = events_of("zoho", notice("Contacts", "update", {ONE: {"Title": "CTO"}}))
    assert contact["data"]["traits"] == {"role": "CTO"}
    [mapped] = events_of("zoho", notice("Leads", "update", {ONE: {"field71": "vp"}}), traits={"seniority": "field71"})
    assert mapped["data"]["traits"] == {"seniority": "vp"}
    assert made_of("zoho", notice("Leads", "update", {ONE: {"field71": "vp"}})).passed_over == {"Leads of no trait": 1}


def test_an_expression_that_fails_refuses_one_profile_alone() -> None:
    """The other records, and the record's status, are as good as before."""
    values = {ONE: {"Lead_Status": "Junk Lead"}, TWO: {"Email": "a@b.example"}}
    made = made_of("zoho", notice("Leads", "update", values), stages=STAGES, traits={"x": "length(Email)"})
    assert [(new.type, new.subject) for new in made.events] == [("crm.rejected", ONE), ("profile.updated", TWO)]
    assert len(made.refused) == 1


def test_a_record_without_values_is_asked_for() -> None:
    """As the channel sends them by default."""
    made = asked("zoho", notice("Contacts", "insert", {ONE: None}))
    assert addresses("zoho", made) == [f"https://www.zohoapis.com/crm/v8/Contacts/{ONE}"]
    record = {
        "id": ONE,
        "Email": "Ada@acme.example",
        "Title": "CTO",
        "Account_Name": {"name": "Acme", "id": "9"},
        "Phone": None,
    }
    assert said(answered("zoho", made.lookups[0], {"data": [record]})) == [
        ("profile.updated", ONE, AT, {"traits": {"email": "Ada@acme.example", "role": "CTO", "company.name": "Acme"}})
    ]
    assert made_of("zoho", notice("Contacts", "insert", {ONE: None})).passed_over == {"Contacts without values or api": 1}


def test_a_deal_is_of_its_contact() -> None:
    """The stage that was told counts, also if the deal has moved on since."""
    made = asked("zoho", notice("Deals", "update", {ONE: {"Stage": "Closed Lost"}, TWO: {"Amount": 3}}), stages=STAGES)
    assert addresses("zoho", made) == [f"https://www.zohoapis.com/crm/v8/Deals/{ONE}"]
    assert made.passed_over == {"Deals.Stage that `stages` does not name": 1}
    deal = {"id": ONE, "Stage": "Open", "Amount": 1500.5, "Contact_Name": {"name": "Ada", "id": "77"}, "Owner": {"id": "9"}}
    found = answered("zoho", made.lookups[0], {"data": [deal | {"Reason_For_Loss__s": "price"}]}, stages=STAGES)
    assert said(found) == [("crm.lost", "77", AT, {"amount": 1500.5, "owner": "9", "reason": "price"})]
    nobody = answered("zoho", made.lookups[0], {"data": [deal | {"Contact_Name": None}]}, stages=STAGES)
    assert nobody.passed_over == {"deal without contact": 1}


def test_a_deal_whose_change_is_not_told_is_in_a_stage_once() -> None:
    """Any edit of a won deal looks the same."""
    found = []
    for time in (1718115953625, 1718115999999):
        made = asked("zoho", notice("Deals", "update", {ONE: None}, server_time=time), stages=STAGES)
        deal = {"id": ONE, "Stage": "Closed Won", "Contact_Name": {"id": "77"}}
        found.append(ids(answered("zoho", made.lookups[0], {"data": [deal]}, stages=STAGES)))
    assert found[0] == found[1]
    made = asked("zoho", notice("Deals", "update", {ONE: None}), stages=STAGES)
    open_ = answered("zoho", made.lookups[0], {"data": [{"Stage": "Open", "Contact_Name": {"id": "7"}}]}, stages=STAGES)
    assert open_.passed_over == {"Deals.Stage that `stages` does not name": 1}


def test_a_status_of_a_lead_may_be_a_stage() -> None:
    """Sales send a lead back there."""
    made = made_of("zoho", notice("Leads", "update", {ONE: {"Lead_Status": "Junk Lead"}}), stages=STAGES)
    assert said(made) == [("crm.rejected", ONE, AT, {})]


def test_our_own_writes_are_passed_over() -> None:
    """By the values, or by the names of fields where there are none."""
    body = notice("Leads", "update", {ONE: {"LeadPulse_Score": 80, "Modified_Time": "x"}})
    assert made_of("zoho", body).passed_over == {"our own change": 1}
    body = notice("Leads", "update", {ONE: None}, affected_fields=[{ONE: ["LeadPulse_Score", "LeadPulse_Grade"]}])
    assert asked("zoho", body).passed_over == {"our own change": 1}
    body = notice("Leads", "update", {ONE: None}, affected_fields=[{ONE: ["LeadPulse_Score", "Email"]}])
    assert len(asked("zoho", body).lookups) == 1


def test_a_deleted_record_is_erased_if_the_source_says_so() -> None:
    """A person alone."""
    assert made_of("zoho", notice("Leads", "delete", {ONE: None})).passed_over == {"Leads.delete": 1}
    assert said(made_of("zoho", notice("Leads", "delete", {ONE: None}), erase=True)) == [("lead.erased", ONE, AT, {})]
    assert made_of("zoho", notice("Deals", "delete", {ONE: None}), erase=True).events == []


def test_a_repeat_is_the_same_event_and_what_is_missing_is_named() -> None:
    """Other modules are counted."""
    body = notice("Leads", "update", {ONE: {"Email": "a@b.example"}})
    assert ids(made_of("zoho", body)) == ids(made_of("zoho", dict(body)))
    assert made_of("zoho", notice("Tasks", "insert", {ONE: None})).passed_over == {"Tasks.insert": 1}
    made = asked("zoho", notice("Leads", "insert", {ONE: None}))
    with pytest.raises(Unmapped, match="no answer about Leads"):
        answered("zoho", made.lookups[0], {"code": "INVALID_TOKEN"})
