"""A history together with what the worker would have published under a grid, for logs that hold no outputs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import msgspec

from worker.core.contract.instants import instant
from worker.core.contract.model import Output
from worker.core.contract.output_types import OUTPUT_TYPES
from worker.core.grid.models import Grid
from worker.core.insight.replay import Replay
from worker.core.scoring.calendar import rfc3339
from worker.history.record import TICK, History, HistoryRecord

_AT_ONCE: Final = 2_000
"""Records between two looks at the outputs, which are put among them by their times."""


class _Envelope(msgspec.Struct, gc=False):
    type: str
    time: str


_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def has_outputs(history: History) -> bool:
    """Return whether LeadPulse's own outputs are in *history*."""
    return any(record.output for record in history.events(OUTPUT_TYPES))


def with_outputs(history: History, grid: Grid) -> Iterator[HistoryRecord]:
    """Yield the events of *history* in order of arrival, and among them the outputs that *grid* gives by replay."""
    run = Replay(grid)
    waiting: list[HistoryRecord] = []
    before_ms = 0
    for number, record in enumerate(history.events(ticks=True), start=1):
        before_ms = record.arrival_ms
        run.line(record.value, record.topic, number)
        if record.type != TICK:
            waiting.append(record)
        if number % _AT_ONCE == 0:
            yield from _merged(waiting, run)
            waiting = []
    run.line(msgspec.json.encode({"tick": rfc3339(before_ms)}))
    run.finish(before_ms)
    yield from _merged(waiting, run)


def _merged(waiting: list[HistoryRecord], run: Replay) -> Iterator[HistoryRecord]:
    run.state_of("")  # folds what waits
    outputs = sorted(map(_record, run.take_outputs()), key=attrgetter("arrival_ms"))
    yield from heapq.merge(waiting, outputs, key=attrgetter("arrival_ms"))


def _record(output: Output) -> HistoryRecord:
    value = output.value or b""
    read = _envelope(value)
    at_ms = instant(read.time) or 0
    return HistoryRecord("(replay)", 0, 0, None, output.key, value, (), at_ms, read.type, (output.key or b"").decode(), True)
