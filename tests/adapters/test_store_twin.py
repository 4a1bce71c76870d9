"""The memory twin answers as Redis does, whatever owners do, and goes back in time when a test asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.examples import examples
from tests.kit.services import Redis
from tests.kit.stores import OWNER, RebuildableStore, few_at_once
from worker.adapters.memory import MemoryStore, Snapshot
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import Output
from worker.errors import Fenced, StaleStore, StoreRefused
from worker.ports import Applied, Position

LEADS = ["a", "b", "{c}", "é"]


TOKENS = ["1:1:x", "1:2:y", "1:10:z", "2:0:x"]


writes = st.builds(
    a_write,
    st.sampled_from(LEADS),
    st.binary(max_size=8),
    due_ms=st.none() | st.integers(0, 5),
    rank=st.none() | st.floats(-3, 3) | st.sampled_from([0.0, 1.0]),
    score=st.sampled_from(["1", ""]),
)


batches = st.builds(
    a_batch,
    st.integers(-1, 1),
    st.lists(writes, max_size=4, unique_by=lambda write: write.lead),
    next=st.dictionaries(st.sampled_from(["web", "crm"]), st.integers(0, 2**40)),
    clock_ms=st.none() | st.integers(0, 2**40),
    strayed_ms=st.none() | st.integers(0, 2**40),
    send=st.booleans(),
    begins=st.none() | st.just(b"grid: g"),
    rate=st.integers(1, 3_000),
    outputs=st.just(()) | st.just((Output("lead.sql", b"k", b"v"),)),
)


tokens = st.sampled_from(TOKENS)


steps = st.lists(
    st.tuples(st.just("acquire"), tokens, st.integers(1, 3))
    | st.tuples(st.just("apply"), tokens, batches)
    | st.tuples(st.just("apply as owner"), batches)
    | st.tuples(st.just("trim"), tokens, st.integers(0, 9), st.none() | st.integers(0, 9))
    | st.tuples(st.just("trim as owner"), st.integers(0, 9), st.none() | st.integers(0, 9))
    | st.tuples(st.just("allow_rebuild"))
    | st.tuples(st.just("due"), st.integers(-1, 6), st.integers(0, 4))
    | st.tuples(st.just("due"), st.integers(-1, 6), st.integers(0, 4), tokens, st.integers(0, 3))
    | st.tuples(st.just("top"), st.integers(0, 4), st.integers(0, 4)),
    max_size=25,
)


async def answer(store: RebuildableStore, step: tuple[Any, ...], at: Position) -> object:
    """Do *step*, whose batch numbers count from the next one of *at*, and return the answer or the kind of error."""
    name, *arguments = step
    if name.endswith(" as owner"):
        name, arguments = name.removesuffix(" as owner"), [at.owner, *arguments]
    if name == "apply":
        token, batch = arguments
        cut = batch.entry.cut
        moved = a_batch(
            at.batch + 1 + cut.batch,
            batch.writes,
            next=cut.next,
            clock_ms=batch.clock_ms,
            strayed_ms=batch.strayed_ms,
            send=batch.send,
            begins=batch.grid,
            rate=cut.requeued,
            outputs=batch.entry.outputs,
        )
        arguments = [token, moved]
    call: Callable[..., Awaitable[object]] = getattr(store, name)
    try:
        return await call(*arguments)
    except (StaleStore, Fenced, StoreRefused) as error:
        return type(error)


@settings(examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_memory_answers_as_redis_does(redis_server: Redis, plan: list[tuple[Any, ...]]) -> None:
    """Whatever owners do in whatever order: same answers, same errors, same state. This lets other tests trust the twin."""

    async def compare() -> None:
        client = connect(redis_server.url)
        memory, real = MemoryStore(), RedisStore(client, "twin", 0)
        try:
            for step in plan:
                at = await memory.position()
                assert await answer(memory, step, at) == await answer(real, step, at), step
                assert await everything(memory, LEADS) == await everything(real, LEADS), step
        finally:
            await client.delete(*await client.keys("{twin:0}:*") or ["none"])
            await client.aclose()

    with pytest.MonkeyPatch.context() as patch:
        few_at_once(patch)
        asyncio.run(compare())


async def test_memory_goes_back_in_time() -> None:
    """Tests of a restored Redis rest on it: the next batch is a gap, and what came after the copy is gone everywhere."""
    store = MemoryStore()
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
    copy, before = store.snapshot(), await everything(store, ["a", "b"])
    await store.apply(OWNER, a_batch(2, [a_write("a", b"2", due_ms=2, rank=2.0), a_write("b", b"2", due_ms=0)]))
    await store.trim(OWNER, 1)
    assert (await store.due(5, 5)).leads == ["b", "a"]
    store.restore(copy)
    assert await everything(store, ["a", "b"]) == before
    assert store.held() == ["a"]
    assert await store.apply(OWNER, a_batch(3)) is Applied.GAP
    store.restore(Snapshot())
    assert await store.position() == Position("", 0, {}, 0, 0, "", "", None)
