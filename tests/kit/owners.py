"""Several owners of leads in memory, and messages between them that arrive in any order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.kit.stories import Line
from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Item, LeadWrite, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import reasons
from worker.core.scoring.state import LeadState, unpack

GRID = """
grid: identity
version: 1
fit: {rules: [{id: cto, points: 3, where: {role: cto}}]}
engagement:
  half_life: 6h
  rules:
    - {id: view, points: 1, on: page.viewed, half_life: none}
    - {id: fading, points: 2, on: page.viewed}
    - {id: session, points: 1, on: page.viewed, once_per: session_id}
velocity:
  - {id: days, on: page.viewed, count: days, within: 7d, steps: {1: 1, 2: 2, 3: 3}}
inactivity: {after: 1d, every: 1d, points: -1}
exclusions: [{id: complained, on: email.complained}]
stages: {mql: {enter: 6, leave: 4}, sql: {enter: 12, leave: 9}}
"""
SCORER = CompiledGrid(parse_grid(GRID, "identity.yaml"), "/leadpulse/replay")
START = 1_774_400_000_000
HOUR = 3_600_000
END = START + 300 * HOUR


class Owners:
    """Every id with an owner of its own. Messages from one owner arrive in order, each when the test lets it."""

    def __init__(self, scorer: CompiledGrid = SCORER) -> None:
        self.scorer = scorer
        self.states: dict[str, bytes | None] = {}
        self.writes: dict[str, LeadWrite] = {}
        self.outputs: list[dict[str, Any]] = []
        self.on_the_way: dict[tuple[str, str], deque[Item]] = {}
        self.offset = 0
        self.plans: list[Plan] = []

    def say(self, line: Line) -> None:
        """Let the owner of the event's subject take it."""
        decoded = decode(Record("events", 0, self.offset, None, None, json.dumps(line).encode()))
        assert isinstance(decoded, Event), decoded
        self.offset += 1
        self._take(decoded)

    def let_one_arrive(self, choose: Callable[[int], int]) -> bool:
        """Deliver the first of one of the ways; return whether there was any."""
        ways = sorted(way for way, items in self.on_the_way.items() if items)
        if not ways:
            return False
        self._take(self.on_the_way[ways[choose(len(ways))]].popleft())
        return True

    def let_all_arrive(self) -> Owners:
        """Deliver until nothing is on its way; that ends."""
        for _ in range(100_000):
            if not self.let_one_arrive(lambda _: 0):
                return self
        raise AssertionError("messages go round for ever")

    def let_some_arrive(self, data: st.DataObject) -> None:
        """Deliver a few, each from a way that hypothesis chooses."""
        for _ in range(data.draw(st.integers(0, 3))):
            self.let_one_arrive(lambda count: data.draw(st.integers(0, count - 1)))

    def let_the_rest_arrive(self, data: st.DataObject) -> None:
        """Deliver until nothing is on its way, each from a way that hypothesis chooses."""
        while self.let_one_arrive(lambda count: data.draw(st.integers(0, count - 1))):
            pass

    def held(self) -> dict[str, LeadState]:
        """Return what is held of every id."""
        return {name: unpack(packed) for name, packed in self.states.items() if packed}

    def who_know(self, name: str) -> list[str]:
        """Return the other ids whose states name *name*."""
        return [other for other, packed in self.states.items() if other != name and name.encode() in (packed or b"")]

    def tick(self, at_ms: int) -> None:
        """Let time pass for everybody who is due."""
        for name, write in list(self.writes.items()):
            if write.due_ms is not None and write.due_ms <= at_ms:
                self._keep(name, plan_tick(self.scorer, {name: self.states[name]}, at_ms, None))

    def due(self, name: str) -> int | None:
        """Return when time is to judge *name*."""
        return self.writes[name].due_ms

    def _take(self, item: Item) -> None:
        name = item.lead
        self._keep(name, plan_events(self.scorer, {name: self.states.get(name)}, [item], None))

    def _keep(self, name: str, plan: Plan) -> None:
        assert plan.refused == []
        self.plans.append(plan)
        for write in plan.writes:
            self.states[write.lead] = write.state or None
            self.writes[write.lead] = write
        self.outputs += [json.loads(output.value or b"") for output in plan.outputs]
        for _, item in plan.passed_on:
            self.on_the_way.setdefault((name, item.lead), deque()).append(item)

    def alive(self) -> dict[str, dict[str, float]]:
        """Return the points of every id that is a lead, by reason."""
        found = {}
        for name, packed in self.states.items():
            state = None if packed is None else unpack(packed)
            if state is not None and state.alive:
                assert not state.identity.awaiting
                found[name] = {f"{r.kind} {r.id}": r.points for r in reasons(self.scorer, state, END)}
        return found


def an_event(number: int, lead: str, hours: int, kind: str = "page.viewed", **data: Any) -> Line:
    """Return a CloudEvent; its id is its number."""
    if kind == "page.viewed":
        data = {"url": "/", "session_id": f"s{number % 3}"} | data
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/test",
        "type": kind,
        "subject": lead,
        "time": rfc3339(START + hours * HOUR),
        "data": data,
    }


def known_as(number: int, lead: str, visitor: str, hours: int = 0) -> Line:
    """Return the event that tells who a visitor was."""
    return an_event(number, lead, hours, "lead.identified", anonymous_id=visitor)
