"""Watches Redis while the worker runs: its memory, and whether it may evict leads."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from worker.adapters import redis_check
from worker.adapters.redis_check import NOEVICTION, Memory
from worker.adapters.redis_client import Client
from worker.logs import fields
from worker.metrics import Metrics

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0


async def watch_redis(client: Client, metrics: Metrics, safe: asyncio.Event) -> None:
    """Set the metrics of Redis' memory, and clear *safe* while Redis may evict leads.

    Reports a changed `maxmemory-policy` within two reads. Nothing changes while Redis does not answer, or if this user may not
    run `INFO`.
    """
    before: Memory | None = None
    while True:
        found = await redis_check.memory(client)
        if found is not None:
            metrics.redis_used.set(found.used)
            metrics.redis_max.set(found.most)
            metrics.redis_evicts.set(bool(found.policies))
            metrics.redis_evicted.set(found.evicted)
            report(before, found)
            before = found
            if any(policy.drops for policy in found.policies):
                safe.clear()
            else:
                safe.set()
        await asyncio.sleep(LOOK_S)


def report(before: Memory | None, found: Memory) -> None:
    """Log what changed about evictions since *before*."""
    known = before.policies if before is not None else ()
    if found.policies != known:
        details = fields("redis.evicts" if found.policies else "redis.keeps", evicted=found.evicted)
        for policy in found.policies:
            pauses = "; no event is taken until then" if policy.drops else ""
            log.error("%s: %s%s", policy.what, NOEVICTION, pauses, extra=details)
        if not found.policies:
            log.warning("Redis evicts nothing any more: events are taken again", extra=details)
    if before is not None and found.evicted > before.evicted:
        dropped = found.evicted - before.evicted
        details = fields("redis.dropped", keys=dropped)
        log.error("Redis dropped %d keys, which may be leads: restore a copy from before", dropped, extra=details)
