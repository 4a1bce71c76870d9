"""A stage of acts with a CRM that keeps states of leads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.kit.acting import HOOKS, Acting
from tests.kit.waits import until
from worker.automations.acts import LeadState
from worker.automations.requests import Again, Answer, Final, Http, Split, Writes, Written
from worker.automations.targets.registry import KINDS
from worker.automations.targets.webhook import judge as hook_judge
from worker.sending_ports import Answered

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


def state_stage(batch: int = 10) -> tuple[Acting, Crm]:
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
