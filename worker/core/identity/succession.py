"""The standing of an id `email:ADDRESS` goes over to the lead that has the address: sales know this person already."""

from __future__ import annotations

from typing import Final

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import read
from worker.core.scoring.stages import Moves
from worker.core.scoring.state import CLIENT, MQL, OPPORTUNITY, SQL, LeadState

_ADDRESS: Final = "email:"


def is_address(name: str) -> bool:
    """Return whether *name* is an id `email:ADDRESS`. Such a person can be called, which an anonymous visitor cannot."""
    return name.startswith(_ADDRESS)


def take_standing(scorer: CompiledGrid, lead: LeadState, former: LeadState, at_ms: int, moves: Moves) -> None:
    """Let *lead* stand no lower than *former*, the id of its address, stood. Both are merged, and the caller judges next.

    A rung that *former* had reached is one `lead.stage` of the lead, and no second `lead.mql` or `lead.sql`. A pending SLA goes
    on. A stage that the CRM set is taken without an output, since what follows from it was done. What the CRM said of the lead
    itself goes first.
    """
    lead.mql_at_ms = max(lead.mql_at_ms, former.mql_at_ms)
    lead.sql_at_ms = max(lead.sql_at_ms, former.sql_at_ms)
    if former.respond_by_ms and not lead.respond_by_ms and lead.crm_ms < former.sql_at_ms:
        lead.respond_by_ms = former.respond_by_ms
    if not lead.crm_ms:
        lead.crm_ms, lead.closed_ms = former.crm_ms, former.closed_ms
        if former.stage in (OPPORTUNITY, CLIENT):
            lead.stage = former.stage
    if former.stage in (MQL, SQL) and lead.stage < former.stage and not lead.closed_ms:
        moves(lead, at_ms, "lead.stage", former.stage, read(scorer, lead, at_ms))
        lead.stage = former.stage
