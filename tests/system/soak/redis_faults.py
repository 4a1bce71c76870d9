"""Faults of Redis: killed, stalled, full, emptied, gone back to an older copy."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

from tests.kit.replicas import Replicated
from tests.kit.site import Site
from tests.kit.traffic import now_ms, people
from tests.kit.waits import until
from tests.system.soak.run import LEADS, Run, all_published, fault, recovered
from worker.core.contract.partitioner import owner
from worker.core.scoring.state import unpack


@fault("Redis killed (-9) and started again, a second of it lost at most")
async def _kill_redis(run: Run) -> None:
    await asyncio.to_thread(run.services.redis.restart, clean=False)


@fault("Redis stalled for seconds")
async def _stall(run: Run) -> None:
    run.services.redis.suspend()
    await asyncio.sleep(run.random.uniform(1, 8))
    run.services.redis.resume()


@fault("Redis goes back to an older copy under load")
async def _older(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await run.some_time(4)
    await run.site.restore(old)


@fault("Redis emptied, allowed to be filled again, rebuilt from the topics")
async def _empty(run: Run) -> None:
    await run.stop()
    await run.site.restore({})
    await run.site.allow_rebuild()
    await run.start()


@fault("checkpoint restored: Redis emptied, all that came before the checkpoint deleted from Kafka", clock="wall")
async def _checkpoint(run: Run) -> None:
    site, folder = run.site, run.site.folder / f"{run.site.settings.namespace}-checkpoints"
    deadline = time.monotonic() + 90
    for _ in range(run.random.randint(1, 3)):
        while (done := await asyncio.to_thread(site.command, "checkpoint", checkpoints=folder)).returncode:
            assert time.monotonic() < deadline, done.stderr  # an owner that changes meanwhile ends a checkpoint
        await run.some_time(3)
    for worker in list(run.workers):
        worker.kill()
        run.drop(worker)
    await site.forget_log_before_checkpoints(folder)
    await site.restore({})
    rebuilt = await asyncio.to_thread(site.command, "rebuild", "--all", checkpoints=folder)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert rebuilt.stdout.count('"checkpoint"') == site.settings.partitions, rebuilt.stderr
    await run.start(run.random.choice((1, 2)))


@fault("offsets forgotten with an older Redis")
async def _forgotten_older(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await run.some_time(4)
    await _forget(run)
    await run.site.restore(old)
    await run.start(run.random.choice((1, 2)))


@fault("offsets forgotten with an empty Redis")
async def _forgotten_empty(run: Run) -> None:
    await all_published(run.site)
    await _forget(run)
    await run.site.restore({})
    await run.start()
    await run.all_end("leadpulse rebuild")
    await run.site.forget_offsets()
    await run.site.allow_rebuild()
    await run.start()


async def _forget(run: Run) -> None:
    """Kill every worker and let Kafka forget the offsets of their group, as it does when nobody runs for days."""
    for worker in list(run.workers):
        worker.kill()
        run.drop(worker)
    await run.site.forget_offsets()


@fault("Redis out of memory for seconds")
async def _no_memory(run: Run) -> None:
    async with run.site.redis() as redis:
        await redis.config_set("maxmemory", "1mb")
        await run.some_time(3)
        await redis.config_set("maxmemory", "0")


@fault("Redis full: erasures, another owner, published outbox freed; then room again")
async def _full(run: Run) -> None:
    site, partitions = run.site, range(run.site.settings.partitions)
    async with site.redis() as redis:
        async with run.sending:  # in one topic an erasure waits for the events before it
            await recovered(site)
            await site.settled()  # in the journal too an erasure waits for what is before it
            alive = sorted(lead for lead, packed in (await site.states()).items() if unpack(packed).alive)
            leads = run.random.sample(alive, min(10, len(alive)))
            await redis.config_set("maxmemory", "1mb")
            message = people(run.random.getrandbits(32), LEADS, 1, around_ms=now_ms())[0]
            told = [message | {"type": "lead.erased", "data": {}, "subject": lead, "id": f"full-{lead}"} for lead in leads]
            await site.send(site.sent(one, topic=site.crm) for one in told)
            run.sent += len(told)
        keys = [site.key(owner(lead, len(partitions)), f"lead:{lead}") for lead in leads]
        await until(lambda: _forgotten(redis, keys), "all are forgotten")
        before = {(await site.position(p))["owner"] for p in partitions}
        for victim in list(run.workers):
            victim.kill()
            run.drop(victim)
        await run.start()
        for p in partitions:
            await until(functools.partial(_freed, redis, site, p, before), f"partition {p} is another's, and freed")
        await redis.config_set("maxmemory", "0")


@fault("Redis full, its erasures taken one by one, then back to a copy from before")
async def _full_and_back(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await _full(run)
    await run.some_time()
    await run.site.restore(old)


async def _forgotten(redis: Any, keys: list[str]) -> bool:
    return all([await redis.hkeys(key) == [b"state"] for key in keys])


async def _freed(redis: Any, site: Site, p: int, before: set[str]) -> bool:
    position = await site.position(p)
    return position["owner"] not in before and not await redis.xlen(site.key(p, "outbox"))


@fault("replies of Redis lost after it applied a batch", through="replies")
async def _lose(run: Run) -> None:
    run.services.replies.left = run.random.randint(1, 8)


@fault("a Redis replica that lags behind promoted, without the function library", servers=Replicated)
async def _promote(run: Run) -> None:
    await all_published(run.site)
    run.servers.replica.suspend()
    await asyncio.sleep(run.random.uniform(1, 5))
    await run.servers.promote()
