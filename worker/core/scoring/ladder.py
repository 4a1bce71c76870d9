"""The ladder's conditions: what lets a lead onto a rung, what makes it leave, and what still keeps it away."""

from __future__ import annotations

from typing import NamedTuple

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE, INFINITY, CompiledRung
from worker.core.scoring.reading import Reading
from worker.core.scoring.state import SQL, LeadState


def enters(scorer: CompiledGrid, state: LeadState, step: CompiledRung, reading: Reading, at_ms: int) -> bool:
    """Return whether the lead goes up to *step* at *at_ms*: by its points, an open ladder, and a recent intent."""
    return (
        reading.score >= step.enter - ALLOWANCE
        and reading.fit >= step.min_fit - ALLOWANCE
        and reading.engagement >= step.min_engagement - ALLOWANCE
        and (not state.closed_ms or at_ms >= opens_ms(scorer, state))
        and (step.intent_within is None or at_ms < intent_ends_ms(scorer, state, step))
    )


def leaves(scorer: CompiledGrid, state: LeadState, reading: Reading) -> bool:
    """Return whether a lead on a rung goes down, or the grid no longer has its rung."""
    step = scorer.step_at(state.stage)
    return step is None or (
        reading.score < step.leave - ALLOWANCE
        or reading.fit < step.min_fit - ALLOWANCE
        or reading.engagement < step.min_engagement - ALLOWANCE
    )


def may_explore(scorer: CompiledGrid, state: LeadState) -> bool:
    """Return whether a lead below SQL may be handed over: it is chosen, and sales never had it."""
    return scorer.explore_from < INFINITY and state.stage < SQL and not state.sql_at_ms and not state.crm_ms


def opens_ms(scorer: CompiledGrid, state: LeadState) -> float:
    """Return when a closed ladder opens by time alone: `quiet` after it closed, and only for a lead active since."""
    return state.closed_ms + scorer.quiet if state.active_ms > state.closed_ms else INFINITY


def intent_ends_ms(scorer: CompiledGrid, state: LeadState, step: CompiledRung) -> float:
    """Return when the lead's latest intent is as old as *step* allows; infinite without that condition."""
    if step.intent_within is None:
        return INFINITY
    latest = max((count.last_ms for key, count in state.counts.items() if key in scorer.intent_keys), default=None)
    return -INFINITY if latest is None else latest + step.intent_within


class Lacks(NamedTuple):
    """What keeps a lead from entering a rung at one instant. A lead that enters lacks nothing."""

    points: float
    """Missing to `enter`; 0: enough."""
    fit: float
    """Missing to `min_fit`; 0: enough."""
    engagement: float
    """Missing to `min_engagement`; 0: enough."""
    intent: bool
    """No event of an `intent` rule within `intent_within`."""
    closed_until: int
    """When the ladder, closed by a rejection or a loss, opens for a lead that has been active since; 0: open."""
    activity: bool
    """The closed ladder also asks for activity since it closed."""


def lacks(scorer: CompiledGrid, state: LeadState, step: CompiledRung, reading: Reading, at_ms: int) -> Lacks:
    """Return what of the conditions of `enters` does not hold at *at_ms*, one by one."""
    closed = bool(state.closed_ms) and at_ms < opens_ms(scorer, state)
    return Lacks(
        _missing(reading.score, step.enter),
        _missing(reading.fit, step.min_fit),
        _missing(reading.engagement, step.min_engagement),
        step.intent_within is not None and at_ms >= intent_ends_ms(scorer, state, step),
        state.closed_ms + scorer.quiet if closed else 0,
        closed and state.active_ms <= state.closed_ms,
    )


def _missing(points: float, least: float) -> float:
    return 0.0 if points >= least - ALLOWANCE else least - points
