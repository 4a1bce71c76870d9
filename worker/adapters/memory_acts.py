"""Acts of one partition in memory: their order, leases and ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from worker.automation_ports import Acted, AddAct, Cancel, EraseLead, Leave, Outcome, Row

PENDING: Final = ("intent", "retry")
DAY_MS: Final = 86_400_000
KEPT_MS: Final = 90 * DAY_MS
"""How long an act is kept after its end. Those that wait for a person are kept."""
CANCELS_KEPT_MS: Final = 7 * DAY_MS
FORGETTABLE: Final = ("done", "dead", "cancelled", "stale")


@dataclass(slots=True)
class _Act:
    id: str
    lead_id: str
    target: str
    unless: tuple[str, ...]
    packed: bytes
    at_ms: int
    due_ms: int
    number: int
    created_ms: int
    updated_ms: int
    state: str = "intent"
    attempts: int = 0
    known: dict[str, str] = field(default_factory=dict)
    unsure: str = ""
    remote_id: str = ""
    detail: str = ""
    call: str = ""
    lease_ms: int = 0
    step: str = ""
    """The unsafe step that waits for its answer."""
    cancel: str = ""
    """What cancels the act when its present attempt ends."""
    ended_call: str = ""
    decided: bool = False
    sequence: int = 0
    output_ms: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Its place among the acts of its lead."""
        return self.at_ms, self.number

    def row(self) -> Row:
        """Return it as the port shows it."""
        return Row(
            self.id, self.lead_id, self.target, self.packed, self.state, self.attempts, self.created_ms, self.updated_ms,
            self.due_ms, dict(self.known), self.unsure, self.remote_id, self.detail, self.call, self.decided,
        )  # fmt: skip


class MemoryActs:
    """The acts of `MemoryLedger`."""

    def __init__(self) -> None:
        self._acts: dict[str, _Act] = {}
        self._cancels: dict[tuple[str, str], tuple[int, int, int]] = {}
        """Of each lead and type, the event's time and sequence, and when it came."""
        self._erased: dict[str, tuple[int, int]] = {}
        """Of each lead, time and sequence."""
        self._acted: dict[str, str] = {}
        """Of each entry, the act."""
        self._numbers = 0

    async def distrust(self) -> None:
        """Mark every act that waits with `unsure="*"`; see the port."""
        for act in self._acts.values():
            if act.state in PENDING:
                act.unsure, act.step, act.call = "*", "", ""  # its lease holds: a request may be on its way

    def _add(self, op: AddAct, now_ms: int) -> None:
        output = op.output_ms or op.at_ms, op.sequence
        if op.id in self._acts or output < self._erased.get(op.lead_id, (0, 0)):
            return
        self._numbers += 1
        act = self._acts[op.id] = _Act(
            op.id, op.lead_id, op.target, op.unless, op.packed, op.at_ms, op.due_ms, self._numbers, now_ms, now_ms,
            sequence=op.sequence, output_ms=output[0],
        )  # fmt: skip
        act.unsure = "*" if op.unsure else ""
        cancels = [type_ for type_ in op.unless if self._cancels.get((op.lead_id, type_), (0, 0))[:2] > (op.at_ms, op.sequence)]
        if op.dead:
            self._end(act, "dead", op.dead, now_ms)
        elif cancels:
            self._cancel_act(act, cancels[0], now_ms)

    def _cancel(self, op: Cancel, now_ms: int) -> None:
        key = op.lead_id, op.type
        self._cancels[key] = max((op.at_ms, op.sequence, now_ms), self._cancels.get(key, (0, 0, 0)))
        for act in self._of_lead(op.lead_id):
            if act.state in PENDING and op.type in act.unless and (act.at_ms, act.sequence) < (op.at_ms, op.sequence):
                self._cancel_act(act, op.type, now_ms)

    def _cancel_act(self, act: _Act, why: str, now_ms: int) -> None:
        if act.lease_ms > now_ms:
            act.cancel = why
        elif act.unsure or act.step:
            act.unsure = act.step or act.unsure
            self._end(act, "unknown", why, now_ms)
        else:
            self._end(act, "cancelled", why, now_ms)

    async def claim(self, target: str, now_ms: int, lease_ms: int, most: int, call: str) -> list[Row]:
        """Lease acts of *target* that are due; see the port."""
        self._forget(now_ms)
        due = sorted((due_ms, lead.encode(), lead) for lead, due_ms in self._dues(target).items() if due_ms <= now_ms)
        found = []
        for _, _, lead in due[:most]:
            for act in self._of_lead(lead):
                if act.target == target and act.state in PENDING and act.lease_ms:
                    self._lease_over(act, now_ms)
            head = self._head(target, lead)
            if head is not None and head.due_ms <= now_ms:
                head.attempts += 1
                head.call, head.lease_ms = call, now_ms + lease_ms
                found.append(head.row())
        return found

    def _dues(self, target: str) -> dict[str, int]:
        """Return for each lead with acts that wait when the next one is due."""
        leads = {act.lead_id for act in self._acts.values() if act.target == target and act.state in PENDING}
        return {lead: self._next(target, lead) for lead in leads}

    def _next(self, target: str, lead: str) -> int:
        leases = [act.lease_ms for act in self._of_lead(lead) if act.target == target and act.state in PENDING]
        head = self._head(target, lead)
        return max(leases) or (head.due_ms if head else 0)

    def _head(self, target: str, lead: str) -> _Act | None:
        waiting = [act for act in self._of_lead(lead) if act.target == target and act.state in PENDING]
        return min(waiting, key=lambda act: act.rank, default=None)

    def _lease_over(self, act: _Act, now_ms: int) -> None:
        act.unsure = act.step or act.unsure
        act.call, act.lease_ms, act.step = "", 0, ""
        if act.cancel:
            self._cancel_act(act, act.cancel, now_ms)

    async def begin(self, id_: str, call: str, step: str, until_ms: int) -> bool:
        """Note an unsafe step before it is sent; see the port."""
        act = self._ours(id_, call)
        if act is None or act.cancel:
            return False
        act.step, act.lease_ms = step or act.step, until_ms
        return True

    async def remember(self, id_: str, call: str, name: str, value: str) -> bool:
        """Keep a value for later attempts; see the port."""
        act = self._ours(id_, call)
        if act is None:
            return False
        act.known[name], act.step = value, ""
        return True

    async def finish(self, id_: str, call: str, outcome: Outcome, now_ms: int) -> bool:
        """End an attempt; see the port."""
        act = self._acts.get(id_)
        if act is None:
            return False
        ours = self._ours(id_, call) is not None
        if not ours and (outcome.state != "done" or act.state == "done"):
            return act.ended_call == call
        act.ended_call = call
        if outcome.state in PENDING:
            self._put_back(act, outcome, now_ms)
        else:
            act.unsure = outcome.unsure or act.unsure
            self._end(act, outcome.state, outcome.detail, now_ms, outcome.remote_id)
        return True

    def _cancel_contents(self, op: Leave, now_ms: int) -> None:
        for act in self._of_lead(op.lead_id):
            if act.state in PENDING and act.id.startswith(op.rule + "/"):
                self._cancel_act(act, f"left {op.rule}", now_ms)

    def _erase_acts(self, op: EraseLead) -> None:
        lead = op.lead_id
        erased = op.at_ms, op.sequence
        self._erased[lead] = max(erased, self._erased.get(lead, (0, 0)))
        self._acts = {
            id_: act for id_, act in self._acts.items() if act.lead_id != lead or (act.output_ms, act.sequence) >= erased
        }
        self._cancels = {key: held for key, held in self._cancels.items() if key[0] != lead}

    def _counts(self) -> dict[str, dict[str, int]]:
        """Return of each target its acts by state, and since when one waits."""
        found: dict[str, dict[str, int]] = {}
        for act in self._acts.values():
            counts = found.setdefault(act.target, {})
            counts[act.state] = counts.get(act.state, 0) + 1
            if act.state in PENDING:
                counts["oldest_ms"] = min(act.created_ms, counts.get("oldest_ms", act.created_ms))
        return found

    def _put_back(self, act: _Act, outcome: Outcome, now_ms: int) -> None:
        act.call, act.lease_ms, act.step = "", 0, ""
        act.unsure, act.detail, act.due_ms, act.updated_ms = outcome.unsure, outcome.detail, outcome.due_ms, now_ms
        if outcome.state == "intent":
            act.attempts -= 1
        act.state = "retry" if act.attempts else "intent"
        if act.cancel:
            self._cancel_act(act, act.cancel, now_ms)

    def _end(self, act: _Act, state: str, detail: str, now_ms: int, remote_id: str = "") -> None:
        act.state, act.detail, act.remote_id, act.updated_ms = state, detail, remote_id or act.remote_id, now_ms
        act.call, act.lease_ms, act.step, act.cancel, act.due_ms = "", 0, "", "", 0
        act.unsure = act.unsure if state == "unknown" else ""
        self._numbers += 1
        self._acted[f"{self._numbers}|{act.id}"] = act.id

    def _ours(self, id_: str, call: str) -> _Act | None:
        act = self._acts.get(id_)
        return act if act is not None and act.state in PENDING and act.call == call != "" else None

    async def decide(self, id_: str, state: str, detail: str, now_ms: int) -> bool:
        """Carry a person's decision out; see the port."""
        act = self._acts.get(id_)
        if act is None or act.lease_ms > now_ms or act.state == "done":
            return False
        act.unsure = ""
        if state in PENDING:
            act.state, act.detail, act.due_ms, act.updated_ms, act.decided = "intent", detail, now_ms, now_ms, True
            act.call, act.lease_ms, act.step, act.cancel = "", 0, "", ""
        else:
            self._end(act, state, detail, now_ms)
        return True

    async def cancelled(self, lead_id: str, types: Collection[str], at_ms: int) -> str:
        """Return which of *types* came to a lead after *at_ms*, within a week; empty for none."""
        return min((name for name in types if self._cancels.get((lead_id, name), (0, 0, 0))[0] > at_ms), default="")

    async def acted(self, most: int) -> list[Acted]:
        """Return the oldest acts that have ended and were not published; see the port."""
        found: list[Acted] = []
        for key, id_ in list(self._acted.items()):
            act = self._acts.get(id_)
            if act is None or act.state in PENDING:
                del self._acted[key]
            elif len(found) < most:
                found.append(Acted(key, act.row()))
        return found

    async def published(self, keys: Collection[str]) -> None:
        """Forget entries of `acted`."""
        for key in keys:
            self._acted.pop(key, None)

    async def get(self, id_: str) -> Row | None:
        """Return one act."""
        return self._acts[id_].row() if id_ in self._acts else None

    async def rows(self, states: Collection[str] = (), target: str = "", lead_id: str = "") -> list[Row]:
        """Return acts, oldest first."""
        found = [
            act
            for act in self._acts.values()
            if (not states or act.state in states) and target in ("", act.target) and lead_id in ("", act.lead_id)
        ]
        return [act.row() for act in sorted(found, key=lambda act: (act.created_ms, act.id))]

    def _of_lead(self, lead: str) -> Iterable[_Act]:
        return [act for act in self._acts.values() if act.lead_id == lead]

    def _forget(self, now_ms: int) -> None:
        """Forget what ended long ago, and old cancellations."""
        old = now_ms - KEPT_MS
        self._acts = {id_: act for id_, act in self._acts.items() if act.state not in FORGETTABLE or act.updated_ms >= old}
        self._cancels = {key: held for key, held in self._cancels.items() if held[2] >= now_ms - CANCELS_KEPT_MS}
