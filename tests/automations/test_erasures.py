"""Erasures: after one, nothing writes the person again at a target, whatever was on its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.kit.acting import Acting
from tests.kit.waits import until
from worker.automations.acts import Act, LeadState
from worker.automations.deliver import FORGET_AGAIN_MS
from worker.automations.requests import Http, Remember, Run, Steps, Writes, Written
from worker.automations.targets.registry import KINDS
from worker.sending_ports import Answered, Before

CONNECTIONS = b"targets:\n  crm: {kind: hubspot, token: '${HOOK}', forget: true}\n"
RULES = """
sync:
  - {to: crm, object: contact, fields: {score: score}}
acts:
  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: Call}}
"""


def _write(_target: Any, states: Sequence[LeadState]) -> Writes:
    yield Http.json("contact", "POST", "/contacts", [state.lead_id for state in states])
    return [Written(state.lead_id, state.sequence) for state in states]


def _task(_target: Any, act: Act, _run: Run) -> Steps:
    yield Http.json("contact", "POST", "/contacts", [act.lead_id])
    yield Remember("contact", "1")
    yield Http.json("task", "POST", "/tasks", [act.lead_id], safe=False)
    return "1"


def _forget(_target: Any, act: Act, _run: Run) -> Steps:
    yield Http.json("forget", "DELETE", "/contacts", [act.lead_id])
    return act.lead_id


KIND = KINDS["hubspot"]._replace(actions={"task": _task}, write=_write, forget=_forget)


class Crm:
    """Keeps contacts and tasks of people. A gate holds requests back before they take effect."""

    def __init__(self) -> None:
        self.contacts: set[str] = set()
        self.tasks: list[str] = []
        self.deleted = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.held_back = 0

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Take a request, which takes effect whether its sender still lives or not."""
        if before is not None:
            await before()
        return await asyncio.shield(asyncio.ensure_future(self._taken(method, url, json.loads(body or b"[]"))))

    async def _taken(self, method: str, url: str, leads: list[str]) -> Answered:
        if method == "DELETE":
            self.contacts -= set(leads)
            self.deleted += 1
            return Answered(204, b"")
        if not self.gate.is_set():
            self.held_back += 1
            await self.gate.wait()
        if url.endswith("/tasks"):
            self.tasks += leads
        else:
            self.contacts |= set(leads)
        return Answered(200, b"{}")


def stage(rules: str) -> tuple[Acting, Crm]:
    """Return a stage with a CRM that deletes the people who are erased."""
    made = Acting(rules, CONNECTIONS, {**KINDS, "hubspot": KIND})
    crm = Crm()
    made.http = crm
    return made, crm


@pytest.mark.parametrize("rules", [RULES.partition("acts:")[0], RULES], ids=["a state", "an act"])
@pytest.mark.parametrize("dies", [False, True], ids=["it lives", "it dies"])
async def test_what_was_on_its_way_is_deleted_too(rules: str, dies: bool) -> None:
    """The deletion overtakes a request, which makes the person anew. So the person is deleted once more, by any process."""
    made, crm = stage(rules)
    crm.gate.clear()
    async with made.acting():
        made.publish(seq=1)
        await until(lambda: crm.held_back, "a request is on its way")
        made.publish("lead.erased", seq=2)
        await until(lambda: crm.deleted, "the person is deleted")
        if not dies:
            crm.gate.set()
            await until(lambda: "ada" in crm.contacts, "the request takes effect")
    crm.gate.set()
    await until(lambda: "ada" in crm.contacts, "the request takes effect")
    made.later(FORGET_AGAIN_MS)
    async with made.acting():
        await until(lambda: made.acks.records, "the deletion ends")
    assert (crm.contacts, crm.tasks, crm.deleted) == (set(), [], 2)
    assert [(row.state, row.remote_id) for row in await made.rows("ada")] == [("done", "ada")]


async def test_a_deletion_is_done_after_every_lease_alone() -> None:
    """Until then it waits, and the lead's later acts wait behind it."""
    made, crm = stage(RULES)
    async with made.acting():
        made.publish("lead.erased", seq=2)
        await until(lambda: crm.deleted, "the person is deleted")
        made.later(1_000)
        made.publish(seq=3)
        made.later(60_000)
        await asyncio.sleep(0.5)
        assert (crm.deleted, crm.tasks) == (1, [])
        made.later(FORGET_AGAIN_MS)
        await until(lambda: crm.tasks, "the later act")
    assert crm.deleted == 2


async def test_an_output_of_the_same_millisecond_is_not_acted_on_after_the_erasure() -> None:
    """Its topic is read later. The sequence tells that it is older."""
    made, crm = stage(RULES)
    now_ms = made.now_ms()
    async with made.acting():
        made.publish("lead.erased", seq=2, at_ms=now_ms)
        await until(lambda: crm.deleted, "the person is deleted")
        made.publish(seq=1, at_ms=now_ms)
        made.publish(lead="eve", seq=1)
        await until(lambda: "eve" in crm.contacts and crm.tasks, "what comes later is read")
    assert (crm.contacts, crm.tasks) == ({"eve"}, ["eve"])
