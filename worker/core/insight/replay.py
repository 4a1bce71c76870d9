"""The core over files: what the live worker would have done with these events, without Kafka and Redis.

One CloudEvent a line, in order of arrival; a line `{"tick": "2026-03-05T12:00:00Z"}` is a tick. Leads are held in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.instants import instant as parse_instant
from worker.core.contract.model import Event, Item, LeadWrite, Output, Predicted, Reason, Record, Rejected, Unknown
from worker.core.contract.tick_line import tick_of
from worker.core.grid.models import Grid
from worker.core.insight.trajectory import StageChange
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.phases import phase_name
from worker.core.scoring.prediction import predicted
from worker.core.scoring.score import read, reasons
from worker.core.scoring.state import STAGES, unpack

CHUNK = 2_000
"""Events folded at once; where batches end changes nothing in what comes out."""


class LeadLine(msgspec.Struct, frozen=True):
    """One lead as `leadpulse replay --leads` writes it."""

    lead_id: str
    score: float
    fit: float
    engagement: float
    grade: str | None
    stage: str
    sequence: int
    as_of: str
    reasons: list[Reason]
    phase: str | msgspec.UnsetType | None = msgspec.UNSET
    """Under a grid with phases; null: in none."""
    prediction: Predicted | msgspec.UnsetType = msgspec.UNSET
    """Under a grid with a model."""


@dataclass
class Counts:
    """What became of the lines."""

    events: int = 0
    ticks: int = 0
    unknown: int = 0
    bad: int = 0
    duplicates: int = 0
    late: int = 0
    erased: int = 0
    merged: int = 0
    removed: int = 0


class Replay:
    """One run. Feed it lines, then `finish`; outputs are handed over as they come by `take_outputs`."""

    def __init__(self, grid: Grid, source: str = "/leadpulse/replay", watched: str | None = None) -> None:
        self.scorer = CompiledGrid(grid, source)
        self.counts = Counts()
        self.clock_ms: int | None = None
        self.latest_ms: int | None = None
        """The latest time in the input."""
        self.latest: tuple[str, int] = ("", 0)
        """(file, line) of that time."""
        self._states: dict[str, bytes | None] = {}
        self._schedule: dict[str, int] = {}
        """Lead → the instant by which a tick must judge it."""
        self._due: list[tuple[int, str]] = []
        """A heap of what `_schedule` held; an entry that it no longer holds is out of date."""
        self._waiting: list[Event] = []
        self._places: list[tuple[str, int]] = []
        self._outputs: list[Output] = []
        self.refused: list[tuple[str, int, str]] = []
        """(file, line, reason) of lines that could not be taken."""
        self._watched = watched
        self.turns: list[StageChange] = []
        """What each event made of the lead *watched*, since its last erasure."""

    def line(self, text: bytes, file: str = "-", number: int = 0) -> None:
        """Take one line; a bad one is noted in `refused` and leaves everything else as it is."""
        self.record(Record(file, 0, number, None, None, text))

    def record(self, record: Record) -> None:
        """Take one record, or a line as a record: its topic is the file, and its offset the number of the line."""
        decoded = decode(record)
        file, number, text = record.topic, record.offset, record.value or b""
        match decoded:
            case Event():
                self.counts.events += 1
                if self.latest_ms is None or decoded.at_ms > self.latest_ms:
                    self.latest_ms, self.latest = decoded.at_ms, (file, number)
                self._waiting.append(decoded)
                self._places.append((file, number))
                if len(self._waiting) >= CHUNK or decoded.lead == self._watched:
                    self._fold()
            case Unknown():
                self.counts.unknown += 1
            case Rejected():
                # A tick is no CloudEvent, so it costs events nothing to look here.
                tick = tick_of(text)
                if tick is None:
                    self._refuse(file, number, f"{decoded.reason}: {decoded.detail}")
                else:
                    self._tick_line(tick, file, number)

    def finish(self, at_ms: int | None = None) -> None:
        """Fold what waits and end with a tick at *at_ms* (default: the latest time in the input; without any, no tick)."""
        self._fold()
        end = self.latest_ms if at_ms is None else at_ms
        if end is not None:
            self._tick(end)

    def leads(self) -> Iterator[LeadLine]:
        """Yield every lead that is held, by id, judged at the last tick (one whose clock is later: at its clock)."""
        for name in sorted(self._states):
            packed = self._states[name]
            state = None if packed is None else unpack(packed)
            if state is None or not state.alive:
                continue
            at_ms = max(state.clock_ms, self.clock_ms or 0)
            reading = read(self.scorer, state, at_ms)
            yield LeadLine(
                name,
                reading.score,
                reading.fit,
                reading.engagement,
                self.scorer.grade(reading.fit, reading.engagement),
                STAGES[state.stage],
                state.sequence,
                rfc3339(at_ms),
                reasons(self.scorer, state, at_ms),
                phase_name(self.scorer, state) if self.scorer.phases else msgspec.UNSET,
                predicted(self.scorer, state, at_ms) or msgspec.UNSET,
            )

    def take_outputs(self) -> list[Output]:
        """Return the outputs since the last call, in order."""
        taken, self._outputs = self._outputs, []
        return taken

    def state_of(self, lead: str) -> bytes | None:
        """Return a lead's packed state."""
        self._fold()
        return self._states.get(lead)

    def _tick_line(self, tick: Any, file: str, number: int) -> None:
        at_ms = parse_instant(tick) if isinstance(tick, str) else None
        if at_ms is None:
            self._refuse(file, number, f"bad_tick: {tick!r} is not RFC 3339 with an offset, such as 2026-03-05T12:00:00Z")
            return
        self.counts.ticks += 1
        if self.latest_ms is None or at_ms > self.latest_ms:
            self.latest_ms, self.latest = at_ms, (file, number)
        self._fold()
        self._tick(at_ms)

    def _refuse(self, file: str, number: int, reason: str) -> None:
        self.counts.bad += 1
        self.refused.append((file, number, reason))

    def _fold(self) -> None:
        events, self._waiting = self._waiting, []
        places, self._places = self._places, []
        plan = self._fold_at_once(events)
        for index, reason, why in plan.refused:
            self.counts.events -= 1
            self._refuse(*places[index], f"{reason}: {why}")
        self.counts.events += plan.refused_in_part
        self.counts.duplicates += plan.duplicates
        self.counts.late += plan.late
        self.counts.erased += plan.erased + plan.dropped
        self.counts.merged += plan.merged
        self.counts.removed += plan.removed
        self._keep(plan.writes)
        if events:
            self._watch(plan.writes, events[-1])
        self._outputs += plan.outputs

    def _tick(self, at_ms: int) -> None:
        if self.clock_ms is not None and at_ms <= self.clock_ms:
            return
        due: dict[str, bytes | None] = {}
        while self._due and self._due[0][0] <= at_ms:
            due_ms, lead = heapq.heappop(self._due)
            if self._schedule.get(lead) == due_ms:
                del self._schedule[lead]
                due[lead] = self._states[lead]
        plan = plan_tick(self.scorer, due, at_ms, self.clock_ms)
        self.counts.removed += plan.removed
        self._keep(plan.writes)
        self._outputs += plan.outputs
        self.clock_ms = at_ms
        after = self._fold_at_once([item for _, item in plan.passed_on])
        self._keep(after.writes)
        self._outputs += after.outputs

    def _fold_at_once(self, items: Sequence[Item]) -> Plan:
        """Fold *items*, and at once the messages that they send to owners of other ids."""
        before = {item.lead: self._states.get(item.lead) for item in items}
        return plan_events(self.scorer, before, items, self.clock_ms, find=self._states.get)

    def _keep(self, writes: Iterable[LeadWrite]) -> None:
        for write in writes:
            if write.state:
                self._states[write.lead] = write.state
            else:
                self._states.pop(write.lead, None)
            if write.due_ms is None:
                self._schedule.pop(write.lead, None)
            elif self._schedule.get(write.lead) != write.due_ms:
                self._schedule[write.lead] = write.due_ms
                heapq.heappush(self._due, (write.due_ms, write.lead))

    def _watch(self, writes: Iterable[LeadWrite], event: Event) -> None:
        """Note what became of the watched lead; events are folded as soon as one of it comes, so *event*, the last, is its."""
        for write in writes:
            if write.lead == self._watched:
                state = unpack(write.state) if write.state else None
                if state is not None and state.alive:
                    self.turns.append(StageChange(max(state.clock_ms, self.clock_ms or 0), write.state, event))
                else:
                    self.turns.clear()


@dataclass
class ReplayResult:
    """What a whole replay gave."""

    leads: list[dict[str, Any]]
    events: list[dict[str, Any]]
    counts: Counts
    refused: list[tuple[str, int, str]] = field(default_factory=list)


def replay_lines(lines: Iterable[str | bytes], grid: Grid, at_ms: int | None = None) -> ReplayResult:
    """Replay *lines* and return leads and output events as plain objects."""
    run = Replay(grid)
    for number, text in enumerate(lines, start=1):
        run.line(text.encode() if isinstance(text, str) else text, "-", number)
    run.finish(at_ms)
    leads: list[dict[str, Any]] = [msgspec.to_builtins(lead) for lead in run.leads()]
    events = [msgspec.json.decode(output.value or b"") for output in run.take_outputs()]
    return ReplayResult(leads, events, run.counts, run.refused)
