"""What the system tests rest on does what it says."""

from __future__ import annotations

import asyncio
import contextlib

from tests.kit.site import MakeSite, Site

WRITE = "redis.call('SET', ARGV[1] .. redis.call('INCR', KEYS[1]), '')"


async def _write(site: Site) -> None:
    """Count up, and add a lead each time in the same moment, until cancelled."""
    async with site.redis() as redis:
        while True:
            await redis.eval(WRITE, 1, site.key(0, "count"), site.key(0, "lead:"))
            await asyncio.sleep(0.001)


async def test_redis_is_copied_and_put_back_in_one_moment_while_workers_write(make_site: MakeSite) -> None:
    """A lead missing from a copy whose position says that its batch was applied would be a loss that the harness made."""
    site = await make_site()
    count, aside = site.key(0, "count").encode(), "aside:" + site.key(0, "count")
    writing = asyncio.create_task(_write(site))
    try:
        async with site.redis() as redis:
            await asyncio.sleep(0.5)
            old = await site.copy()
            for _ in range(100):
                await asyncio.sleep(0.005)
                copy = await site.copy()
                await redis.restore(aside, 0, copy[count], replace=True)
                assert len(copy) == 1 + int(await redis.get(aside))
                await site.restore(old)
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
