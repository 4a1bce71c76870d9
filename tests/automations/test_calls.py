"""One request to a target: what it takes of the budget, and what stays of a batch when no further request may be sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.kit.acting import ENVIRONMENT, HOOKS, MailSenders, Senders, Target
from worker.adapters.memory_limits import MemoryLimits
from worker.automation_ports import StateRow
from worker.automations.acts import LeadState
from worker.automations.calls import ANSWER_S, Calls, Lease, Named, NoLogins, NotNow
from worker.automations.requests import Http, Refusal, Writes, Written
from worker.automations.states import write_states
from worker.automations.taking import pack
from worker.automations.targets.crm import kept
from worker.automations.targets.registry import KINDS
from worker.connections.file import parse_connections


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _calls(target: Target, limits: MemoryLimits) -> Calls:
    return Calls(Senders(target), MailSenders(target), limits, NoLogins(), ENVIRONMENT, _now_ms)


def _hook(**kind: Any) -> Named:
    target = parse_connections(HOOKS, "connections.yaml").targets["hook"]
    return Named("hook", target, KINDS["webhook"]._replace(**kind))


async def test_a_lease_that_is_nearly_over_takes_nothing_of_the_budget() -> None:
    """The request would not be sent, so another one may be."""
    target, limits = Target(), MemoryLimits()
    step = Http.json("write", "POST", "/write", {}, headers={"webhook-id": "1"})
    with pytest.raises(NotNow):
        await _calls(target, limits).call(_hook(), step, Lease(ANSWER_S - 1))
    assert target.requests == []
    assert (await limits.status(["hook"]))["hook"]["budget_ms"] == 0


class _Ends(Lease):
    """A lease that ends with the first request."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def left_s(self) -> float:
        return 1.0 if self._target.requests else 60.0


def _in_two(_target: Any, states: Sequence[LeadState]) -> Writes:
    """Write all states but the last with the first request, and that one with another."""
    *many, last = states
    headers = {"webhook-id": "1"}
    yield Http.json("write", "POST", "/write", [one.lead_id for one in many], headers=headers)

    def alone() -> Any:
        return (yield Http.json("alone", "POST", "/write", [last.lead_id], headers=headers))

    result = yield from kept(alone())
    error = result if isinstance(result, Refusal) else None
    return [*(Written(one.lead_id, one.sequence) for one in many), Written(last.lead_id, last.sequence, error)]


async def test_a_batch_whose_time_ends_keeps_what_was_written() -> None:
    """Else a batch with many look-ups would begin anew for ever. The rest comes again."""
    target = Target()
    rows = [
        StateRow("0", lead, 1, pack(LeadState(rule="0", target="hook", object="contact", lead_id=lead, sequence=1,
                                              fields={}, output=f"{lead}:1", at_ms=0)), 1, _now_ms())
        for lead in ("ada", "bob", "eve")
    ]  # fmt: skip
    at = _hook(write=_in_two, batch=10)
    ends = await write_states(_calls(target, MemoryLimits()), at, rows, _Ends(target))
    assert [(one.lead_id, bool(one.failure), bool(one.due_ms)) for one in ends] == [
        ("ada", False, False), ("bob", False, False), ("eve", True, True),
    ]  # fmt: skip
