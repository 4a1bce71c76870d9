"""One id during a batch: its state, its clock, and how long it is certain to stay in its stage."""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec

from worker.core.contract.marks import shown_mark
from worker.core.identity.recorder import Effects, Recorder
from worker.core.scoring import schedule, stages
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import judge_traits
from worker.core.scoring.outputs import TransitionRecorder
from worker.core.scoring.reading import Reading
from worker.core.scoring.retention import ends_ms
from worker.core.scoring.score import read
from worker.core.scoring.set_aside import set_aside
from worker.core.scoring.state import LeadState, UnreadableState, unpack


class Subject:
    """One id with its state, and the instant up to which it is judged."""

    def __init__(
        self, scorer: CompiledGrid, name: str, packed: bytes | None, clock_ms: int | None, effects: Effects | None = None
    ) -> None:
        """Unpack the state and judge it by *scorer* if another grid judged it last. *clock_ms* is the partition's last tick.

        Raises `UnreadableState` for a state that this version cannot read.
        """
        self.name = name
        self.scorer = scorer if scorer.exploring is None else scorer.of_lead(name)
        self._effects = Effects() if effects is None else effects
        try:
            self.state = LeadState(alive=False) if packed is None else unpack(packed)
        except UnreadableState as err:
            raise UnreadableState(f"lead with mark {shown_mark(name)}: {err}") from err
        self.tick_ms = clock_ms or 0
        self.at_ms = max(self.state.clock_ms, self.tick_ms)
        """The lead's clock: the latest of its event times and of its partition's ticks."""
        self.reading: Reading | None = None
        """The reading at the clock. `None`: the lead must be read first."""
        self.slack = -1.0
        """Events that add no more points than this leave the lead in its stage..."""
        self.stable_until_ms = 0.0
        """...if they come before this instant (`schedule.slack`)."""
        self._bounded: Reading | None = None
        """The reading that `slack` and `stable_until_ms` belong to."""
        self._unjudged = False
        """Such events came, and the lead's `due` is still from before them."""
        self.changed = False
        self.traits_changed = False
        """The traits, or the grid that reads them, changed since the lead last reported its address and account."""
        if self.state.alive and self.state.grid != scorer.tag:
            self._take_grid()

    def _take_grid(self) -> None:
        """Judge the lead by another grid than before, at its clock. Set aside what that grid does not count."""
        state, scorer = self.state, self.scorer
        set_aside(scorer, state, self.at_ms)
        judge_traits(scorer, state)
        self.traits_changed = True
        state.grid = scorer.tag
        if not scorer.phases:
            state.phase = None
        if not self.waits():
            self.judge(self.by_time)
        self.changed = True

    def begin(self) -> None:
        """Hold the lead under the scorer's grid. A new lead is in no phase yet, so that its first one is published."""
        state, scorer = self.state, self.scorer
        if not state.alive:
            state.alive = True
            if scorer.phases:
                state.phase = scorer.phase_at(-1)
        state.grid = scorer.tag

    def waits(self) -> bool:
        """Return whether a visitor's history is on its way here. Until it has come, time alone does not move the lead."""
        return self.state.links is not None and bool(self.state.links.awaiting)

    def become(self, state: LeadState) -> None:
        """Replace the state, and forget what was read of the old one."""
        self.state = state
        self.reading = self._bounded = None
        self.slack, self._unjudged = -1.0, False
        self.changed = True

    def relink(self, **links: Any) -> None:
        """Change the named fields of the state's `IdentityLinks`."""
        self.state.identity = msgspec.structs.replace(self.state.identity, **links)
        self.changed = True

    def judge(self, moves: stages.Moves, *, acted: bool = False) -> None:
        """Judge the lead at its clock, and schedule it. *acted*: an activity of the lead asks for it."""
        reading = self.reading = stages.judge(self.scorer, self.state, self.at_ms, moves, acted=acted)
        self.schedule(schedule.due(self.scorer, self.state, reading, self.at_ms))
        self._unjudged = False

    def note_judged(self) -> None:
        """Remember up to which instant the lead is judged, if it has links to other ids."""
        if self.state.links is not None and self.state.links.judged_until_ms != self.at_ms:
            self.relink(judged_until_ms=self.at_ms)

    def catch_up(self) -> Reading:
        """Return the reading at the clock, and set `due` as if the lead had been judged at its last event."""
        reading = self.reading
        if reading is None:
            reading = self.reading = read(self.scorer, self.state, self.at_ms)
        if self._unjudged:
            self.schedule(schedule.due(self.scorer, self.state, reading, self.at_ms))
            self._unjudged = False
        return reading

    def is_stable(self, at_ms: int) -> bool:
        """Return whether until *at_ms*, and at it, only traits, the CRM or many points can move the lead."""
        if self.reading is not None and self.reading is not self._bounded:
            self.slack, self.stable_until_ms = schedule.slack(self.scorer, self.state, self.reading)
            if self.scorer.retention is not None and self.stable_until_ms < inf:
                self.stable_until_ms = 0.0
            self._bounded = self.reading
        return at_ms < self.stable_until_ms and self.slack >= 0

    def schedule(self, due_ms: int | None) -> None:
        """Let the lead be judged at *due_ms*, or when it will have been idle for too long, if that is earlier."""
        if self.scorer.retention is not None:
            ends = max(ends_ms(self.scorer, self.state), self.at_ms + 1)
            due_ms = due_ms if ends == inf else int(min(ends, inf if due_ms is None else due_ms))
        self.state.due_ms = due_ms

    @property
    def by_time(self) -> TransitionRecorder:
        """Writes outputs that time alone causes."""
        return TransitionRecorder(self.scorer, self.name, self._effects)

    def transitions(self, recorder: Recorder) -> TransitionRecorder:
        """Return what writes the id's outputs that *recorder*'s item causes."""
        return TransitionRecorder(self.scorer, self.name, recorder.effects, recorder.source, recorder.place)
