"""One person under two ids, of which one became the other while something waited at a target."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.acting import Acting
from tests.kit.state_acts import none_waits, state_stage
from tests.kit.waits import until

ADDRESS = "email:ada@example.com"


async def _waits_for_its_crm(stage: Acting) -> None:
    stage.target.answers = [503] * 50
    stage.publish(lead=ADDRESS, seq=1)
    await until(lambda: stage.target.requests, "an attempt")


@pytest.mark.parametrize("cancelled_by", ["lead.cooled", "crm.accepted"])
async def test_sales_accept_the_lead_that_an_address_became(cancelled_by: str) -> None:
    """The act waits under the address, and the CRM names the lead by its own id."""
    stage = Acting()
    async with stage.acting():
        await _waits_for_its_crm(stage)
        stage.aliases[ADDRESS] = ("42", "visitor:1")
        if cancelled_by == "crm.accepted":
            stage.happen("crm.accepted", "42")
        else:
            stage.publish("lead.cooled", "42", seq=1)
        await until(lambda: stage.acks.records, "its end")
    assert await stage.states(ADDRESS) == ["cancelled"]


async def test_what_came_before_the_output_cancels_nothing() -> None:
    """Under another id as under its own."""
    stage = Acting()
    stage.aliases[ADDRESS] = ("42",)
    async with stage.acting():
        stage.happen("crm.accepted", "42", at_ms=stage.now_ms() - 60_000)
        await until(lambda: any(ledger._cancels for ledger in stage.ledgers), "the event is read")
        stage.publish(lead=ADDRESS, seq=1)
        await until(lambda: stage.acks.records, "its end")
    assert await stage.states(ADDRESS) == ["done"]


async def test_a_state_of_a_former_id_never_replaces_a_newer_one_of_the_lead() -> None:
    """The CRM has one record for both. It was down while the address became a lead of the CRM, which moved on."""
    stage, crm = state_stage()
    crm.errors = {ADDRESS: "busy"}
    async with stage.acting():
        stage.publish(lead=ADDRESS, seq=7, score=80.0)
        await until(lambda: crm.batches, "an attempt")
        stage.leads[ADDRESS] = "42"
        stage.publish("lead.stage", "42", seq=1, score=95.0)
        await until(lambda: "42" in crm.held, "the newer one")
        crm.errors = {}
        stage.later(60_000)
        await none_waits(stage)
    assert crm.held == {"42": {"id": "42", "sequence": 1, "score": 95.0}}


async def test_a_state_of_a_former_id_goes_to_a_lead_that_has_none() -> None:
    """It is the newest that is known of the person."""
    stage, crm = state_stage()
    crm.errors = {ADDRESS: "busy"}
    async with stage.acting():
        stage.publish(lead=ADDRESS, seq=7, score=80.0)
        await until(lambda: crm.batches, "an attempt")
        stage.leads[ADDRESS] = "42"
        stage.later(60_000)
        await until(lambda: "42" in crm.held, "the state")
        await none_waits(stage)
        stage.publish("lead.stage", "42", seq=1, score=95.0)
        await until(lambda: crm.held["42"]["score"] == 95.0, "a newer one")
        await asyncio.sleep(0)
    assert crm.held.keys() == {"42"}
