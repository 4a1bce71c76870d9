"""Buying phases: which one follows from a lead's score and the phase that it is in."""

from __future__ import annotations

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE
from worker.core.scoring.state import SQL, LeadState


def next_phase(scorer: CompiledGrid, held: int, score: float) -> int:
    """Return the place of the phase that a lead in phase *held* has at *score*; -1 stands for none.

    Up to the highest phase whose `enter` is reached. Below the held phase's `leave` down to the highest lower phase whose
    `leave` is still reached.
    """
    phases = scorer.phases
    for place in range(len(phases) - 1, held, -1):
        if score >= phases[place].enter - ALLOWANCE:
            return place
    while held >= 0 and score < phases[held].leave - ALLOWANCE:
        held -= 1
    return held


def held_phase(scorer: CompiledGrid, state: LeadState) -> int:
    """Return the place of the lead's phase in the grid. It is -1 without one, and for a phase that the grid no longer has."""
    return -1 if state.phase is None else scorer.phase_places.get(state.phase.name, -1)


def phase_name(scorer: CompiledGrid, state: LeadState) -> str | None:
    """Return the lead's phase as outputs show it; `None`: it has none."""
    held = held_phase(scorer, state)
    return None if held < 0 else scorer.phases[held].name


def is_judged(scorer: CompiledGrid, state: LeadState) -> bool:
    """Return whether the lead's phase moves by its score now, each change with an output.

    It stands still while the lead is excluded, an opportunity or a client. Under a grid with other phases than before, the
    lead is first put into its phase without an output.
    """
    return state.stage <= SQL and state.phase is not None and state.phase.phases == scorer.phases_tag
