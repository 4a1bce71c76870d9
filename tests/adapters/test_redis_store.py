"""What Redis holds: keys, fields, functions, versions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as plain

from tests.kit.batches import a_batch, a_write
from tests.kit.services import Redis
from tests.kit.stores import OWNER, a_store
from worker.adapters import redis_client
from worker.adapters.redis_client import connect
from worker.adapters.redis_scan import leads_of
from worker.adapters.redis_store import RedisStore
from worker.core.scoring.state import UnreadableState, unpack
from worker.errors import StoreRefused
from worker.ports import Applied


async def test_the_keys_are_the_contract(redis_store: RedisStore, redis_server: Redis, namespace: str) -> None:
    """Dashboards, scripts and older and newer workers read these names and types."""
    await redis_store.apply(OWNER, a_batch(2, clock_ms=12, strayed_ms=13))
    await redis_store.trim(OWNER, 1, 11)
    tag = f"{{{namespace}:0}}:"
    with plain.Redis(port=redis_server.port, decode_responses=True) as client:
        assert {key: client.type(key) for key in client.keys(tag + "*")} == {
            tag + "lead:a": "hash",
            tag + "position": "hash",
            tag + "due": "zset",
            tag + "rank": "zset",
            tag + "outbox": "stream",
        }
        assert client.hgetall(tag + "position") == {
            "owner": OWNER,
            "notes": OWNER,
            "batch": "2",
            "next:web": "2",
            "published": "1",
            "partitions": "8",
            "grid": "g",
            "words": "w",
            "clock": "12",
            "strayed": "13",
            "horizon": "11",
            "counted": "2",
            "leads:contact": "1",
        }
        assert client.zscore(tag + "due", "a") == 1.0
    with plain.Redis(port=redis_server.port) as client:
        assert [(name, list(fields)) for name, fields in client.xrange(tag + "outbox")] == [(b"2-0", [b"entry"])]


async def test_a_lead_of_some_size_keeps_redis_small_form(redis_server: Redis, namespace: str) -> None:
    """With Redis' defaults one long value in a hash costs half a kilobyte; whoever reads all leads gets each state whole."""
    sizes = {f"lead-{size}": size for size in (60, 1_016, 1_017, 1_300, 1_800, 1_801)}
    async with a_store(redis_server.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write(lead, b"long" * 1_000) for lead in sizes]))
        head = b"\xdc\x00\x19\x07"  # msgpack's list of 25 that begins with 7: a state of version 7
        writes = [a_write(lead, head + b"\xff" * (size - 4), due_ms=5, rank=1.5) for lead, size in sizes.items()]
        await store.apply(OWNER, a_batch(2, writes))
    with plain.Redis(port=redis_server.port, decode_responses=True) as client:
        encodings = {lead: client.object("encoding", f"{{{namespace}:0}}:lead:{lead}") for lead in sizes}
    small = {lead for lead, encoding in encodings.items() if encoding == "listpack"}
    assert small == {"lead-1017", "lead-1300", "lead-1800"}
    with plain.Redis(port=redis_server.port) as client:  # what a worker that knows of no pieces finds
        (told,) = {client.hget(f"{{{namespace}:0}}:lead:{lead}", "state") for lead in small}
    with pytest.raises(UnreadableState, match="has version 7, this worker reads"):
        unpack(told)
    ours = connect(redis_server.url)
    found = [found async for found in leads_of(ours, namespace)]
    await ours.aclose()
    assert {write.lead: (partition, write) for partition, write in found} == {write.lead: (0, write) for write in writes}


async def test_leads_of_an_older_version_are_counted_when_the_partition_is_taken_over(
    redis_store: RedisStore, redis_server: Redis, namespace: str
) -> None:
    """That version wrote batches without counting. Until the next take-over nothing is told, rather than something wrong."""
    tag = f"{{{namespace}:0}}:"
    writes = [a_write(f"lead-{n}", rank=1.0, stage="mql" if n % 3 else "sql") for n in range(9_000)]
    await redis_store.apply(OWNER, a_batch(2, [*writes, a_write("gone", score="")]))
    with plain.Redis(port=redis_server.port) as client:
        client.hset(tag + "position", mapping={"counted": "1", "leads:mql": "77"})
    assert (await redis_store.position()).leads == {}
    await redis_store.apply(OWNER, a_batch(3, [a_write("new", rank=1.0, stage="mql")]))
    assert (await redis_store.position()).leads == {}
    counts = {"contact": 1, "mql": 6_001, "sql": 3_000}
    assert (await redis_store.acquire("7:2:next", 8)).leads == counts
    await redis_store.apply("7:2:next", a_batch(4, [a_write("new", rank=1.0, stage="client")]))
    assert (await redis_store.position()).leads == counts | {"mql": 6_000, "client": 1}


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (("HSET", "position", "clock", b"\xff"), RedisStore.position),
        (("HSET", "position", b"\xff", "1"), RedisStore.position),
        (("HSET", "position", "batch", "many"), RedisStore.position),
        (("HSET", "position", "batch", "9" * 5_000), RedisStore.position),
        (("HSET", "position", "requeue", "1 2"), RedisStore.position),
        (("HSET", "position", "requeue", "1 2 x 0 a"), RedisStore.position),
        (("XADD", "outbox", "*", "entry", b"\x92\x95\x01\x81\xa1\xff"), lambda redis_store: redis_store.outbox(0)),
        (("XADD", "outbox", "*", "other", b""), lambda redis_store: redis_store.outbox(0)),
        (("ZADD", "due", "0", b"\xff"), lambda redis_store: redis_store.due(1, 9)),
        (("ZADD", "rank", "0", b"\xff"), lambda redis_store: redis_store.top(9)),
    ],
)
async def test_garbage_is_refused_by_place(
    redis_store: RedisStore, redis_server: Redis, namespace: str, command: tuple[Any, ...], read: Callable[[RedisStore], Any]
) -> None:
    """Somebody else wrote under our keys: the worker says where, and does not begin anew for ever with a traceback."""
    verb, key, *rest = command
    with plain.Redis(port=redis_server.port) as client:
        client.execute_command(verb, f"{{{namespace}:0}}:{key}", *rest)
    with pytest.raises(StoreRefused, match=f"partition 0 of namespace {namespace} in Redis"):
        await read(redis_store)


async def test_a_horizon_of_a_clock_that_runs_ahead_is_cut_to_the_servers_time(redis_store: RedisStore) -> None:
    """It never moves back: a year ahead, it would let other partitions' ticks overtake this one's strays for a year."""
    await redis_store.trim(OWNER, 1, int(time.time() * 1_000) + 365 * 86_400_000)
    horizon_ms = (await redis_store.position()).horizon_ms
    assert horizon_ms is not None
    assert abs(horizon_ms - time.time() * 1_000) < 60_000


async def test_partitions_and_namespaces_do_not_touch(redis_server: Redis, namespace: str) -> None:
    """Partition 1 and 11, and two namespaces, live in one Redis side by side."""
    client = connect(redis_server.url)
    stores = [RedisStore(client, namespace, 1), RedisStore(client, namespace, 11), RedisStore(client, namespace + "1", 1)]
    for i, store in enumerate(stores):
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"%d" % i)]))
    assert [await store.load(["a"]) for store in stores] == [[b"0"], [b"1"], [b"2"]]
    await client.aclose()


@pytest.mark.parametrize("namespace", ["", "a b", "a{b", "a}b", "a:b", "é", "a\n"])
async def test_a_namespace_that_would_break_keys_or_topics_is_refused(namespace: str) -> None:
    """A brace in it would send one partition's keys to several slots."""
    with pytest.raises(ValueError, match="use only letters"):
        RedisStore(connect("redis://localhost"), namespace, 0)


async def test_two_versions_of_the_library_live_side_by_side(
    redis_store: RedisStore, redis_server: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rolling upgrade old and new workers share a Redis: neither's functions may replace the other's."""
    body = redis_client.SOURCE.split("\n", 2)[2]
    assert redis_client.library(body) == (redis_client.LIBRARY, redis_client.SOURCE)
    other, source = redis_client.library(body + "-- changed\n")
    assert other != redis_client.LIBRARY
    async with a_store(redis_server.url, namespace) as newer:
        with monkeypatch.context() as patch:
            patch.setattr(redis_client, "LIBRARY", other)
            patch.setattr(redis_client, "SOURCE", source)
            assert await newer.apply(OWNER, a_batch(2)) is Applied.DONE
        assert await redis_store.apply(OWNER, a_batch(3)) is Applied.DONE
    with plain.Redis(port=redis_server.port) as client:
        libraries = {library[1].decode() for library in client.function_list("leadpulse_*")}
        client.function_delete(other)
    assert {redis_client.LIBRARY, other} <= libraries
