"""Records become what the ledger writes down: acts, states, enrolments, cancellations, suppressions, erasures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from worker.automation_ports import (
    AFTER_ALL,
    AddAct,
    Cancel,
    Enrol,
    EraseLead,
    Leave,
    Lift,
    Op,
    PutState,
    Suppress,
)
from worker.automations.acts import Act, LeadState
from worker.automations.deliver import FORGET
from worker.automations.metrics import ActMetrics
from worker.automations.output import NotAnOutput, Output, read_output
from worker.automations.rules import Draft, Rules
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record, Unread
from worker.core.contract.output_types import ACTED

GATHER_MS: Final = 500
"""A state waits so long, so that those of several leads go in one request."""

FORGET_MS: Final = 30 * 24 * 3_600_000
"""A tool is asked for so long to delete a person."""

SUPPRESSED_BY: Final = {
    "email.unsubscribed": "unsubscribed",
    "email.complained": "complained",
    "email.bounced": "bounced",
}
LIFTED_BY: Final = "email.subscribed"
ERASED: Final = "lead.erased"
_FAMILY: Final = "crm."
_MARKS: Final = (b"crm.", b"email.")
_ADDRESS: Final = "email:"

pack: Final = msgspec.msgpack.Encoder().encode
unpack_output: Final = msgspec.msgpack.Decoder(Output).decode
unpack_state: Final = msgspec.msgpack.Decoder(LeadState).decode


class Routed(NamedTuple):
    """An op, and the lead or address whose ledger it goes to."""

    owner: str
    op: Op


AddressOf = Callable[[str], Awaitable[str]]
"""Lead id → its address, in lower case; empty where it has none."""


class Taking:
    """Reads records for one set of rules."""

    def __init__(
        self,
        rules: Rules,
        source: str,
        inputs: Collection[str],
        forgetting: Sequence[str],
        address_of: AddressOf,
        now_ms: Callable[[], int],
        metrics: ActMetrics | None = None,
    ) -> None:
        """*source* is the namespace's. *inputs* are the input topics. *forgetting* are targets that delete erased people."""
        self.rules = rules
        self._source = source
        self._inputs = frozenset(inputs)
        self._forgetting = forgetting
        self._address_of = address_of
        self._now_ms = now_ms
        self._metrics = metrics

    def read(self, record: Record) -> Output | None:
        """Return what *record* holds, if anything is done for it."""
        if isinstance(record, Unread) or not record.value:
            return None
        if record.topic in self._inputs:
            return _input(record)
        try:
            found = read_output(record.value, record.topic, record.partition, record.offset)
        except NotAnOutput:
            if self._metrics is not None:
                self._metrics.unreadable.inc()
            return None
        return found if found.source == self._source and found.type != ACTED else None

    async def ops(self, output: Output, *, unsure: bool, since_ms: int = 0) -> list[Routed]:
        """Return what *output* brings about.

        *unsure*: it was read before, so its acts may have been done. *since_ms*: older acts than their `fresh` at this instant
        are left out; 0: none is.
        """
        lead, found = output.lead_id, list[Op]()
        if output.type == ERASED:
            found.append(EraseLead(lead, output.at_ms, output.sequence))
            found += [self.act(Draft(act), unsure=unsure) for act in self._forget(output)]
            return [Routed(lead, op) for op in found]
        plan = self.rules.plan(output)
        for rule in (*(one.rule for one in plan.skipped), *(one.rule for one in plan.unwritten)):
            if self._metrics is not None:
                self._metrics.skipped.labels(rule).inc()
        if plan.cancels:
            found.append(Cancel(lead, output.type, output.at_ms, output.sequence or AFTER_ALL))
        found += [Leave(rule, lead) for rule in plan.leaves]
        found += [self._enrol(one.rule, one.output, begins=one.begins) for one in plan.enrolments]
        found += [self.act(draft, unsure=unsure) for draft in plan.drafts if not _too_old(draft.act, since_ms)]
        found += [self._put(state) for state in plan.states]
        return [*[Routed(lead, op) for op in found], *[one async for one in self._consent(output)]]

    async def _consent(self, output: Output) -> AsyncIterator[Routed]:
        lead, at_ms = output.lead_id, output.at_ms
        reason = SUPPRESSED_BY.get(output.type)
        if reason is None and output.type != LIFTED_BY:
            return
        address = lead.removeprefix(_ADDRESS) if lead.startswith(_ADDRESS) else await self._address_of(lead)
        for key in (lead, *([_ADDRESS + address.lower()] if address else [])):
            yield Routed(key, Suppress(key, reason, at_ms) if reason is not None else Lift(key, at_ms))

    def _forget(self, output: Output) -> Iterator[Act]:
        for target in self._forgetting:
            yield Act(
                rule=f"{FORGET}/{target}", source=output.source, output=output.id, lead_id=output.lead_id, target=target,
                do=FORGET, fields={}, type=output.type, at_ms=output.at_ms, sequence=output.sequence, fresh_ms=FORGET_MS,
                most=1_000_000_000, topic=output.topic, partition=output.partition, offset=output.offset,
            )  # fmt: skip

    def act(self, draft: Draft, *, unsure: bool) -> AddAct:
        """Return the op that writes an act down."""
        act = draft.act
        return AddAct(
            id=act.id, lead_id=act.lead_id, target=act.target, unless=act.unless, packed=pack(act), at_ms=act.at_ms,
            due_ms=self._now_ms(), unsure=unsure, dead=draft.dead, sequence=act.sequence, output_ms=act.output_ms,
        )  # fmt: skip

    def _enrol(self, rule: str, output: Output, *, begins: bool) -> Enrol:
        return Enrol(rule, output.lead_id, pack(output), output.at_ms, self._now_ms(), not begins, output.sequence)

    def _put(self, state: LeadState) -> PutState:
        due_ms = self._now_ms() + GATHER_MS
        return PutState(state.target, state.rule, state.lead_id, state.sequence, pack(state), state.at_ms, due_ms)


def _too_old(act: Act, since_ms: int) -> bool:
    """Return whether an act was too old at an instant. Read again, it would only be reported."""
    return since_ms - act.at_ms > act.fresh_ms


def _input(record: Record) -> Output | None:
    """Return an input event that cancels acts or concerns consent. Most records are others, and are not decoded."""
    held = record.value or b""
    named = (
        next((value for key, value in record.headers if key.lower() in ("ce_type", "ce-type")), b"") if record.headers else b""
    )
    if not any(mark in held or mark in named for mark in _MARKS):
        return None
    event = decode(record)
    if not isinstance(event, Event) or not (event.type.startswith(_FAMILY) or event.type in (*SUPPRESSED_BY, LIFTED_BY)):
        return None
    return Output(
        id=event.id, source=event.source, type=event.type, lead_id=event.lead, at_ms=event.at_ms, time="", data={},
        topic=record.topic, partition=record.partition, offset=record.offset,
    )  # fmt: skip


def by_owner(ops: Sequence[Routed], owner_of: Callable[[str], int]) -> dict[int, list[Op]]:
    """Return *ops* by the partition whose ledger they go to, in their order."""
    found: dict[int, list[Op]] = {}
    for one in ops:
        found.setdefault(owner_of(one.owner), []).append(one.op)
    return found
