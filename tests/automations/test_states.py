"""States of leads: the newest counts, batches are taken apart by record, and one that spoils a batch spoils no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.kit.acting import HOOKS, Acting
from tests.kit.waits import until
from worker.automation_ports import Answered
from worker.automations.acts import LeadState
from worker.automations.requests import Again, Answer, Final, Http, Split, Writes, Written
from worker.automations.targets.registry import KINDS
from worker.automations.targets.webhook import judge as hook_judge

SYNC = "sync:\n  - {to: hook, object: contact, fields: {score: score}}\n"


def _write(_target: Any, states: Sequence[LeadState]) -> Writes:
    body = [{"id": s.lead_id, "sequence": s.sequence, **s.fields} for s in states]
    answer = yield Http.json("write", "POST", "/write", body, headers={"webhook-id": "write"})
    ends = {one["id"]: one for one in answer.json()}
    return [Written(s.lead_id, s.sequence, _error(ends.get(s.lead_id, {}).get("error"))) for s in states]


def _error(word: str | None) -> Any:
    return {None: None, "bad": Final("bad value"), "busy": Again("busy")}[word]


def _judge(answer: Answer) -> None:
    if answer.status == 409:
        raise Split("one of them is in conflict")
    hook_judge(answer)


class Crm:
    """Keeps what was written last of each lead, and refuses some."""

    def __init__(self, stage: Acting) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.batches: list[list[str]] = []
        self.errors: dict[str, str] = {}
        self.spoils: set[str] = set()
        """Leads for which a whole batch is refused."""
        self._stage = stage
        stage.target.reply = self.reply  # type: ignore[method-assign, assignment]

    def reply(self, _method: str, _url: str, _headers: Mapping[str, str]) -> Answered:
        """Answer the request that came last."""
        body = self._stage.target.requests[-1][3]
        self.batches.append([one["id"] for one in body])
        if self.spoils & {one["id"] for one in body}:
            return Answered(409, b"{}")
        ends = []
        for one in body:
            error = self.errors.get(one["id"])
            if error is None:
                self.held[one["id"]] = one
            ends.append({"id": one["id"], **({"error": error} if error else {})})
        return Answered(200, json.dumps(ends).encode())


def stage(batch: int = 10) -> tuple[Acting, Crm]:
    """Return a stage with a CRM that keeps states."""
    hook = KINDS["webhook"]._replace(write=_write, judge=_judge, batch=batch)
    made = Acting(SYNC, HOOKS, {**KINDS, "webhook": hook})
    return made, Crm(made)


async def waiting(made: Acting) -> int:
    """Return how many states wait."""
    found = [await ledger.figures() for ledger in made.ledgers]
    return sum(one.get("hook", {}).get("states", 0) for one in found)


async def none_waits(made: Acting) -> None:
    """Wait until no state waits."""

    async def none() -> bool:
        return not await waiting(made)

    await until(none, "no state waits")


async def test_only_the_newest_state_is_written() -> None:
    """What came meanwhile is coalesced, and an older one that comes later is passed over."""
    made, crm = stage()
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
    made, crm = stage(batch=20)
    async with made.acting():
        for number in range(200):
            made.publish(lead=f"lead-{number}")
        await until(lambda: len(crm.held) == 200, "all states")
    assert max(map(len, crm.batches)) <= 20
    assert len(crm.batches) < 40


async def test_a_record_that_is_refused_is_given_up_alone() -> None:
    """And one that is busy comes again."""
    made, crm = stage()
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
    made, crm = stage()
    crm.spoils = {"lead-3"}
    async with made.acting():
        for number in range(10):
            made.publish(lead=f"lead-{number}")
        await until(lambda: len(crm.held) == 9, "the others")
        await none_waits(made)
    assert "lead-3" not in crm.held


async def test_a_target_that_is_down_gets_the_newest_state_only() -> None:
    """Five states of a lead came while it was down: it is written once."""
    made, crm = stage()
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
