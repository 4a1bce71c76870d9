"""What tests of stores share: owners, and what both adapters can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
import pytest
import redis

from tests.kit.services import Redis
from worker.adapters import memory as memory_store
from worker.adapters import redis_client
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.ports import LISTED, Batch, Store

OWNER = "7:1:first"


NEXT_OWNER = "7:2:second"


class RebuildableStore(Store, Protocol):
    """What both adapters can beyond the port."""

    async def allow_rebuild(self) -> None: ...

    async def allow_inputs(self, topics: Sequence[str]) -> None: ...


def few_at_once(patch: pytest.MonkeyPatch) -> None:
    """Let both adapters list two leads at once."""
    name, source = redis_client.library(redis_client.SOURCE.split("\n", 2)[2].replace(f"LISTED = {LISTED}", "LISTED = 2"))
    assert name != redis_client.LIBRARY, "the library and the port differ in how many leads they list at once"
    patch.setattr(redis_client, "LIBRARY", name)
    patch.setattr(redis_client, "SOURCE", source)
    patch.setattr(memory_store, "LISTED", 2)


def with_cut(batch: Batch, **changes: Any) -> Batch:
    """Return *batch* with its cut changed."""
    cut = msgspec.structs.replace(batch.entry.cut, **changes)
    return msgspec.structs.replace(batch, entry=msgspec.structs.replace(batch.entry, cut=cut))


@asynccontextmanager
async def a_store(url: str, namespace: str, *, timeout_s: float = 5.0) -> AsyncIterator[RedisStore]:
    """Open partition 0 of *namespace* with a client of its own."""
    client = connect(url, timeout_s=timeout_s)
    try:
        yield RedisStore(client, namespace, 0)
    finally:
        await client.aclose()


async def dump(store: RedisStore, server: Redis, namespace: str) -> dict[bytes, bytes]:
    """Return every key of *namespace* with its packed value."""
    with redis.Redis(port=server.port) as client:
        return {key: client.dump(key) for key in sorted(client.keys(f"{{{namespace}:*"))}
