"""One batch, from states and events to what is to be written and published. Pure: the same input gives the same plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.core import stages
from worker.core.days import rfc3339
from worker.core.fold import add, id_mark, is_duplicate, judge_traits, with_traits
from worker.core.model import Event, LeadWrite, Output
from worker.core.outputs import Publisher
from worker.core.score import Reading, read
from worker.core.scorer import Scorer
from worker.core.state import STAGES, WHAT_TO_DO, LeadState, UnreadableState, pack, unpack
from worker.core.traits import TraitsRefused

_SHOWN = 100
"""Characters of a lead's id that an error shows."""


@dataclass
class Plan:
    """What one batch asks for."""

    writes: list[LeadWrite] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Valid events that cannot be taken (traits past 64 kB), by their place among the events, and why. They go to `lead.dead`
    as bad records do, and leave no trace in the lead, so that a mended one can come again."""
    duplicates: int = 0
    late: int = 0
    """Events older than their lead's clock, or than its partition's last tick or as old. They count all the same."""
    erased: int = 0
    """Events dropped because their lead was erased after them."""


class Lead:
    """One lead while a batch is at hand: its state, and the instant up to which it stands judged."""

    def __init__(self, scorer: Scorer, name: str, packed: bytes | None, clock_ms: int | None, outputs: list[Output]) -> None:
        self.name = name
        self.scorer = scorer
        self.publisher = Publisher(scorer, name, outputs)
        try:
            self.state = LeadState(alive=False) if packed is None else unpack(packed)
        except UnreadableState as err:
            raise UnreadableState(f"lead {name[:_SHOWN]!r}: {err}") from err
        self._tick_ms = clock_ms or 0
        self.at_ms = max(self.state.clock, self._tick_ms)
        """The lead's clock: the latest of its event times and of its partition's ticks."""
        self.reading: Reading | None = None
        self.changed = False
        if self.state.alive and self.state.grid != scorer.tag:
            self._take_grid()

    def _take_grid(self) -> None:
        """Judge the lead by another grid than the last one, at its clock; drop what that grid does not count."""
        state, scorer = self.state, self.scorer
        state.counts = {key: count for key, count in state.counts.items() if key in scorer.readers}
        state.paces = {key: pace for key, pace in state.paces.items() if key in scorer.pace_readers}
        state.bars = {key: at for key, at in state.bars.items() if key in scorer.bar_keys}
        judge_traits(scorer, state)
        state.grid = scorer.tag
        self._judge()
        self.changed = True

    def _judge(self) -> None:
        reading = stages.judge(self.scorer, self.state, self.at_ms, self.publisher)
        self.state.due = stages.due(self.scorer, self.state, reading, self.at_ms)
        self.reading = reading

    def take(self, event: Event, index: int, plan: Plan) -> None:
        """Fold one event: what time alone changed before it, its effect, then the stage at the lead's clock."""
        state, scorer, publisher = self.state, self.scorer, self.publisher
        if state.erased and event.at_ms <= state.erased:
            plan.erased += 1
            return
        event_mark = id_mark(event)
        if is_duplicate(state, event_mark):
            plan.duplicates += 1
            return
        traits = None
        if event.type == "profile.updated":
            try:
                traits = with_traits(state, event)
            except TraitsRefused as err:
                plan.refused.append((index, str(err)))
                return
        if event.at_ms > self.at_ms:
            if state.due is not None and state.due < event.at_ms:
                stages.advance(scorer, state, self.at_ms, event.at_ms - 1, publisher)
            self.at_ms = event.at_ms
        elif event.at_ms < self.at_ms or event.at_ms <= self._tick_ms:
            plan.late += 1
        if event.type == "lead.erased":
            self._erase(event)
            return
        publisher.cause = event
        if traits is not None:
            state.traits = traits
        if traits is not None or not state.alive:
            state.alive = True
            state.grid = scorer.tag
            judge_traits(scorer, state)
        add(scorer, state, event, event_mark)
        if event.type.startswith("crm."):
            stages.take_crm(scorer, state, event.type, event.at_ms, self.at_ms, publisher)
        self._judge()
        # Once more: the event may have brought about the very lead.sql that it answers, being no older than it.
        stages.answer(state, event.type, event.at_ms)
        publisher.cause = None
        self.changed = True

    def _erase(self, event: Event) -> None:
        """Keep nothing but the mark: the instant, and the sequence, so that no id of an output is ever given twice."""
        at_ms = self.at_ms
        self.state = LeadState(alive=False, erased=event.at_ms, sequence=self.state.sequence)
        self.publisher.cause = event
        self.publisher.erased(self.state, at_ms)
        self.publisher.cause = None
        self.reading = None
        self.at_ms = self._tick_ms
        self.changed = True

    def tick(self, at_ms: int) -> None:
        """Judge the lead at every instant up to and including *at_ms* at which time alone changes the answer."""
        state, scorer = self.state, self.scorer
        if not state.alive:
            return
        if at_ms > self.at_ms:
            stages.advance(scorer, state, self.at_ms, at_ms, self.publisher)
            # Kept, because a tick is applied in slices: after a crash between two, events come before the tick's last slice.
            self.at_ms = state.clock = at_ms
        self.reading = read(scorer, state, self.at_ms)
        state.due = stages.exact_due(scorer, state, self.reading, self.at_ms)
        self.changed = True

    def write(self) -> LeadWrite:
        """Return what is to be stored of the lead."""
        state = self.state
        if not state.alive:
            return LeadWrite(self.name, pack(state), "", "", "", "", "", "", None, None)
        reading = self.reading or read(self.scorer, state, self.at_ms)
        return LeadWrite(
            self.name,
            pack(state),
            _decimal(reading.score),
            _decimal(reading.fit),
            _decimal(reading.engagement),
            STAGES[state.stage],
            self.scorer.grade(reading.fit, reading.engagement) or "",
            rfc3339(self.at_ms),
            state.due,
            reading.highest,
        )


def plan_events(scorer: Scorer, before: Mapping[str, bytes | None], events: Sequence[Event], clock_ms: int | None) -> Plan:
    """Fold *events*, in order, into the leads' packed states *before* them.

    *before* holds every lead of *events* (`None`: not held yet); *clock_ms* is the partition's last tick. Raises
    `UnreadableState` for a state that this version cannot read.
    """
    plan = Plan()
    leads: dict[str, Lead] = {}
    for index, event in enumerate(events):
        lead = leads.get(event.lead)
        if lead is None:
            lead = leads[event.lead] = Lead(scorer, event.lead, before[event.lead], clock_ms, plan.outputs)
        try:
            lead.take(event, index, plan)
        except Exception as err:
            err.add_note(_whose(lead))
            raise
    plan.writes = [lead.write() for lead in leads.values() if lead.changed]
    return plan


def plan_tick(scorer: Scorer, before: Mapping[str, bytes | None], tick_ms: int, clock_ms: int | None) -> Plan:
    """Judge the leads of *before* (those due, or all of them under a new grid) at a tick; *clock_ms* is the one before it."""
    plan = Plan()
    leads: list[Lead] = []
    for name, packed in before.items():
        lead = Lead(scorer, name, packed, clock_ms, plan.outputs)
        try:
            lead.tick(tick_ms)
        except Exception as err:
            err.add_note(_whose(lead))
            raise
        leads.append(lead)
    plan.writes = [lead.write() for lead in leads if lead.changed]
    return plan


def _whose(lead: Lead) -> str:
    """Return where to look when the fold fails, which no event can bring about: most likely at what is stored of the lead."""
    return f"while lead {lead.name[:_SHOWN]!r} was folded: its state in Redis may be damaged, {WHAT_TO_DO}"


def _decimal(value: float) -> str:
    """Return a number as people read it in Redis; nine decimals hide float dust and no points."""
    return repr(round(value, 9) + 0.0)
