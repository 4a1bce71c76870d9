"""A namespace as an older version left it."""

from __future__ import annotations

from tests.core.golden.older import as_version_1
from tests.kit.site import Site


async def put_back(site: Site) -> int:
    """Write every lead's state as version 1 packed it, and leave all else alone; return how many there are."""
    states = await site.states()
    async with site.redis() as redis:
        for p in range(site.settings.partitions):
            for lead, packed in states.items():
                if await redis.exists(site.key(p, f"lead:{lead}")):
                    await site.put_state(redis, p, lead, as_version_1(packed))
    return len(states)
