"""An empty partition in each kind of store: the memory twin, real Redis, and Redis as a cluster."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.kit.batches import a_batch, a_write
from tests.kit.services import Redis, free_port, needed
from tests.kit.stores import OWNER, RebuildableStore, a_store, few_at_once
from worker.adapters.memory import MemoryOrder, MemoryStore
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_limits import MemoryLimits
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.automation_ports import Ledger
from worker.ports import OrderStore
from worker.sending_ports import Limits


@pytest.fixture(scope="session")
def cluster() -> Iterator[Redis]:
    """One Redis Cluster of a single node that serves every slot."""
    # Its bus would listen 10,000 ports above, which may be past the last one there is.
    bus = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with needed(lambda: Redis(bus, keep=False)) as server, redis.Redis(port=server.port) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.02)
        yield server


@pytest.fixture
def two_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a change of the grid make two leads due a batch: a few leads are then as many as a million."""
    few_at_once(monkeypatch)


def url_of(request: pytest.FixtureRequest) -> str:
    """Return where the server of the fixture's kind of store is: `redis` or `cluster`."""
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_server").url
        return url
    return f"redis+cluster://{request.getfixturevalue('cluster').address}"


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[RebuildableStore]:
    """One empty partition, in each kind of store."""
    if request.param == "memory":
        yield MemoryStore()
        return
    client = connect(url_of(request))
    yield RedisStore(client, namespace, 3)
    await client.aclose()


@pytest.fixture(params=["memory", "redis", "cluster"])
async def order(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[OrderStore]:
    """One namespace without an order of grids, in each kind of store."""
    if request.param == "memory":
        yield MemoryOrder()
        return
    client = connect(url_of(request))
    yield RedisOrder(client, namespace)
    await client.aclose()


@pytest.fixture
async def redis_store(redis_server: Redis, namespace: str) -> AsyncIterator[RedisStore]:
    """One partition that OWNER holds, with batch 1 applied."""
    async with a_store(redis_server.url, namespace) as store:
        await store.acquire(OWNER, 8)
        await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
        yield store


@pytest.fixture(params=["memory", "redis", "cluster"])
async def ledger(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Ledger]:
    """One partition's empty ledger, in each kind of store."""
    if request.param == "memory":
        yield MemoryLedger()
        return
    client = connect(url_of(request))
    yield RedisLedger(client, namespace, 3)
    await client.aclose()


@pytest.fixture(params=["memory", "redis", "cluster"])
async def limits(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Limits]:
    """The limits of a namespace, in each kind of store."""
    if request.param == "memory":
        yield MemoryLimits()
        return
    client = connect(url_of(request))
    yield RedisLimits(client, namespace)
    await client.aclose()
