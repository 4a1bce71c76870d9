"""States of leads: the newest counts, batches are taken apart by record, and one that spoils a batch spoils no other."""

from __future__ import annotations

import asyncio
import functools

import pytest

from tests.kit.acting import Acting
from tests.kit.state_acts import none_waits, state_stage
from tests.kit.waits import until


async def test_only_the_newest_state_is_written() -> None:
    """What came meanwhile is coalesced, and an older one that comes later is passed over."""
    made, crm = state_stage()
    async with made.acting():
        for seq in (1, 2, 5, 3, 4):
            made.publish(seq=seq, score=float(seq))
        await until(lambda: crm.held.get("ada", {}).get("sequence") == 5, "the newest")
        await none_waits(made)
        made.publish(seq=4, score=99.0)
        made.publish(lead="eve", seq=1)
        await until(lambda: "eve" in crm.held, "another lead")
    assert crm.held["ada"] == {"id": "ada", "sequence": 5, "score": 5.0}


async def test_many_leads_go_in_few_requests() -> None:
    """At most a batch's number in each."""
    made, crm = state_stage(batch=20)
    async with made.acting():
        for number in range(200):
            made.publish(lead=f"lead-{number}")
        await until(lambda: len(crm.held) == 200, "all states")
    assert max(map(len, crm.batches)) <= 20
    assert len(crm.batches) < 40


async def test_a_record_that_is_refused_is_given_up_alone() -> None:
    """And one that is busy comes again."""
    made, crm = state_stage()
    crm.errors = {"bad": "bad", "busy": "busy"}
    async with made.acting():
        for lead in ("ada", "bad", "busy", "eve"):
            made.publish(lead=lead)
        await until(lambda: {"ada", "eve"} <= crm.held.keys(), "the others")
        crm.errors = {}
        made.later(60_000)
        await until(lambda: "busy" in crm.held, "the busy one")
        await none_waits(made)
    assert "bad" not in crm.held
    written = made.metrics.states.labels("hook", "dead")._value.get()
    assert written == 1


async def test_a_batch_that_one_spoils_is_halved() -> None:
    """Down to the one, which is given up."""
    made, crm = state_stage()
    crm.spoils = {"lead-3"}
    async with made.acting():
        for number in range(10):
            made.publish(lead=f"lead-{number}")
        await until(lambda: len(crm.held) == 9, "the others")
        await none_waits(made)
    assert "lead-3" not in crm.held


async def test_a_target_that_is_down_gets_the_newest_state_only() -> None:
    """Five states of a lead came while it was down: it is written once."""
    made, crm = state_stage()
    made.target.answers = [503] * 3
    async with made.acting():
        made.publish(seq=1, score=1.0)
        await until(lambda: made.target.requests, "an attempt")
        for seq in range(2, 6):
            made.publish(seq=seq, score=float(seq))
        await asyncio.sleep(0.5)
        crm.held.clear()
        made.target.answers = []
        made.later(120_000)
        await until(lambda: crm.held, "it is written")
        await none_waits(made)
    assert crm.held["ada"]["sequence"] == 5


@pytest.mark.parametrize(("age_s", "waits_s"), [(0, 2), (60, 15), (600, 150), (36_000, 900)])
async def test_a_state_waits_longer_the_longer_it_could_not_be_written(age_s: int, waits_s: int) -> None:
    """A quarter of its age, from 2 s to 15 minutes. So a target that was down for long is not asked without end."""
    made, _ = state_stage()
    made.target.answers = [503, 503]
    async with made.acting():
        made.publish()
        await until(lambda: made.target.requests, "the first attempt")
        if age_s:
            await until(functools.partial(_again, made, 1), "it is put back")
            made.later(age_s * 1000)
            await until(lambda: len(made.target.requests) == 2, "the second attempt")
        await until(functools.partial(_again, made, 1 + bool(age_s)), "it is put back")
        dues = [await ledger.next_due(["hook"]) for ledger in made.ledgers]
        left_s = (max(due_ms or 0 for due_ms in dues) - made.now_ms()) / 1000
    assert waits_s - 2 < left_s <= waits_s + 1


def _again(made: Acting, number: int) -> bool:
    return bool(made.metrics.states.labels("hook", "again")._value.get() >= number)


async def test_a_state_of_a_target_that_goes_on_is_written_within_seconds_however_old_it_is() -> None:
    """A pause is no failure of the target, so the state's age does not count."""
    made, crm = state_stage()
    await made.limits.pause("target:hook", True)
    async with made.acting():
        made.publish()
        await until(functools.partial(_again, made, 1), "it waits")
        made.later(36_000_000)
        await until(functools.partial(_again, made, 2), "it still waits")
        await made.limits.pause("target:hook", False)
        made.later(5_000)
        await until(lambda: crm.held, "it is written")
