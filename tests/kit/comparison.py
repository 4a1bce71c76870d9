"""The core driven as a worker and as a replay drive it, and held against the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.kit.oracle import Oracle
from tests.kit.oracle_prediction import assert_same_prediction
from tests.kit.oracle_values import instant
from tests.kit.stories import Case, Line
from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, LeadWrite, Record
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import replay_lines
from worker.core.scoring.compiled_grid import CompiledGrid

SOURCE = "/leadpulse/replay"


class Partition:
    """The core as a worker drives it: batches of events, ticks that judge the leads that are due, states packed in between."""

    def __init__(self, grid: str, refuses: str = "nothing") -> None:
        """Begin without leads. *refuses* is in the only words of refusals that may come up."""
        self.scorer = CompiledGrid(parse_grid(grid, "made-up.yaml"), SOURCE)
        self.refuses = refuses
        self.states: dict[str, bytes | None] = {}
        self.writes: dict[str, LeadWrite] = {}
        self.clock: int | None = None
        self.outputs: list[dict[str, Any]] = []
        self.offset = 0

    def _keep(self, plan: Plan) -> None:
        assert [why for _, _, why in plan.refused if self.refuses not in why] == []
        for write in plan.writes:
            self.states[write.lead] = write.state
            self.writes[write.lead] = write
        self.outputs += [json.loads(output.value or b"") for output in plan.outputs]

    def events(self, lines: Iterable[Line]) -> None:
        """Fold CloudEvents, as one batch."""
        batch = []
        for line in lines:
            decoded = decode(Record("events", 0, self.offset, None, None, json.dumps(line).encode()))
            assert isinstance(decoded, Event), decoded
            batch.append(decoded)
            self.offset += 1
        self._keep(plan_events(self.scorer, {e.lead: self.states.get(e.lead) for e in batch}, batch, self.clock))

    def tick(self, ms: int, everyone: bool = False) -> None:
        """Let time pass; as the engine does, only for leads that are due by then, unless *everyone* is asked."""
        if self.clock is not None and ms <= self.clock:
            return
        due = {
            name: self.states[name]
            for name, write in sorted(self.writes.items())
            if everyone or (write.due_ms is not None and write.due_ms <= ms)
        }
        self._keep(plan_tick(self.scorer, due, ms, self.clock))
        self.clock = ms

    def feed(self, lines: Sequence[Line], sizes: Sequence[int] = (1,)) -> Partition:
        """Take *lines* in order, events in batches of at most *sizes*, over and over; a tick ends a batch."""
        batch: list[Line] = []
        size = cycle(sizes)
        most = next(size)
        for line in lines:
            if "tick" in line or len(batch) == most:
                self.events(batch)
                batch, most = [], next(size)
            if "tick" in line:
                self.tick(instant(line["tick"]))
            else:
                batch.append(line)
        self.events(batch)
        return self


def told(lines: Sequence[Line], grid: str) -> Oracle:
    """Return an oracle that has heard *lines*."""
    oracle = Oracle(YAML(typ="safe", pure=True).load(grid), SOURCE)
    for line in lines:
        if "tick" in line:
            oracle.tick(instant(line["tick"]))
        else:
            oracle.event(line)
    return oracle


NUMBERS = ("score", "fit", "engagement")


def facts(output: dict[str, Any]) -> dict[str, Any]:
    """Return what an output says that double arithmetic does not touch."""
    data = output["data"]
    return {name: output[name] for name in ("type", "source", "id", "subject", "time", "sequence")} | {
        name: data.get(name) for name in ("lead_id", "from", "to", "stage", "phase", "grade", "respond_by", "explored")
    }


def reasons_of(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the reasons of an output or a lead by kind, and id or place, without those that are but dust."""
    return {f"{r['kind']} {r.get('id', r.get('place'))}": r for r in of.get("reasons", []) if abs(r["points"]) > 1e-9}


def assert_same_numbers(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Hold two scores with their reasons equal to 1e-6."""
    assert [ours.get(n) for n in NUMBERS] == pytest.approx([theirs.get(n) for n in NUMBERS], abs=1e-6)
    assert_same_prediction(ours.get("prediction"), theirs.get("prediction"))
    mine, other = reasons_of(ours), reasons_of(theirs)
    assert mine.keys() == other.keys()
    for name, reason in mine.items():
        assert reason.keys() == other[name].keys(), name
        assert [*reason.get("on", ())] == [*other[name].get("on", ())], name
        assert reason | {"on": ""} == pytest.approx(other[name] | {"on": ""}, abs=1e-6), name


def by_lead(outputs: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return outputs lead by lead: between leads there is no order."""
    of: dict[str, list[dict[str, Any]]] = {}
    for output in outputs:
        of.setdefault(output["subject"], []).append(output)
    return of


def assert_same_outputs(ours: Iterable[dict[str, Any]], theirs: Iterable[dict[str, Any]]) -> None:
    """Hold two streams of outputs equal, lead by lead."""
    mine, other = by_lead(ours), by_lead(theirs)
    assert {k: [facts(o) for o in v] for k, v in mine.items()} == {k: [facts(o) for o in v] for k, v in other.items()}
    for name, outputs in mine.items():
        for a, b in zip(outputs, other[name], strict=True):
            assert_same_numbers(a["data"], b["data"])


def text(lines: Iterable[Line]) -> list[str]:
    """Return *lines* as a file has them."""
    return [json.dumps(line) for line in lines]


def assert_replay_is_right(case: Case) -> None:
    """Hold a replay of *case*, all at once, and a partition that is driven event by event, to the oracle."""
    leads, outputs = told(case.lines, case.grid).finish(case.at_ms)
    replayed = replay_lines(text(case.lines), parse_grid(case.grid, "made-up.yaml"), case.at_ms)
    assert replayed.refused == []
    assert_same_outputs(replayed.events, outputs)
    partition = Partition(case.grid).feed(case.lines)
    partition.tick(case.at_ms)
    assert_same_outputs(partition.outputs, outputs)
    names = ("lead_id", "grade", "stage", "sequence", "as_of")
    assert [[lead[n] for n in names] for lead in replayed.leads] == [[lead[n] for n in names] for lead in leads]
    for ours, theirs in zip(replayed.leads, leads, strict=True):
        assert_same_numbers(ours, theirs)
