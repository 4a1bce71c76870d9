"""A Redis at `maxmemory` under workers: nothing is lost, erasures run, owners change; and all goes on once there is room."""

from __future__ import annotations

import asyncio
import json

from tests.kit.services import Redis
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, said, traffic
from tests.kit.waits import until
from worker.core.contract.partitioner import owner
from worker.core.scoring.calendar import rfc3339


async def web_read(site: Site) -> int:
    """Return how many events of the web are in the states."""
    return sum([int((await site.position(p))[f"next:{site.web}"]) for p in range(site.settings.partitions)])


async def test_erasures_run_and_owners_change_while_redis_is_full(make_site: MakeSite, own_redis: Redis) -> None:
    """Events wait in Kafka, in their order; whoever asks to be forgotten is not kept waiting behind another topic's events."""
    site = await make_site(redis=own_redis.url)
    await site.send(site.sent(m) for m in traffic(31, 60, 400, around_ms=now_ms() - 60_000, spread_s=20))
    first = site.worker()
    await site.settled()
    async with site.redis() as redis:
        await redis.config_set("maxmemory", "1mb")
        waiting = [site.sent(m) for m in traffic(32, 60, 200, around_ms=now_ms(), spread_s=1)]
        await site.send(m for m in waiting if m.topic == site.web)
        await first.says("maxmemory")
        leads = sorted(await site.states())[:20]
        erased = [said(n, lead, "lead.erased") | {"time": rfc3339(now_ms())} for n, lead in enumerate(leads, start=1_000)]
        await site.send(site.sent(m, topic=site.crm) for m in erased)

        async def forgotten() -> bool:
            keys = [site.key(owner(lead, site.settings.partitions), f"lead:{lead}") for lead in leads]
            return all([await redis.hkeys(key) == [b"state"] for key in keys])

        await until(forgotten, "every lead that was erased is")
        second = site.worker()
        first.kill()
        await second.ready(site.settings.partitions)

        async def told() -> bool:
            outputs = [json.loads(r.value or b"{}") for r in await site.outputs() if r.topic.endswith(".lead.erased")]
            return {o["subject"] for o in outputs} >= set(leads)

        await until(told, "the erasures are published")
        read = await web_read(site)
        await redis.config_set("maxmemory", "0")
    await site.settled()
    assert await web_read(site) > read, "events that need memory waited for it"
    await second.stop()
    await site.verdict()


async def test_no_event_is_taken_while_redis_may_drop_leads(make_site: MakeSite, own_redis: Redis) -> None:
    """Somebody changes the policy under running workers; they say so, wait, and go on by themselves once it is right."""
    site = await make_site(redis=own_redis.url)
    worker = site.worker()
    await site.send(site.sent(m) for m in traffic(41, 60, 200, around_ms=now_ms() - 60_000, spread_s=20))
    await site.settled()
    async with site.redis() as redis:
        await redis.config_set("maxmemory", "4gb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await worker.says("maxmemory-policy is allkeys-lru")
        sent = 0

        async def paused() -> bool:
            """What was under way when it was seen is finished; of what is sent after that, nothing is read."""
            nonlocal sent
            await site.send(site.sent(m, topic=site.web) for m in traffic(1_000 + sent, 60, 10, around_ms=now_ms(), spread_s=1))
            sent += 10
            before = await web_read(site)
            await asyncio.sleep(1)
            return await web_read(site) == before

        await until(paused, "nothing is read")
        heir = site.worker()
        await heir.ended()
        assert "maxmemory-policy is allkeys-lru" in heir.said(), "none starts upon it"
        await redis.config_set("maxmemory-policy", "noeviction")
    await worker.says("events are taken again")
    await site.settled()
    await worker.stop()
    await site.verdict()
