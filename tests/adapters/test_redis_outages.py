"""A Redis that stalls, is down, killed, emptied, restored or a replica, under its store."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest
import redis as plain

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.services import Redis, free_port, needed
from tests.kit.stores import OWNER, a_store, dump
from tests.kit.waits import HANG_S
from worker.adapters.redis_check import memory
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.errors import Fenced, StoreRefused, StoreUnavailable
from worker.ports import Applied


async def test_a_stalled_redis_is_unavailable_within_the_time_out_and_applies_once(own_redis: Redis, namespace: str) -> None:
    """The reply is lost, the call is not: Redis finds it in its socket when it wakes. The repeat must be told so."""
    async with a_store(own_redis.url, namespace, timeout_s=0.5) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
        own_redis.suspend()
        with pytest.raises(StoreUnavailable, match="partition 0 of namespace"):
            await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))  # else it would wait until Redis is resumed
        own_redis.resume()
        assert await store.apply(OWNER, a_batch(2, [a_write("a", b"2")])) in (Applied.ALREADY, Applied.DONE)
        assert await store.apply(OWNER, a_batch(2)) is Applied.ALREADY
        assert await store.apply(OWNER, a_batch(3, [a_write("a", b"3")])) is Applied.DONE
        assert await store.load(["a"]) == [b"3"]
        assert [entry.cut.batch for entry in await store.outbox(0)] == [1, 2, 3]


async def test_a_redis_that_is_down_is_unavailable_until_it_is_back(own_redis: Redis, namespace: str) -> None:
    """The same store goes on by itself: every call before the restart says unavailable, the first after it works."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1))
        before = await everything(store, ["a"])
        await asyncio.to_thread(own_redis.stop)
        for call in (
            lambda: store.acquire(OWNER, 8),
            lambda: store.load(["a"]),
            lambda: store.apply(OWNER, a_batch(2)),
            lambda: store.due(1, 1),
            lambda: store.outbox(0),
            lambda: store.trim(OWNER, 1),
            store.position,
            lambda: store.top(1),
            lambda: store.lead("a"),
            store.allow_rebuild,
        ):
            with pytest.raises(StoreUnavailable):
                await call()
        await asyncio.to_thread(own_redis.start)
        assert await everything(store, ["a"]) == before


async def test_a_killed_redis_has_each_batch_whole_or_not_at_all(namespace: str) -> None:
    """With `appendfsync always` what was answered is there, and the batch in flight has all of its leads or none."""
    with needed(lambda: Redis({"appendfsync": "always"})) as server:
        leads = [f"lead-{i}" for i in range(300)]
        async with a_store(server.url, namespace) as store:
            answered = 0
            for round_ in range(3):
                token = f"7:{round_}:x"
                begun = (await store.acquire(token, 8)).batch
                killer = threading.Timer(0.3 + 0.11 * round_, server.kill)
                killer.start()
                number = begun
                with contextlib.suppress(StoreUnavailable):
                    while True:
                        number += 1
                        state = b"%d" % number
                        writes = [a_write(lead, state, due_ms=number, rank=float(number)) for lead in leads]
                        await store.apply(token, a_batch(number, writes))
                        answered = number
                killer.join()
                await asyncio.to_thread(server.start)
                batch = (await store.position()).batch
                assert answered <= batch <= answered + 1
                assert answered > begun
                assert await store.load(leads) == [b"%d" % batch] * len(leads)
                assert (await store.due(batch - 1, 1)).leads == []
                assert {rank for _, rank in await store.top(1000)} == {float(batch)}
                assert [entry.cut.batch for entry in await store.outbox(0)] == list(range(1, batch + 1))


async def test_an_emptied_redis_gets_its_functions_back(own_redis: Redis, namespace: str) -> None:
    """The next call loads them by itself; the owner that was forgotten cannot write into the void."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a")]))
        with plain.Redis(port=own_redis.port) as client:
            client.flushall()
            client.function_flush()
            with pytest.raises(Fenced, match="emptied"):
                await store.apply(OWNER, a_batch(2))
            with pytest.raises(Fenced, match="emptied"):
                await store.trim(OWNER, 1)
            client.function_flush()
            assert await store.load(["a"]) == [None]
            assert client.keys("*") == []
            client.function_flush()
            assert (await store.acquire(OWNER, 8)).batch == 0
        assert await store.apply(OWNER, a_batch(2)) is Applied.GAP
        assert await store.apply(OWNER, a_batch(1)) is Applied.DONE


async def test_a_redis_restored_from_an_old_copy_shows_as_a_gap(own_redis: Redis, namespace: str) -> None:
    """The same owner finds an older batch number: it must load again, not write on top."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
        with plain.Redis(port=own_redis.port) as client:
            copy = await dump(store, own_redis, namespace)
            await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))
            client.flushall()
            for key, value in copy.items():
                client.restore(key, 0, value)
        assert await store.apply(OWNER, a_batch(3, [a_write("a", b"3")])) is Applied.GAP
        assert await store.load(["a"]) == [b"1"]
        assert await store.apply(OWNER, a_batch(2)) is Applied.DONE


@pytest.mark.parametrize("left", ["due", "rank", "outbox"])
async def test_a_position_deleted_alone_is_not_taken_for_an_empty_partition(
    redis_store: RedisStore, redis_server: Redis, namespace: str, left: str
) -> None:
    """Folding the topics again onto the leads that are left would count everything twice."""
    with plain.Redis(port=redis_server.port) as client:
        for key in {"position", "due", "rank", "outbox"} - {left}:
            client.delete(f"{{{namespace}:0}}:{key}")
    for call in (lambda: redis_store.acquire(OWNER, 8), redis_store.allow_rebuild):
        with pytest.raises(StoreRefused, match="delete every key of the partition"):
            await call()


async def test_a_replica_is_unavailable_until_it_is_promoted(own_redis: Redis, namespace: str) -> None:
    """In a failover the old primary answers READONLY for a while; that heals, the worker must not stop for it."""
    async with a_store(own_redis.url, namespace) as store:
        await store.acquire(OWNER, 8)
        with plain.Redis(port=own_redis.port) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(StoreUnavailable, match="READONLY"):
                await store.apply(OWNER, a_batch(1))
            client.execute_command("REPLICAOF", "NO", "ONE")
            client.config_set("min-replicas-to-write", 1)
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                await store.apply(OWNER, a_batch(1))
            client.config_set("min-replicas-to-write", 0)
        assert await store.apply(OWNER, a_batch(1)) is Applied.DONE


async def test_a_cancelled_call_ends_and_does_not_answer_the_next_one(redis_store: RedisStore) -> None:
    """A task told to stop stops, in whatever turn, and a reply that nobody waited for is not taken for another call's."""
    for turns in range(40):
        call = asyncio.create_task(redis_store.load(["a"]))
        for _ in range(turns // 2):
            await asyncio.sleep(0)
        if call.cancel():
            with pytest.raises(asyncio.CancelledError):
                await call
        assert (await redis_store.due(5, 5)).leads == ["a"]


async def test_a_cluster_client_that_closes_its_connections_makes_the_others_wait(cluster: Redis, namespace: str) -> None:
    """One partition's error closes the connections of all; who was just connecting asks again."""
    client = connect(f"redis+cluster://{cluster.address}")
    stores = [RedisStore(client, namespace, partition) for partition in range(20)]
    waited, until = 0, time.monotonic() + HANG_S

    async def ask(store: RedisStore) -> None:
        nonlocal waited
        while waited < 20 and time.monotonic() < until:
            try:
                await store.position()
                await store.load(["a"])
            except StoreUnavailable:
                waited += 1

    async def watch() -> None:
        while waited < 20 and time.monotonic() < until:
            await memory(client)

    async def close() -> None:
        while waited < 20 and time.monotonic() < until:
            await client.aclose()
            await asyncio.sleep(0.001)

    try:
        await asyncio.gather(close(), *(ask(store) for store in stores), *(watch() for _ in range(5)))
    finally:
        await client.aclose()
    assert waited >= 20
