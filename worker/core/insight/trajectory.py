"""The course of a score over time: exact samples of what was, and of what comes if nothing happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from worker.core.contract.model import Event
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.reading import Reading
from worker.core.scoring.score import read
from worker.core.scoring.stages import advance
from worker.core.scoring.state import LeadState, pack, unpack

_FLAT: Final = 0.05
"""Points that nobody sees in a curve."""


class Sample(NamedTuple):
    """A lead at one instant."""

    at_ms: int
    score: float
    fit: float
    engagement: float
    stage: int


class StageChange(NamedTuple):
    """What a lead became by an event, judged at its clock *at_ms*; what ticks do, time alone does."""

    at_ms: int
    state: bytes
    """Packed."""
    event: Event


def future(scorer: CompiledGrid, state: LeadState, from_ms: int, to_ms: int, every_ms: int) -> Iterator[Sample]:
    """Yield how a lead that stands judged at *from_ms* goes on to *to_ms* if nothing happens.

    Samples lie at most *every_ms* apart. Each instant at which points step has a sample one millisecond before it. So
    a jump stands upright in a picture. Each move of the stage has its own sample.
    """
    lead = unpack(pack(state))
    moved: list[Sample] = []

    def hear(
        state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0, phase: str = ""
    ) -> None:
        moved.append(Sample(at_ms, reading.score, reading.fit, reading.engagement, to))

    def until(end_ms: int) -> Iterator[Sample]:
        advance(scorer, lead, at_ms, end_ms, hear)
        yield from moved
        moved.clear()
        yield sample(scorer, lead, end_ms)

    at_ms = from_ms
    yield sample(scorer, lead, at_ms)
    while at_ms < to_ms:
        end_ms = min(at_ms + every_ms, to_ms)
        step_ms = read(scorer, lead, at_ms).step_ms
        if step_ms <= end_ms:
            end_ms = int(step_ms)
            if end_ms - 1 > at_ms:
                yield from until(end_ms - 1)
                at_ms = end_ms - 1
        yield from until(end_ms)
        at_ms = end_ms


def past(scorer: CompiledGrid, turns: Sequence[StageChange], to_ms: int, every_ms: int) -> Iterator[Sample]:
    """Yield the course through *turns* and on to *to_ms*: between two as time alone bends it, at each an upright jump."""
    for turn, next_ms in zip(turns, [*(turn.at_ms - 1 for turn in turns[1:]), to_ms], strict=True):
        yield from future(scorer, unpack(turn.state), turn.at_ms, max(next_ms, turn.at_ms), every_ms)


def sample(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Sample:
    """Return the lead at *at_ms*, not before its clock."""
    reading = read(scorer, state, at_ms)
    return Sample(at_ms, reading.score, reading.fit, reading.engagement, state.stage)


def until_flat(samples: list[Sample]) -> list[Sample]:
    """Return *samples* up to the first from which on nothing visible changes."""
    last = samples[-1]
    for place in range(len(samples) - 1, 0, -1):
        one = samples[place - 1]
        moves = one.stage != last.stage
        if moves or any(abs(a - b) > _FLAT for a, b in zip(one[1:4], last[1:4], strict=True)):
            return samples[: place + 1]
    return samples[:1]
