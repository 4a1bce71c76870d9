"""How long a lead is kept that does nothing and is at no threshold."""

from __future__ import annotations

from math import inf

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import CONTACT, LeadState


def ends_ms(scorer: CompiledGrid, state: LeadState) -> float:
    """Return the instant from which on the lead is removed, if it is still a contact then; infinite where it stays.

    That is `retention` after its latest event by a person.
    A lead with an open SLA stays. So does a lead within `quiet` of an announcement or a rejection.
    """
    if scorer.retention is None or state.stage != CONTACT or state.respond_by_ms:
        return inf
    latest: int = state.recent[0] if state.recent else state.clock_ms
    quiet = (at_ms + scorer.quiet for at_ms in (state.closed_ms, state.mql_at_ms, state.sql_at_ms) if at_ms)
    return max(latest + scorer.retention, *quiet, 0)
