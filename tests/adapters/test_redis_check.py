"""The findings about a Redis, on real ones that have the faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as plain

from tests.kit.services import Redis, free_port, needed
from tests.kit.waits import HANG_S
from worker.adapters.redis_check import Finding, check, memory
from worker.adapters.redis_client import Client, connect

GOOD = {"hash-max-listpack-value": "2048"}


@asynccontextmanager
async def a_client(url: str) -> AsyncIterator[Client]:
    """Open a client for *url*."""
    client = connect(url, timeout_s=HANG_S)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_task_that_watches_the_memory_stops_when_it_is_told_to() -> None:
    """In whatever turn: a worker that drains waits for it."""

    async def watch(client: Client) -> None:
        while await memory(client):
            pass

    with needed(lambda: Redis(GOOD)) as server:
        for turns in range(40):
            async with a_client(server.url) as client:
                watching = asyncio.create_task(watch(client))
                for _ in range(turns):
                    await asyncio.sleep(0)
                watching.cancel()
                await asyncio.wait([watching], timeout=HANG_S)
                assert watching.cancelled(), f"cancelled after {turns} turns, it goes on"


async def findings(url: str) -> list[Finding]:
    """Return what is found on the Redis at *url*."""
    async with a_client(url) as client:
        return await check(client, "ns")


async def test_a_redis_set_up_as_it_should_be_has_no_findings() -> None:
    """A check that always complains is read by nobody."""
    with needed(lambda: Redis(GOOD)) as server:
        assert await findings(server.url) == []


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "error", "maxmemory-policy is allkeys-lru"),
        ({"maxmemory-policy": "volatile-ttl"}, "warning", "maxmemory-policy is volatile-ttl"),
        ({"appendonly": "no"}, "warning", "no append-only file"),
        ({"hash-max-listpack-value": "64"}, "hint", "hash-max-listpack-value is 64"),
        ({"cluster-enabled": "yes", "cluster-port": "0"}, "error", "part of a Redis Cluster"),
        ({"replicaof": "127.0.0.1 1"}, "error", "is a replica"),
    ],
)
async def test_each_fault_is_named_with_what_to_do(settings: dict[str, str], level: str, words: str) -> None:
    """The worst comes first, and each can be mended by whoever reads it."""
    if settings.get("cluster-port") == "0":
        settings = {**settings, "cluster-port": str(free_port())}
    with needed(lambda: Redis({**GOOD, **settings})) as server:
        found = await findings(server.url)
    assert [finding.level for finding in found if words in finding.what] == [level]
    order = ["error", "warning", "hint"]
    assert [order.index(finding.level) for finding in found] == sorted(order.index(finding.level) for finding in found)
    assert all(finding.what_to_do for finding in found)


async def test_a_policy_that_is_changed_is_seen_by_who_watches_as_by_doctor() -> None:
    """The worker asks while it runs, `doctor` when somebody calls it: one rule says what is wrong."""
    with needed(lambda: Redis({**GOOD, "maxmemory": "100mb"}, keep=False)) as server, plain.Redis(port=server.port) as admin:
        async with a_client(server.url) as client:
            for policy, limit in (
                ("noeviction", "100mb"),
                ("allkeys-lfu", "100mb"),
                ("volatile-ttl", "0"),
                ("noeviction", "0"),
            ):
                admin.config_set("maxmemory-policy", policy)
                admin.config_set("maxmemory", limit)
                seen = await memory(client)
                assert seen is not None
                told = [finding for finding in await check(client, "ns") if "maxmemory-policy" in finding.what]
                assert [one.what for one in seen.policies] == [finding.what for finding in told]
                assert [one.drops for one in seen.policies] == [finding.level == "error" for finding in told]
                assert bool(seen.policies) == (policy != "noeviction")
                assert seen.evicted == 0


async def test_keys_that_were_dropped_are_told_afterwards_too() -> None:
    """Somebody may have put the policy right again before anybody looked."""
    settings = {**GOOD, "maxmemory": "3mb", "maxmemory-policy": "allkeys-random"}
    with needed(lambda: Redis(settings, keep=False)) as server, plain.Redis(port=server.port) as admin:
        for n in range(300):
            admin.set(f"key{n}", "v" * 20_000)
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", 0)
        async with a_client(server.url) as client:
            seen = await memory(client)
            told = [finding for finding in await check(client, "ns") if "has dropped" in finding.what]
    assert seen is not None
    assert seen.evicted > 100
    assert [finding.level for finding in told] == ["warning"]
    assert f"dropped {seen.evicted} keys" in told[0].what


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("~* +@all -config", []),
        ("~* +@all -config -info", ["may not run INFO"]),
        ("~* +@all -zadd -xrange -hdel", ["may not run HDEL, ZADD, XRANGE"]),
        ("~* +@all -function", ["function"]),
        ("~other:* +@all", ["NOPERM"]),
        ("~{ns:* +@all", []),
    ],
)
async def test_a_limited_user_is_told_what_it_lacks(rules: str, words: list[str]) -> None:
    """Managed offers forbid CONFIG, careful operators limit keys and commands: neither may be an exception."""
    with needed(lambda: Redis(GOOD)) as server, plain.Redis(port=server.port) as admin:
        admin.acl_setuser("worker", reset=True)
        admin_any: Any = admin
        admin_any.execute_command("ACL", "SETUSER", "worker", "on", ">hunter2", *rules.split())
        found = await findings(f"redis://worker:hunter2@{server.address}/0")
    assert len(found) == len(words), found
    for finding, word in zip(found, words, strict=True):
        assert word in finding.what
    assert "hunter2" not in repr(found)


async def test_a_redis_that_is_away_or_refuses_the_log_in_is_a_finding() -> None:
    """`doctor` reports on everything it can reach; it does not end at the first thing it cannot."""
    [away] = await findings(f"redis://127.0.0.1:{free_port()}")
    assert away.level == "error"
    assert "start Redis" in away.what_to_do
    with needed(lambda: Redis(GOOD)) as server, plain.Redis(port=server.port) as admin:
        admin.config_set("requirepass", "right")
        [refused] = await findings(f"redis://:hunter2@{server.address}")
    assert refused.level == "error"
    assert "log-in" in refused.what
    assert "hunter2" not in repr(refused)
