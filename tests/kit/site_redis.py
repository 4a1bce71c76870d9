"""What Redis holds of a namespace: read, copied, restored, changed by hand."""

from __future__ import annotations

import itertools
from typing import Any

from tests.kit.waits import HANG_S
from worker.adapters.redis_client import connect
from worker.adapters.redis_scan import is_piece, lead_fields
from worker.adapters.redis_store import RedisStore
from worker.settings import Settings

# A key that came between a scan and a copy would be missing from it, or would outlive what was put in its place.
COPY = """\
local held = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  held[#held + 1] = key
  held[#held + 1] = redis.call('DUMP', key)
end
return held
"""
RESTORE = """\
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
for n = 2, #ARGV, 2 do redis.call('RESTORE', ARGV[n], 0, ARGV[n + 1]) end
"""


class NamespaceInRedis:
    """A namespace's keys in Redis."""

    settings: Settings

    async def position(self, partition: int) -> dict[str, str]:
        """Return the position of *partition*, as Redis holds it."""
        async with self.redis() as redis:
            held: dict[Any, Any] = await redis.hgetall(self.key(partition, "position"))
        return {name.decode(): value.decode() for name, value in held.items()}

    def key(self, partition: int, name: str) -> str:
        """Return the Redis key *name* of *partition*."""
        return f"{{{self.settings.namespace}:{partition}}}:{name}"

    def redis(self) -> Any:
        """Return a client of this site's Redis, alone or a cluster."""
        return connect(self.settings.redis.get_secret_value(), timeout_s=HANG_S, connect_timeout_s=HANG_S)

    async def states(self) -> dict[str, bytes]:
        """Return every lead's packed state, as Redis holds it."""
        found: dict[str, bytes] = {}
        async with self.redis() as redis:
            for p in range(self.settings.partitions):
                prefix = self.key(p, "lead:")
                async for key in redis.scan_iter(match=prefix.replace("{", "\\{").replace("[", "\\[") + "*", count=1_000):
                    fields = lead_fields(await redis.hgetall(key))
                    found[key.decode().removeprefix(prefix)] = fields["state"]
        return found

    async def put_state(self, redis: Any, partition: int, lead: str, packed: bytes) -> None:
        """Put *packed* in the place of a lead's state, and leave all else of it alone."""
        key = self.key(partition, f"lead:{lead}")
        held: dict[bytes, bytes] = await redis.hgetall(key)
        pieces = [name for name in held if is_piece(name)]
        if pieces:
            await redis.hdel(key, *pieces)
        await redis.hset(key, "state", packed)

    async def copy(self) -> dict[bytes, bytes]:
        """Return a copy of everything that Redis holds of the namespace, as of one moment."""
        async with self.redis() as redis:
            held: list[bytes] = await redis.eval(COPY, 0, f"{{{self.settings.namespace}:*")
        return dict(zip(held[::2], held[1::2], strict=True))

    async def restore(self, old: dict[bytes, bytes]) -> None:
        """Put Redis back to the copy *old*, in one moment."""
        async with self.redis() as redis:
            await redis.eval(RESTORE, 0, f"{{{self.settings.namespace}:*", *itertools.chain.from_iterable(old.items()))

    async def allow_rebuild(self) -> None:
        """Say what `leadpulse rebuild` says of every partition."""
        client = self.redis()
        for p in range(self.settings.partitions):
            await RedisStore(client, self.settings.namespace, p).allow_rebuild()
        await client.aclose()
