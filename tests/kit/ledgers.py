"""What tests of ledgers share: acts, states and attempts in a few words."""

from __future__ import annotations

from typing import Any

from worker.automation_ports import AddAct, Enrol, Ledger, Nurtured, Outcome, PutState, Row

HOUR = 3_600_000
LEASE = 30_000


def an_act(id_: str, lead: str = "ann", target: str = "crm", *, at_ms: int = 0, **fields: Any) -> AddAct:
    """Return an act of *lead* that is due at once."""
    given: dict[str, Any] = {"unless": (), "packed": id_.encode(), "due_ms": at_ms} | fields
    return AddAct(id_, lead, target, at_ms=at_ms, **given)


def a_state(sequence: int, lead: str = "ann", target: str = "crm", **fields: Any) -> PutState:
    """Return a lead's state that is due at once."""
    given: dict[str, Any] = {"rule": "0", "packed": b"%d" % sequence, "at_ms": 0, "due_ms": 0} | fields
    return PutState(target=target, lead_id=lead, sequence=sequence, **given)


def enrolled(rule: str = "warm", lead: str = "ann", due_ms: int = 0, **fields: Any) -> Enrol:
    """Return the beginning of a nurturing rule."""
    given: dict[str, Any] = {"packed": b"output", "at_ms": 0} | fields
    return Enrol(rule, lead, due_ms=due_ms, **given)


def a_content(content: str, due_ms: int, output: str = "ann:1", rule: str = "warm", lead: str = "ann") -> Nurtured:
    """Return the choice of a content, with its act."""
    return Nurtured(rule, lead, content, due_ms, an_act(f"{rule}/{content}|/leadpulse/t|{output}", lead, "mail"))


async def claimed(ledger: Ledger, now_ms: int, call: str, target: str = "crm", most: int = 10) -> list[str]:
    """Lease acts that are due, and return their ids."""
    return [row.id for row in await ledger.claim(target, now_ms, LEASE, most, call)]


async def ended(ledger: Ledger, id_: str, call: str, state: str = "done", now_ms: int = 0, **fields: Any) -> bool:
    """End an attempt."""
    return await ledger.finish(id_, call, Outcome(state, **fields), now_ms)


async def the_row(ledger: Ledger, id_: str) -> Row:
    """Return an act that must be there."""
    row = await ledger.get(id_)
    assert row is not None, id_
    return row
