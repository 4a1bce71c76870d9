"""Stages: which one follows from a lead's score, its exclusions and the CRM, and at which exact instants it changes.

`judge` answers at one instant. `advance` brings a lead from one instant to another without events.
It judges the lead at each instant between them at which the answer changes. Both report moves to a `Moves` listener.
So the same code serves the live worker, a replay and an explanation.
"""

from __future__ import annotations

from typing import Final, Protocol

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE, CompiledRung
from worker.core.scoring.ladder import enters, leaves, may_explore
from worker.core.scoring.phases import held_phase, is_judged, next_phase
from worker.core.scoring.reading import Reading
from worker.core.scoring.schedule import due, next_change
from worker.core.scoring.score import read
from worker.core.scoring.state import CLIENT, CONTACT, EXCLUDED, MQL, OPPORTUNITY, SQL, LeadState

ANSWERS: Final = frozenset({"crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost"})
_CLOSES: Final = frozenset({"crm.rejected", "crm.lost"})
_SETS: Final = {"crm.opportunity": OPPORTUNITY, "crm.won": CLIENT}


class Moves(Protocol):
    """Hears of every output of one lead, in order. Called with the state as it is before the move is made."""

    def __call__(
        self, state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0, phase: str = ""
    ) -> None:
        """Take one transition (*output* is its type) at *at_ms*.

        For `lead.sql`, *respond_by* is its SLA's instant or 0. For `lead.phase`, *phase* is the new one; empty: none.
        """
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


def judge(scorer: CompiledGrid, state: LeadState, at_ms: int, moves: Moves, *, acted: bool = False) -> Reading:
    """Judge the lead at *at_ms*: exclusion, ladder, exploration, phase, then the SLA. Return the reading it was judged by.

    *acted*: an activity of the lead is what it is judged for. Only then is it explored.
    """
    reading = read(scorer, state, at_ms)
    if state.stage not in (OPPORTUNITY, CLIENT):
        by_event = bool(state.exclusions) and scorer.excludes_by_event(state.exclusions)
        excluded = state.excluded_by_traits or by_event
        if excluded and state.stage != EXCLUDED:
            _move(state, at_ms, "lead.excluded", EXCLUDED, reading, moves)
        elif not excluded and state.stage == EXCLUDED:
            _move(state, at_ms, "lead.stage", CONTACT, reading, moves)
        if not excluded:
            _climb_or_cool(scorer, state, at_ms, reading, moves)
            if acted and reading.score >= scorer.explore_from - ALLOWANCE and may_explore(scorer, state):
                _explore(scorer, state, at_ms, reading, moves)
    if scorer.phases and state.stage <= SQL:
        _judge_phase(scorer, state, at_ms, reading, moves)
    if state.respond_by_ms and at_ms >= state.respond_by_ms:
        breach(state, at_ms, reading, moves)
    return reading


def breach(state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    """Tell that the pending `lead.sql` was not answered in time."""
    moves(state, at_ms, "lead.sla_breached", state.stage, reading)
    state.respond_by_ms = 0


def _judge_phase(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    held = held_phase(scorer, state)
    to = next_phase(scorer, held, reading.score)
    known = is_judged(scorer, state)
    if known and to == held:
        return
    phase = scorer.phase_at(to)
    if known:
        moves(state, at_ms, "lead.phase", state.stage, reading, 0, phase.name)
    state.phase = phase


def _climb_or_cool(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    climbed = False
    while (step := scorer.next_step(state.stage)) is not None and enters(scorer, state, step, reading, at_ms):
        _climb(scorer, state, at_ms, step, reading, moves)
        climbed = True
    if climbed:
        return
    while state.stage != CONTACT and leaves(scorer, state, reading):
        _move(state, at_ms, "lead.cooled", scorer.rung_below(state.stage), reading, moves)


def _climb(scorer: CompiledGrid, state: LeadState, at_ms: int, step: CompiledRung, reading: Reading, moves: Moves) -> None:
    """Move up one rung. Within `quiet` of the last output under that name nobody is called twice: it is a `lead.stage`."""
    last = state.mql_at_ms if step.stage == MQL else state.sql_at_ms
    if last and at_ms - last < scorer.quiet:
        _move(state, at_ms, "lead.stage", step.stage, reading, moves)
        return
    respond_by = scorer.response_time.ends_ms(at_ms) if step.stage == SQL and scorer.response_time is not None else 0
    _move(state, at_ms, step.output, step.stage, reading, moves, respond_by)
    if step.stage == MQL:
        state.mql_at_ms = at_ms
    else:
        state.sql_at_ms = at_ms
        state.respond_by_ms = respond_by


def _explore(scorer: CompiledGrid, state: LeadState, at_ms: int, reading: Reading, moves: Moves) -> None:
    """Hand the lead over, and leave it in its stage: `lead.sql` from that stage to the same one."""
    respond_by = 0 if scorer.response_time is None else scorer.response_time.ends_ms(at_ms)
    moves(state, at_ms, "lead.sql", state.stage, reading, respond_by)
    state.sql_at_ms = at_ms
    state.respond_by_ms = respond_by


def _move(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, moves: Moves, respond_by: int = 0) -> None:
    moves(state, at_ms, output, to, reading, respond_by)
    state.stage = to


def advance(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int, moves: Moves) -> None:
    """Judge the lead at every instant in (*from_ms*, *to_ms*] at which time alone changes the answer.

    The lead must stand judged at *from_ms*. Costs nothing where `state.due_ms` lies past *to_ms*.
    """
    while state.due_ms is not None and state.due_ms <= to_ms:
        at_ms = next_change(scorer, state, from_ms, to_ms)
        if at_ms is None:
            return
        state.due_ms = due(scorer, state, judge(scorer, state, at_ms, moves), at_ms)
        from_ms = at_ms
