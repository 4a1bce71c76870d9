"""What the worker says of a Redis that may drop leads, and when it pauses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from worker.adapters import redis_check
from worker.adapters.redis_check import Eviction, Memory
from worker.engine import redis_watch
from worker.metrics import Metrics

GOOD = Memory(1, 2)
DROPS = Memory(1, 2, (Eviction("Redis: maxmemory-policy is allkeys-lru", True),), 4)
WOULD = Memory(1, 2, (Eviction("Redis: maxmemory-policy is volatile-ttl", False),), 4)


async def test_the_worker_pauses_while_redis_may_drop_leads_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that does not answer for a moment, in between, changes nothing."""
    looks = [GOOD, GOOD, DROPS, None, DROPS, WOULD, GOOD, None, GOOD._replace(evicted=9)]
    seen: list[tuple[bool, float | None]] = []
    safe, registry = asyncio.Event(), CollectorRegistry()
    safe.set()

    async def look(_: Any) -> Memory | None:
        return looks[len(seen)]

    async def next_look(_: float) -> None:
        seen.append((safe.is_set(), registry.get_sample_value("leadpulse_redis_evicts")))
        if len(seen) == len(looks):
            raise asyncio.CancelledError

    monkeypatch.setattr(redis_check, "memory", look)
    monkeypatch.setattr(asyncio, "sleep", next_look)
    caplog.set_level(logging.INFO)
    nobody: Any = None
    with pytest.raises(asyncio.CancelledError):
        await redis_watch.watch_redis(nobody, Metrics(registry), safe)
    assert seen == [
        (True, 0), (True, 0), (False, 1), (False, 1), (False, 1), (True, 1), (True, 0), (True, 0), (True, 0),
    ]  # fmt: skip
    events: list[Any] = [vars(record)["leadpulse"]["event"] for record in caplog.records]
    assert events == ["redis.evicts", "redis.dropped", "redis.evicts", "redis.keeps", "redis.dropped"]
    assert "set maxmemory-policy noeviction" in caplog.messages[0]
    assert registry.get_sample_value("leadpulse_redis_evicted_keys") == 9


def test_a_change_is_reported_within_ten_seconds() -> None:
    """Two looks: the first may have come just before the change, and an answer takes a moment."""
    assert redis_watch.LOOK_S * 2 <= 10
