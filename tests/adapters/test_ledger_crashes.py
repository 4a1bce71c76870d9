"""Processes that crash, stall and lose answers at any point: no act has two effects, and none that may have is forgotten.

The target of these tests has two unsafe steps. It can be asked whether it has done the first one, and not about the second.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.ledgers import LEASE, an_act, the_row
from tests.kit.services import Redis
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.automation_ports import Cancel, Ledger, Outcome, Row

STEPS: Final = ("task", "file")
CAN_BE_ASKED: Final = ("task",)
PROCESSES: Final = 3

acts = st.lists(
    st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 3), st.booleans()), min_size=1, max_size=4
)  # lead, time, cancellable
moves = st.lists(
    st.one_of(
        st.tuples(st.just("go"), st.integers(0, PROCESSES - 1), st.integers(1, 4)),
        st.tuples(st.just("crash"), st.integers(0, PROCESSES - 1)),
        st.tuples(st.just("lose"), st.integers(0, PROCESSES - 1)),
        st.tuples(st.just("busy"), st.integers(0, PROCESSES - 1)),
        st.tuples(st.just("wait"), st.sampled_from([1, LEASE // 2, LEASE, 2 * LEASE])),
        st.tuples(st.just("cancel"), st.sampled_from(["ann", "bob"])),
        st.tuples(st.just("distrust")),
        st.tuples(st.just("take")),
    ),
    max_size=40,
)


class _World:
    """The target, the clock, and how often each step of each act took effect."""

    def __init__(self, ledger: Ledger, given_acts: list[tuple[str, int, bool]], twice: bool) -> None:
        self.ledger = ledger
        self.now_ms = 10
        self.effects: Counter[tuple[str, str]] = Counter()
        self.order: list[str] = []
        """Acts in the order of their first effects."""
        self.acts = [
            an_act(f"act{n}", lead, at_ms=at_ms, unless=("lead.cooled",) if cancellable else ())
            for n, (lead, at_ms, cancellable) in enumerate(given_acts)
        ]
        self.twice = twice
        """Each call is sent twice, for its first answer was lost."""
        self.calls = itertools.count()

    async def do(self, name: str, *arguments: Any) -> Any:
        """Call the ledger."""
        call = getattr(self.ledger, name)
        if self.twice:
            await call(*arguments)
        return await call(*arguments)

    async def process(self, flags: set[str]) -> AsyncGenerator[None]:
        """Do one attempt after the other. It can be stopped wherever it yields."""
        while True:
            rows = await self.ledger.claim("crm", self.now_ms, LEASE, 1, f"call{next(self.calls)}")
            yield
            for row in rows:
                async for _ in self.attempt(row, flags):
                    yield

    async def attempt(self, row: Row, flags: set[str]) -> AsyncGenerator[None]:
        """Do the steps that are missing, as the program does."""
        for step in STEPS:
            if step in row.known:
                continue
            if row.unsure in (step, "*"):
                yield
                if step not in CAN_BE_ASKED:
                    await self.end(row, Outcome("unknown", unsure=step))
                    return
                if self.effects[row.id, step]:
                    await self.do("remember", row.id, row.call, step, "found")
                    continue
            until_ms = self.now_ms + LEASE
            if not await self.do("begin", row.id, row.call, step, until_ms):
                return
            yield
            if self.now_ms >= until_ms:
                return
            if "busy" in flags:  # the target refuses, and nothing is done
                flags.discard("busy")
                await self.end(row, Outcome("retry", due_ms=self.now_ms + 1))
                return
            self.effects[row.id, step] += 1
            if row.id not in self.order:
                self.order.append(row.id)
            yield
            if "lose" in flags:
                flags.discard("lose")
                await self.end(row, Outcome("retry", due_ms=self.now_ms + 1, unsure=step))
                return
            if not await self.do("remember", row.id, row.call, step, "made"):
                return
            yield
        await self.end(row, Outcome("done"))

    async def end(self, row: Row, outcome: Outcome) -> None:
        """End the attempt."""
        await self.do("finish", row.id, row.call, outcome, self.now_ms)


async def _story(ledger: Ledger, given_acts: list[tuple[str, int, bool]], given_moves: list[Any], twice: bool) -> None:
    world = _World(ledger, given_acts, twice)
    flags: list[set[str]] = [set() for _ in range(PROCESSES)]
    processes = [world.process(flag) for flag in flags]
    await world.do("take", world.acts, world.now_ms, {"lead.sql": 1})
    for move in given_moves:
        match move:
            case "go", n, steps:
                for _ in range(steps):
                    await anext(processes[n])
            case "crash", n:
                await processes[n].aclose()
                processes[n] = world.process(flags[n])
            case "wait", more_ms:
                world.now_ms += more_ms
            case "cancel", lead:
                await world.do("take", [Cancel(lead, "lead.cooled", 9)], world.now_ms)
            case ("distrust",):
                await world.do("distrust")
            case ("take",):
                await world.do("take", world.acts, world.now_ms, {"lead.sql": 1})
            case name, n:
                flags[n].add(name)
    for process in processes:
        await process.aclose()
    last = world.process(set())
    for _ in range(12):
        world.now_ms += 2 * LEASE
        for _ in range(12):
            await anext(last)
    await last.aclose()
    await _check(world)


async def _check(world: _World) -> None:
    for act in world.acts:
        row = await the_row(world.ledger, act.id)
        assert row.state in ("done", "unknown", "cancelled"), row
        counts = {step: world.effects[act.id, step] for step in STEPS}
        assert max(counts.values()) <= 1, (row, counts)
        if row.state == "done":
            assert min(counts.values()) == 1, (row, counts)
        if row.state == "cancelled":
            assert {step for step, count in counts.items() if count} == set(row.known), (row, counts)
    for lead in ("ann", "bob"):
        times = [act.at_ms for id_ in world.order for act in world.acts if (act.id, act.lead_id) == (id_, lead)]
        assert times == sorted(times)


@examples(1500)
@given(acts, moves, st.booleans())
def test_no_act_has_two_effects_in_memory(given_acts: list[tuple[str, int, bool]], given_moves: list[Any], twice: bool) -> None:
    """Acts of a lead have their effects in the order of their outputs."""
    asyncio.run(_story(MemoryLedger(), given_acts, given_moves, twice))


_NAMES = itertools.count()


@examples(100)
@given(acts, moves, st.booleans())
def test_no_act_has_two_effects_in_redis(
    redis_server: Redis, given_acts: list[tuple[str, int, bool]], given_moves: list[Any], twice: bool
) -> None:
    """The same on a server."""

    async def run() -> None:
        client = connect(redis_server.url)
        try:
            await _story(RedisLedger(client, f"crash{next(_NAMES)}", 0), given_acts, given_moves, twice)
        finally:
            await client.aclose()

    asyncio.run(run())
