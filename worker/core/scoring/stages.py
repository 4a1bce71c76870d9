"""Stages: which one follows from a lead's score, its exclusions and the CRM, and at which exact instants it changes.

`judge` answers at one instant. `advance` brings a lead from one instant to another without events.
It judges the lead at each instant between them at which the answer changes. Both report moves to a `Moves` listener.
So the same code serves the live worker, a replay and an explanation.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from worker.core.scoring.compiled_grid import ALLOWANCE, INFINITY, CompiledGrid, CompiledRung
from worker.core.scoring.crossing import SLACK, Crossing, decaying_parts
from worker.core.scoring.halving import halvings
from worker.core.scoring.score import Reading, inactive, read
from worker.core.scoring.state import CLIENT, CONTACT, EXCLUDED, MQL, OPPORTUNITY, SQL, LeadState

_DUST: Final = 1e-6
"""Enough for the float dust of as many additions as a batch can have."""

_HORIZON_MS: Final = 30 * 86_400_000

ANSWERS: Final = frozenset({"crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost"})
_CLOSES: Final = frozenset({"crm.rejected", "crm.lost"})
_SETS: Final = {"crm.opportunity": OPPORTUNITY, "crm.won": CLIENT}


class Moves(Protocol):
    """Hears of every output of one lead, in order. Called with the state as it is before the move is made."""

    def __call__(self, state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0) -> None:
        """Take one transition (*output* is its type) at *at_ms*; for `lead.sql`, *respond_by* is its SLA's instant or 0."""
        ...


def take_crm(scorer: CompiledGrid, state: LeadState, type_: str, event_ms: int, at_ms: int, moves: Moves) -> None:
    """Take a `crm.*` event's own effect on the stage at the lead's clock *at_ms*.

    An event older than the lead's last `crm.*` moves no stage and answers no SLA. Opportunity and client are set from
    anywhere. A rejection or a loss returns the lead to contact, and closes the ladder since the event's own time.
    """
    if event_ms < state.crm_ms:
        return
    state.crm_ms = event_ms
    answer(state, type_, event_ms)
    to = _SETS.get(type_)
    if to is None and type_ in _CLOSES:
        state.closed_ms = event_ms
        if state.stage not in (CONTACT, EXCLUDED):
            to = CONTACT
    if to is not None and to != state.stage:
        _move(state, at_ms, "lead.stage", to, read(scorer, state, at_ms), moves)


def answer(state: LeadState, type_: str, event_ms: int) -> None:
    """Let an event that `take_crm` has taken answer the pending `lead.sql`: if it is an answer, not older, and in time."""
    in_time = state.sql_at_ms <= event_ms <= state.respond_by_ms
    if state.respond_by_ms and in_time and type_ in ANSWERS and event_ms == state.crm_ms:
        state.respond_by_ms = 0


def judge(scorer: CompiledGrid, state: LeadState, at_ms: int, moves: Moves) -> Reading:
    """Judge the lead at *at_ms*: exclusion, then the ladder, then the SLA. Return the reading it was judged by."""
    reading = read(scorer, state, at_ms)
    if state.stage not in (OPPORTUNITY, CLIENT):
        by_event = bool(state.exclusions) and not scorer.exclusion_keys.isdisjoint(state.exclusions)
        excluded = state.excluded_by_traits or by_event
        if excluded and state.stage != EXCLUDED:
            _move(state, at_ms, "lead.excluded", EXCLUDED, reading, moves)
        elif not excluded and state.stage == EXCLUDED:
            _move(state, at_ms, "lead.stage", CONTACT, reading, moves)
        if not excluded:
            _climb_or_cool(scorer, state, at_ms, reading, moves)
    if state.respond_by_ms and at_ms >= state.respond_by_ms:
        breach(state, at_ms, reading, moves)
    return reading


def breach(state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    """Tell that the pending `lead.sql` was not answered in time."""
    moves(state, at_ms, "lead.sla_breached", state.stage, reading)
    state.respond_by_ms = 0


def _climb_or_cool(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    climbed = False
    while (step := scorer.next_step(state.stage)) is not None and _enters(scorer, state, step, reading, at_ms):
        _climb(scorer, state, at_ms, step, reading, moves)
        climbed = True
    if climbed:
        return
    while state.stage != CONTACT and _leaves(scorer, state, reading):
        _move(state, at_ms, "lead.cooled", scorer.rung_below(state.stage), reading, moves)


def _enters(scorer: CompiledGrid, state: LeadState, step: CompiledRung, reading: Reading, at_ms: int) -> bool:
    return (
        reading.score >= step.enter - ALLOWANCE
        and reading.fit >= step.min_fit - ALLOWANCE
        and (not state.closed_ms or at_ms >= _opens_ms(scorer, state))
        and (step.stage != SQL or at_ms < _intent_ends_ms(scorer, state))
    )


class Lacks(NamedTuple):
    """What keeps a lead from entering a rung at one instant. A lead that enters lacks nothing."""

    points: float
    """Missing to `enter`; 0: enough."""
    fit: float
    """Missing to `min_fit`; 0: enough."""
    intent: bool
    """No event of an `intent` rule within `intent_within`."""
    closed_until: int
    """When the ladder, closed by a rejection or a loss, opens for a lead that has been active since; 0: open."""
    activity: bool
    """The closed ladder also asks for activity since it closed."""


def lacks(scorer: CompiledGrid, state: LeadState, step: CompiledRung, reading: Reading, at_ms: int) -> Lacks:
    """Return what of `_enters`'s conditions does not hold at *at_ms*, one by one."""
    closed = bool(state.closed_ms) and at_ms < _opens_ms(scorer, state)
    return Lacks(
        0.0 if reading.score >= step.enter - ALLOWANCE else step.enter - reading.score,
        0.0 if reading.fit >= step.min_fit - ALLOWANCE else step.min_fit - reading.fit,
        step.stage == SQL and at_ms >= _intent_ends_ms(scorer, state),
        state.closed_ms + scorer.quiet if closed else 0,
        closed and state.active_ms <= state.closed_ms,
    )


def _leaves(scorer: CompiledGrid, state: LeadState, reading: Reading) -> bool:
    step = scorer.step_at(state.stage)
    return step is None or reading.score < step.leave - ALLOWANCE or reading.fit < step.min_fit - ALLOWANCE


def _opens_ms(scorer: CompiledGrid, state: LeadState) -> float:
    """Return when a closed ladder opens by time alone: `quiet` after it closed, and only for a lead active since."""
    return state.closed_ms + scorer.quiet if state.active_ms > state.closed_ms else INFINITY


def _intent_ends_ms(scorer: CompiledGrid, state: LeadState) -> float:
    """Return when the lead's latest intent is `intent_within` old; infinite without that condition."""
    if scorer.intent_within is None:
        return INFINITY
    latest = max((count.last_ms for key, count in state.counts.items() if key in scorer.intent_keys), default=None)
    return -INFINITY if latest is None else latest + scorer.intent_within


def _climb(scorer: CompiledGrid, state: LeadState, at_ms: int, step: CompiledRung, reading: Reading, moves: Moves) -> None:
    """Move up one rung. Within `quiet` of the last output under that name nobody is called twice: it is a `lead.stage`."""
    last = state.mql_at_ms if step.stage == MQL else state.sql_at_ms
    if last and at_ms - last < scorer.quiet:
        _move(state, at_ms, "lead.stage", step.stage, reading, moves)
        return
    respond_by = at_ms + scorer.sla if step.stage == SQL and scorer.sla is not None else 0
    _move(state, at_ms, step.output, step.stage, reading, moves, respond_by)
    if step.stage == MQL:
        state.mql_at_ms = at_ms
    else:
        state.sql_at_ms = at_ms
        state.respond_by_ms = respond_by


def _move(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, moves: Moves, respond_by: int = 0) -> None:
    moves(state, at_ms, output, to, reading, respond_by)
    state.stage = to


def advance(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int, moves: Moves) -> None:
    """Judge the lead at every instant in (*from_ms*, *to_ms*] at which time alone changes the answer.

    The lead must stand judged at *from_ms*. Costs nothing where `state.due` lies past *to_ms*.
    """
    while state.due_ms is not None and state.due_ms <= to_ms:
        at_ms = next_change(scorer, state, from_ms, to_ms)
        if at_ms is None:
            return
        state.due_ms = due(scorer, state, judge(scorer, state, at_ms, moves), at_ms)
        from_ms = at_ms


def next_change(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int) -> int | None:
    """Return the first whole millisecond in (*from_ms*, *to_ms*] at which the lead would move or breach; `None` if none.

    Between two steps only decay acts, so interval bounds and monotonicity locate the first crossing. At each step the lead
    is judged.
    """
    at_ms = from_ms
    while at_ms < to_ms:
        reading = read(scorer, state, at_ms)
        step_ms = min(reading.step_ms, _gate_ms(scorer, state, at_ms))
        end_ms = int(min(step_ms, to_ms + 1))
        found = _crossing(scorer, state, at_ms, end_ms - 1)
        if found is not None:
            return found
        if end_ms > to_ms:
            return None
        if _would_move(scorer, state, end_ms):
            return end_ms
        at_ms = end_ms
    return None


def _gate_ms(scorer: CompiledGrid, state: LeadState, at_ms: int) -> float:
    """Return the next instant past *at_ms* at which something other than points changes: SLA, ladder opens, intent ends."""
    gates = [float(state.respond_by_ms)] if state.respond_by_ms else []
    if state.closed_ms:
        gates.append(_opens_ms(scorer, state))
    if scorer.intent_within is not None:
        gates.append(_intent_ends_ms(scorer, state))
    return min((gate for gate in gates if gate > at_ms), default=INFINITY)


def _would_move(scorer: CompiledGrid, state: LeadState, at_ms: int) -> bool:
    if state.respond_by_ms and at_ms >= state.respond_by_ms:
        return True
    if state.stage > SQL:
        return False
    reading = read(scorer, state, at_ms)
    step = scorer.next_step(state.stage)
    return (step is not None and _enters(scorer, state, step, reading, at_ms)) or (
        state.stage != CONTACT and _leaves(scorer, state, reading)
    )


def _crossing(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int) -> int | None:
    """Return the first instant in (*from_ms*, *to_ms*], without steps, at which decay carries the score over a threshold."""
    if state.stage > SQL or to_ms <= from_ms:
        return None
    thresholds = _thresholds(scorer, state, from_ms)
    parts = decaying_parts(scorer, state, from_ms)
    if thresholds == (None, None) or not parts:
        return None
    return Crossing(scorer, state, thresholds, parts, from_ms).first(from_ms, to_ms)


def _thresholds(scorer: CompiledGrid, state: LeadState, at_ms: int) -> tuple[float | None, float | None]:
    """Return the scores at which the lead would go up (from, inclusive) and down (below), as things stand at *at_ms*."""
    up = down = None
    step = scorer.next_step(state.stage)
    if (
        step is not None
        and state.fit >= step.min_fit - ALLOWANCE
        and (not state.closed_ms or at_ms >= _opens_ms(scorer, state))
        and (step.stage != SQL or at_ms < _intent_ends_ms(scorer, state))
    ):
        up = step.enter - ALLOWANCE
    held = scorer.step_at(state.stage)
    if held is not None:
        down = held.leave - ALLOWANCE
    return up, down


def due(scorer: CompiledGrid, state: LeadState, reading: Reading, at_ms: int) -> int | None:
    """Return an instant past *at_ms* that is not later than the next one at which time alone moves the lead; `None`: never.

    A bound, not the instant: between steps the score moves no faster than if every decaying part had the shortest half-life.
    """
    found = float(state.respond_by_ms) if state.respond_by_ms else INFINITY
    if state.stage <= SQL:
        step = scorer.next_step(state.stage)
        if (
            step is not None
            and reading.fit >= step.min_fit - ALLOWANCE
            and reading.highest >= step.enter - ALLOWANCE - SLACK
            and (step.stage != SQL or at_ms < _intent_ends_ms(scorer, state))
        ):
            gap = step.enter - ALLOWANCE - reading.score
            opens = _opens_ms(scorer, state) if state.closed_ms else -INFINITY
            if opens > at_ms:
                found = min(found, opens)
            else:
                crosses = at_ms + reach(gap, reading.rising, reading.rising_half_life)
                found = min(found, reading.step_ms, crosses)
        held = scorer.step_at(state.stage)
        if held is not None and reading.lowest < held.leave - ALLOWANCE + SLACK:
            gap = reading.score - (held.leave - ALLOWANCE)
            crosses = at_ms + reach(gap, reading.falling, reading.falling_half_life)
            found = min(found, reading.step_ms, crosses)
    return None if found == INFINITY else max(int(found), at_ms + 1)


def slack(scorer: CompiledGrid, state: LeadState, reading: Reading) -> tuple[float, float]:
    """Return (slack, stable_until_ms) of a lead that stands judged at *reading*.

    Before `stable_until_ms` the lead cannot change stage, while new events raise `reading.upper_bound` by at most `slack`.
    On a rung, that holds for events that take no points (`fold.add` finds those). A negative slack means: judge every event.
    Changes of traits, of the CRM and exclusions by event ask for a judgement of their own.

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
    room = INFINITY
    step = scorer.next_step(state.stage)
    if step is not None and reading.fit >= step.min_fit - ALLOWANCE:
        room = step.enter - _DUST - reading.upper_bound
    if state.stage != CONTACT and room >= 0:
        until = min(until, _stays_ms(scorer, state, reading))
    return room, until


def _stays_ms(scorer: CompiledGrid, state: LeadState, reading: Reading) -> float:
    """Return an instant before which a lead on a rung does not leave it, if no event takes points; 0: that is not known."""
    held = scorer.step_at(state.stage)
    if held is None or reading.fit < held.min_fit - ALLOWANCE:
        return 0.0
    least = held.leave + _DUST
    needed = least - reading.fit
    if least > scorer.score_max or needed > scorer.engagement_max:
        return 0.0
    firm, next_ms = reading.firm + scorer.velocity_least, INFINITY
    if scorer.tiers and not state.active_ms:  # its first activity may be of any time
        return 0.0
    for tier in scorer.tiers:
        points, step_ms = inactive(tier, state.active_ms, reading.at_ms)
        firm += min(points, 0.0)
        next_ms = min(next_ms, step_ms)
    spare = firm + reading.fading - needed
    if spare <= 0:
        return 0.0
    return min(next_ms, reading.at_ms + reach(spare, reading.fading, reading.falling_half_life))


def reach(gap: float, parts: float, half_life: float) -> float:
    """Return how many ms *parts* need at least to change by *gap* when they fade to nothing with *half_life*."""
    gap -= SLACK
    if gap >= parts:
        return INFINITY
    return 0.0 if gap <= 0 else max(0.0, half_life * halvings(1 - gap / parts) - 1)


def exact_due(scorer: CompiledGrid, state: LeadState, reading: Reading, at_ms: int) -> int | None:
    """Return `due`, exact up to the next step: a lead that a tick judged too early is not asked again and again."""
    bound = due(scorer, state, reading, at_ms)
    if bound is None or bound >= reading.step_ms:
        return bound
    horizon = int(min(reading.step_ms - 1, at_ms + _HORIZON_MS))
    found = next_change(scorer, state, at_ms, horizon)
    return horizon + 1 if found is None else found
