"""What mappers remember between them, in a real Redis and in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.adapters.conftest import url_of
from worker.adapters.redis_inbound import LOOKUPS, SEEN, SOURCES, RedisInbound
from worker.intake_ports import SourceNews, Wanted


@pytest.fixture(params=["redis", "cluster"])
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[RedisInbound]:
    """A memory of two ids, empty but for traces, whose keys differ by test."""
    held = RedisInbound(url_of(request), 2)
    await held._client.delete(SEEN, LOOKUPS)
    yield held
    await held.close()


async def test_traces_are_kept_for_a_while(memory: RedisInbound, namespace: str) -> None:
    """A later value takes the place of an earlier one."""
    first, second = f"{namespace}1", f"{namespace}2"
    assert await memory.recall([first, second]) == [None, None]
    await memory.keep({first: b"a", second: b"b"}, 60_000)
    await memory.keep({first: b"\xff\x00"}, 60_000)
    assert await memory.recall([second, first, f"{namespace}3"]) == [b"b", b"\xff\x00", None]
    assert 0 < await memory._client.pttl(f"{{leadpulse.inbound}}:message:{first}") <= 60_000
    await memory.keep({}, 60_000)
    assert await memory.recall([]) == []


async def test_ids_are_seen_until_they_are_too_old_or_too_many(memory: RedisInbound) -> None:
    """The oldest are forgotten first."""
    assert await memory.known([b"a", b"b"]) == [False, False]
    await memory.mark([b"a"], 1_000)
    await memory.mark([b"b"], 2_000)
    assert await memory.known([b"b", b"c", b"a"]) == [True, False, True]
    await memory.mark([b"c"], 3_000)
    assert await memory.known([b"a", b"b", b"c"]) == [False, True, True]
    await memory.mark([b"d"], 3_000 + 72 * 3_600_000)
    assert await memory.known([b"b", b"c", b"d"]) == [False, False, True]


async def test_a_look_up_is_leased_and_done(memory: RedisInbound) -> None:
    """One that waits already keeps its time."""
    await memory.schedule([Wanted(b"a", 1_000), Wanted(b"b", 9_000)])
    await memory.schedule([Wanted(b"a", 5_000)])
    assert await memory.take_due(1_000, 10, 500) == [b"a"]
    assert await memory.take_due(1_400, 10, 500) == []
    assert await memory.take_due(1_500, 10, 500) == [b"a"]
    await memory.put_off(b"a", 20_000)
    await memory.done(b"b")
    assert (await memory.take_due(9_000, 10, 500), await memory.waiting()) == ([], 1)


async def test_the_newest_of_each_source_is_kept(memory: RedisInbound) -> None:
    """Several collectors write it, each every few seconds and in any order."""
    await memory._client.delete(SOURCES)
    assert await memory.told() == {}
    await memory.tell({"a": SourceNews(5, 7, "it failed: x y"), "b": SourceNews(error_ms=1, error="é")})
    await memory.tell({"a": SourceNews(event_ms=4), "b": SourceNews(event_ms=2)})
    await memory.tell({"a": SourceNews(error_ms=6, error="older")})
    assert await memory.told() == {"a": SourceNews(5, 7, "it failed: x y"), "b": SourceNews(2, 1, "é")}
    await memory.tell({"a": SourceNews(8, 9, "newer")})
    await memory.tell({})
    assert (await memory.told())["a"] == SourceNews(8, 9, "newer")


async def test_look_ups_that_wait_are_all_read(memory: RedisInbound) -> None:
    """More than Redis holds in one small list."""
    wanted = [Wanted(b'{"source":"s","path":"/%d"}' % n, n) for n in range(1_500)]
    await memory.schedule(wanted)
    assert sorted(await memory.questions()) == sorted(one.held for one in wanted)


async def test_a_look_up_is_replaced_at_its_time(memory: RedisInbound) -> None:
    """What does not wait any more is not replaced: it may be done."""
    await memory.schedule([Wanted(b"a", 2_000), Wanted(b"b", 3_000)])
    await memory.replace(b"a", b"c")
    await memory.replace(b"b", None)
    await memory.replace(b"gone", b"d")
    assert await memory._client.zscore(LOOKUPS, b"c") == 2_000
    assert {b"a", b"b", b"d"}.isdisjoint(await memory.questions())
