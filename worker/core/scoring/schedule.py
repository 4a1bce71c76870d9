"""When a lead must be judged next: the exact instant at which time alone moves it, and cheap bounds of that instant.

A move is a change of stage or phase, or an SLA that ends. Bounds are what most leads need. They spare the search.
"""

from __future__ import annotations

from typing import Final

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE, INFINITY
from worker.core.scoring.crossing import NO_THRESHOLDS, Crossing, Thresholds
from worker.core.scoring.ladder import enters, intent_ends_ms, leaves, may_explore, opens_ms
from worker.core.scoring.moving import moving_parts
from worker.core.scoring.phases import held_phase, is_judged, next_phase
from worker.core.scoring.reading import SLACK, Reading, falls_in, held_between, reach_straight, rises_in
from worker.core.scoring.score import inactive, read
from worker.core.scoring.state import CONTACT, SQL, LeadState

_DUST: Final = 1e-6
"""Enough for the float dust of as many additions as a batch can have."""

_HORIZON_MS: Final = 30 * 86_400_000


def next_change(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int) -> int | None:
    """Return the first whole millisecond in (*from_ms*, *to_ms*] at which the lead would move or breach; `None` if none.

    Between two steps only decay acts, so interval bounds and monotonicity locate the first crossing. At each step the lead
    is judged.
    """
    at_ms = from_ms
    reading = read(scorer, state, at_ms)
    while at_ms < to_ms:
        step_ms = min(reading.step_ms, _gate_ms(scorer, state, at_ms))
        end_ms = int(min(step_ms, to_ms + 1))
        found = _crossing(scorer, state, reading, end_ms - 1)
        if found is not None:
            return found
        if end_ms > to_ms:
            return None
        at_ms = end_ms
        reading = read(scorer, state, at_ms)
        if _would_move(scorer, state, reading):
            return at_ms
    return None


def _gate_ms(scorer: CompiledGrid, state: LeadState, at_ms: int) -> float:
    """Return the next instant past *at_ms* at which something other than points changes: SLA, ladder opens, intent ends."""
    gates = [float(state.respond_by_ms)] if state.respond_by_ms else []
    if state.closed_ms:
        gates.append(opens_ms(scorer, state))
    step = scorer.next_step(state.stage)
    if step is not None:
        gates.append(intent_ends_ms(scorer, state, step))
    return min((gate for gate in gates if gate > at_ms), default=INFINITY)


def _would_move(scorer: CompiledGrid, state: LeadState, reading: Reading) -> bool:
    at_ms = reading.at_ms
    if state.respond_by_ms and at_ms >= state.respond_by_ms:
        return True
    if state.stage > SQL:
        return False
    step = scorer.next_step(state.stage)
    if step is not None and enters(scorer, state, step, reading, at_ms):
        return True
    if state.stage != CONTACT and leaves(scorer, state, reading):
        return True
    if not scorer.phases or not is_judged(scorer, state):
        return False
    held = held_phase(scorer, state)
    return next_phase(scorer, held, reading.score) != held


def _crossing(scorer: CompiledGrid, state: LeadState, reading: Reading, to_ms: int) -> int | None:
    """Return the first instant past *reading*, up to *to_ms* and without steps, at which decay crosses a threshold."""
    from_ms = reading.at_ms
    if state.stage > SQL or to_ms <= from_ms:
        return None
    thresholds = _thresholds(scorer, state, from_ms)
    if thresholds == NO_THRESHOLDS:
        return None
    parts = moving_parts(scorer, state, from_ms)
    return Crossing(scorer, state, thresholds, parts, reading).first(from_ms, to_ms) if parts else None


def _thresholds(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Thresholds:
    """Return what moves the lead once it is crossed, as things stand at *at_ms*."""
    up = phase = INFINITY
    up_engagement = down = down_engagement = -INFINITY
    step = scorer.next_step(state.stage)
    if (
        step is not None
        and state.fit >= step.min_fit - ALLOWANCE
        and (not state.closed_ms or at_ms >= opens_ms(scorer, state))
        and at_ms < intent_ends_ms(scorer, state, step)
    ):
        up, up_engagement = step.enter - ALLOWANCE, step.min_engagement - ALLOWANCE
    held = scorer.step_at(state.stage)
    if held is not None:
        down, down_engagement = held.leave - ALLOWANCE, held.min_engagement - ALLOWANCE
    if scorer.phases and is_judged(scorer, state):
        begins, ends = _phase_bounds(scorer, state)
        phase, down = begins - ALLOWANCE, max(down, ends - ALLOWANCE)
    return Thresholds(up, up_engagement, down, down_engagement, phase)


def _phase_bounds(scorer: CompiledGrid, state: LeadState) -> tuple[float, float]:
    """Return the `enter` of the phase above the lead's own, and the `leave` of its own; infinite where there is none."""
    held = held_phase(scorer, state)
    above = held + 1
    begins = scorer.phases[above].enter if above < len(scorer.phases) else INFINITY
    return begins, scorer.phases[held].leave if held >= 0 else -INFINITY


def due(scorer: CompiledGrid, state: LeadState, reading: Reading, at_ms: int) -> int | None:
    """Return an instant past *at_ms* that is not later than the next one at which time alone moves the lead; `None`: never.

    A bound, not the instant: between steps the score moves no faster than if every decaying part had the shortest half-life.
    """
    found = float(state.respond_by_ms) if state.respond_by_ms else INFINITY
    if state.stage <= SQL:
        rises, opens = _rise(scorer, state, reading, at_ms)
        if opens > at_ms:
            found = min(found, opens)
        falls = _fall(scorer, state, reading)
        if scorer.phases and is_judged(scorer, state):
            begins, ends = _phase_bounds(scorer, state)
            if reading.highest >= begins - ALLOWANCE - SLACK:
                rises = min(rises, begins - ALLOWANCE - reading.score)
            if reading.lowest < ends - ALLOWANCE + SLACK:
                falls = min(falls, reading.score - (ends - ALLOWANCE))
        if rises < INFINITY:
            found = min(found, reading.step_ms, at_ms + rises_in(reading, rises))
        if falls < INFINITY:
            found = min(found, reading.step_ms, at_ms + falls_in(reading, falls))
    return None if found == INFINITY else max(int(found), at_ms + 1)


def _rise(scorer: CompiledGrid, state: LeadState, reading: Reading, at_ms: int) -> tuple[float, float]:
    """Return (points that the lead lacks to the next rung, when its closed ladder opens); infinite and past: it is not near."""
    step = scorer.next_step(state.stage)
    if (
        step is None
        or reading.fit < step.min_fit - ALLOWANCE
        or reading.highest < step.enter - ALLOWANCE - SLACK
        or (step.asks_engagement and _engagement(scorer, reading.most) < step.min_engagement - ALLOWANCE - SLACK)
        or at_ms >= intent_ends_ms(scorer, state, step)
    ):
        return INFINITY, -INFINITY
    opens = opens_ms(scorer, state) if state.closed_ms else -INFINITY
    if opens > at_ms:
        return INFINITY, opens
    return max(step.enter - reading.score, step.min_engagement - reading.engagement) - ALLOWANCE, -INFINITY


def _fall(scorer: CompiledGrid, state: LeadState, reading: Reading) -> float:
    """Return the points that the lead can lose on its rung; infinite where time alone does not take so many."""
    held = scorer.step_at(state.stage)
    gap = INFINITY
    if held is not None:
        if reading.lowest < held.leave - ALLOWANCE + SLACK:
            gap = reading.score - (held.leave - ALLOWANCE)
        if held.asks_engagement and _engagement(scorer, reading.least) < held.min_engagement - ALLOWANCE + SLACK:
            gap = min(gap, reading.engagement - (held.min_engagement - ALLOWANCE))
    return gap


def _engagement(scorer: CompiledGrid, total: float) -> float:
    return held_between(total, scorer.engagement_min, scorer.engagement_max)


def slack(scorer: CompiledGrid, state: LeadState, reading: Reading) -> tuple[float, float]:
    """Return (slack, stable_until_ms) of a lead that stands judged at *reading*.

    Before `stable_until_ms` the lead cannot change stage or phase, while new events raise `reading.upper_bound` by at most
    `slack`. On a rung or in a phase, that holds for events that take no points (`fold.add` finds those). A negative slack
    means: judge every event. Changes of traits, of the CRM and exclusions by event ask for a judgement of their own.

        score   enter ─────────────────────────────
                            ↕ slack
                upper_bound ───────────────
                score       ●┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╮  decays
                leave ───────────────────────╰─┄┄┄
                            reading          stable_until_ms
    """
    until = float(state.respond_by_ms) if state.respond_by_ms else INFINITY
    if state.stage > SQL:
        return INFINITY, until
    room, needed = INFINITY, -INFINITY
    step = scorer.next_step(state.stage)
    if step is not None and reading.fit >= step.min_fit - ALLOWANCE:
        room = step.enter - _DUST - reading.upper_bound
    if may_explore(scorer, state):
        room = min(room, scorer.explore_from - _DUST - reading.upper_bound)
    if state.stage != CONTACT:
        needed = _needed_on_rung(scorer, state, reading)
    if scorer.phases:
        if not is_judged(scorer, state):
            return -1.0, 0.0
        begins, ends = _phase_bounds(scorer, state)
        if begins < INFINITY:
            room = min(room, begins - _DUST - reading.upper_bound)
        needed = max(needed, _needed_for(scorer, ends, reading.fit))
    if needed > -INFINITY and room >= 0:
        until = min(until, _stays_ms(scorer, state, reading, needed))
    return room, until


def _needed_on_rung(scorer: CompiledGrid, state: LeadState, reading: Reading) -> float:
    """Return the engagement that keeps the lead on its rung; infinite: none does."""
    held = scorer.step_at(state.stage)
    if held is None or reading.fit < held.min_fit - ALLOWANCE:
        return INFINITY
    least = held.leave + _DUST
    return INFINITY if least > scorer.score_max else max(least - reading.fit, held.min_engagement + _DUST)


def _needed_for(scorer: CompiledGrid, leave: float, fit: float) -> float:
    """Return the engagement that keeps a score from falling below *leave*; -infinite: it never falls so far."""
    if leave <= scorer.score_min:
        return -INFINITY
    least = leave + _DUST
    return INFINITY if least > scorer.score_max else least - fit


def _stays_ms(scorer: CompiledGrid, state: LeadState, reading: Reading, needed: float) -> float:
    """Return an instant before which the engagement stays at *needed*, if no event takes points; 0: that is not known."""
    if needed > scorer.engagement_max:
        return 0.0
    firm, next_ms = reading.firm + scorer.velocity_least, INFINITY
    if scorer.tiers and not state.active_ms:  # its first activity may be of any time
        return 0.0
    for tier in scorer.tiers:
        points, step_ms = inactive(tier, state.active_ms, reading.at_ms)
        firm += min(points, 0.0)
        next_ms = min(next_ms, step_ms)
    spare = firm + reading.fading + reading.lasting - needed
    if spare <= 0:
        return 0.0
    if reading.lasting:
        next_ms = min(next_ms, reading.step_ms)
    lasts = reach_straight(spare, reading.fading, reading.falling_half_life, reading.falling_speed)
    return min(next_ms, reading.at_ms + lasts)


def exact_due(scorer: CompiledGrid, state: LeadState, reading: Reading, at_ms: int) -> int | None:
    """Return `due`, exact up to the next step: a lead that a tick judged too early is not asked again and again."""
    bound = due(scorer, state, reading, at_ms)
    if bound is None or bound >= reading.step_ms:
        return bound
    horizon = int(min(reading.step_ms - 1, at_ms + _HORIZON_MS))
    found = next_change(scorer, state, at_ms, horizon)
    return horizon + 1 if found is None else found
