"""What the worker holds of one visitor, for the demo's page."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.core.scoring.score import read, reasons
from worker.core.scoring.state import STAGES
from worker.demo.board import because
from worker.errors import LeadNotHeld
from worker.queries.explained import live
from worker.settings import ReaderSettings


async def standing(settings: ReaderSettings, visitor: str) -> dict[str, Any] | None:
    """Return score, stage and reasons of *visitor*, or of the lead that the visitor turned out to be; `None` for nothing."""
    try:
        held = await live(settings, visitor, None, None, lambda _: None)
    except LeadNotHeld:
        return None
    found = reasons(held.scorer, held.state, held.now_ms)
    words = because([msgspec.to_builtins(one) for one in found])
    return {
        "lead_id": held.lead,
        "score": read(held.scorer, held.state, held.now_ms).score,
        "stage": STAGES[held.state.stage],
        "reasons": words.split(", ") if words else [],
    }
