"""A batch that Redis cannot take is refused whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis as plain

from tests.kit.batches import a_batch, a_write
from tests.kit.services import Redis
from tests.kit.stores import OWNER, a_store, dump
from worker.adapters.redis_store import RedisStore
from worker.errors import StoreRefused
from worker.ports import Applied


async def refused_whole(
    store: RedisStore, server: Redis, namespace: str, spoil: Callable[[Any, str], object], match: str
) -> None:
    """Show that a batch of new, changed and erased leads changes no key once *spoil* has been at work."""
    with plain.Redis(port=server.port) as client:
        spoil(client, f"{{{namespace}:0}}:")
    before = await dump(store, server, namespace)
    assert before
    leads = [a_write("new", due_ms=2, rank=2.0), a_write("a", b"2"), a_write("a2", score=""), a_write("spoilt")]
    with pytest.raises(StoreRefused, match=match):
        await store.apply(OWNER, a_batch(2, leads, begins=b"another grid", rate=1))
    assert await dump(store, server, namespace) == before


@pytest.mark.parametrize("key", ["position", "due", "rank", "outbox", "lead:spoilt"])
async def test_a_key_of_another_type_refuses_the_batch_whole(
    redis_store: RedisStore, redis_server: Redis, namespace: str, key: str
) -> None:
    """Another program wrote under our names: found before the first write, even at the last lead."""
    await refused_whole(
        redis_store, redis_server, namespace, lambda client, tag: client.set(tag + key, "x"), "WRONGTYPE.*something else writes"
    )


@pytest.mark.parametrize("text", ["", "x", "1 2", "1 2 x 0 a", "- 1 1"])
async def test_a_damaged_listing_refuses_the_batch_whole(
    redis_store: RedisStore, redis_server: Redis, namespace: str, text: str
) -> None:
    """A batch goes on with what a changed grid has listed; what cannot be read is found before the first write."""
    with plain.Redis(port=redis_server.port) as client:
        client.hset(f"{{{namespace}:0}}:position", "requeue", text)
    before = await dump(redis_store, redis_server, namespace)
    with pytest.raises(StoreRefused, match=r"requeue of .* is damaged"):
        await redis_store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))
    assert await dump(redis_store, redis_server, namespace) == before


async def test_an_outbox_that_is_ahead_refuses_the_batch_whole(
    redis_store: RedisStore, redis_server: Redis, namespace: str
) -> None:
    """A stream takes no id at or below its last: the one write that can fail is the first."""
    await refused_whole(
        redis_store, redis_server, namespace, lambda client, tag: client.xadd(tag + "outbox", {"entry": b""}, "7-0"), "XADD"
    )


@pytest.mark.parametrize("command", ["hset", "hdel", "del", "zadd", "zrem", "xadd", "hget", "hlen", "zrevrange"])
async def test_a_missing_right_refuses_the_batch_whole(redis_server: Redis, namespace: str, command: str) -> None:
    """Rights are asked for as each command runs, so the missing one would else stop the batch in its middle."""
    with plain.Redis(port=redis_server.port) as admin:
        admin.execute_command("ACL", "SETUSER", namespace, "on", ">pw", "~*", "+@all")
        async with a_store(f"redis://{namespace}:pw@{redis_server.address}", namespace) as store:
            await store.acquire(OWNER, 8)
            await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
            await refused_whole(
                store,
                redis_server,
                namespace,
                lambda client, _: client.execute_command("ACL", "SETUSER", namespace, "-" + command),
                "give this Redis user the right it lacks",
            )
        admin.execute_command("ACL", "DELUSER", namespace)


async def test_a_full_redis_refuses_the_batch_whole(own_redis: Redis, namespace: str) -> None:
    """Over its limit Redis begins no batch; one that crosses the limit in its course is finished. Nothing is half-written."""
    with plain.Redis(port=own_redis.port) as admin:
        async with a_store(own_redis.url, namespace) as store:
            await store.acquire(OWNER, 8)
            await store.apply(OWNER, a_batch(1, [a_write("a", b"1")]))
            # The request itself counts while it is read: with less room than that not even the first batch would begin.
            admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 5_000_000)
            number, refused, before = 1, None, {}
            while refused is None and number < 40:
                number += 1
                before = await dump(store, own_redis, namespace)
                leads = [f"{number}.{i}" for i in range(1000)]
                try:
                    await store.apply(OWNER, a_batch(number, [a_write(lead, b"s" * 700) for lead in leads]))
                except StoreRefused as error:
                    refused = error
                else:
                    assert all(await store.load(leads))
            assert "OOM" in str(refused)
            assert "maxmemory" in str(refused)
            assert number > 2
            assert await dump(store, own_redis, namespace) == before
            assert (await store.position()).batch == number - 1
            admin.config_set("maxmemory", 0)
            assert await store.apply(OWNER, a_batch(number, [a_write("b")])) is Applied.DONE
