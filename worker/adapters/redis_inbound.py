"""`worker.intake_ports.InboundMemory` in Redis: sorted sets by time, of seen ids and of look-ups, and traces of messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from worker.adapters.redis_client import FAILURES, asking, connect, translated
from worker.intake_ports import SourceNews, Wanted

T = TypeVar("T")

SEEN: Final = "{leadpulse.inbound}:seen"
LOOKUPS: Final = "{leadpulse.inbound}:lookups"
TRACE: Final = "{leadpulse.inbound}:message:"
KEPT_MS: Final = 72 * 3_600_000

SOURCES: Final = "{leadpulse.inbound}:sources"
"""Hash: `event:NAME` and `error:NAME` → an instant in ms and, behind a blank, words."""

_NEWEST: Final = """
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or tonumber(string.match(held, '^%d+')) <= tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
end
"""

_TAKE: Final = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, held in ipairs(due) do redis.call('ZADD', KEYS[1], 'XX', ARGV[3], held) end
return due
"""

_REPLACE: Final = """
local due = redis.call('ZMSCORE', KEYS[1], ARGV[1])[1]
if due then
  redis.call('ZREM', KEYS[1], ARGV[1])
  if ARGV[2] then redis.call('ZADD', KEYS[1], 'NX', due, ARGV[2]) end
end
return due
"""


class RedisInbound:
    """Remembers for all mappers. Each call is one round trip."""

    def __init__(self, url: str, most: int) -> None:
        """Raise `StoreRefused` for an address that cannot be read. Connects to nothing yet."""
        self._client: Any = connect(url, timeout_s=2.0, connect_timeout_s=1.0, name="leadpulse.inbound")
        self._most = most

    async def known(self, marks: Sequence[bytes]) -> list[bool]:
        """Return for each id's mark whether it was seen."""
        if not marks or not self._most:
            return [False] * len(marks)
        found = await self._run("ids that were seen", lambda: self._client.execute_command("ZMSCORE", SEEN, *marks))
        return [score is not None for score in found]

    async def mark(self, marks: Collection[bytes], now_ms: int) -> None:
        """Remember ids, and forget the oldest."""
        if not marks or not self._most:
            return

        async def call() -> None:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zadd(SEEN, dict.fromkeys(marks, now_ms))
            pipeline.zremrangebyscore(SEEN, "-inf", now_ms - KEPT_MS)
            pipeline.zremrangebyrank(SEEN, 0, -self._most - 1)
            await pipeline.execute()

        await self._run("ids that were seen", call)

    async def recall(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what was kept under each key."""
        if not keys:
            return []
        return list(await self._run("traces of messages", lambda: self._client.mget([f"{TRACE}{key}" for key in keys])))

    async def keep(self, held: Mapping[str, bytes], kept_ms: int) -> None:
        """Keep values under their keys for a while."""

        async def call() -> None:
            pipeline = self._client.pipeline(transaction=False)
            for key, value in held.items():
                pipeline.set(f"{TRACE}{key}", value, px=kept_ms)
            await pipeline.execute()

        if held:
            await self._run("traces of messages", call)

    async def schedule(self, wanted: Sequence[Wanted]) -> None:
        """Keep look-ups until they are done."""
        if wanted:
            held = {one.held: one.due_ms for one in wanted}
            await self._run("look-ups", lambda: self._client.zadd(LOOKUPS, held, nx=True))

    async def take_due(self, now_ms: int, limit: int, lease_ms: int) -> list[bytes]:
        """Return look-ups that are due, and lease them."""
        call = lambda: self._client.eval(_TAKE, 1, LOOKUPS, now_ms, limit, now_ms + lease_ms)  # noqa: E731
        return list(await self._run("look-ups", call))

    async def done(self, held: bytes) -> None:
        """Forget a look-up."""
        await self._run("look-ups", lambda: self._client.zrem(LOOKUPS, held))

    async def put_off(self, held: bytes, due_ms: int) -> None:
        """Let a look-up wait until *due_ms*."""
        await self._run("look-ups", lambda: self._client.zadd(LOOKUPS, {held: due_ms}, xx=True))

    async def replace(self, held: bytes, instead: bytes | None) -> None:
        """Let another look-up wait in the place of *held*, or none."""
        words = [held] if instead is None else [held, instead]
        await self._run("look-ups", lambda: self._client.eval(_REPLACE, 1, LOOKUPS, *words))

    async def waiting(self) -> int:
        """Return the number of look-ups that wait."""
        return int(await self._run("look-ups", lambda: self._client.zcard(LOOKUPS)))

    async def tell(self, news: Mapping[str, SourceNews]) -> None:
        """Write down what is new of each source."""
        given: list[str | int] = []
        for name, one in news.items():
            given += [f"event:{name}", one.event_ms, ""] if one.event_ms else []
            given += [f"error:{name}", one.error_ms, one.error] if one.error_ms else []
        if given:
            await self._run("news of sources", lambda: self._client.eval(_NEWEST, 1, SOURCES, *given))

    async def told(self) -> dict[str, SourceNews]:
        """Return the newest of each source that was ever heard of."""
        found: dict[str, SourceNews] = {}
        for field, value in (await self._run("news of sources", lambda: self._client.hgetall(SOURCES))).items():
            kind, _, name = field.decode().partition(":")
            at, _, words = value.decode().partition(" ")
            one = found.get(name, SourceNews())
            found[name] = one._replace(event_ms=int(at)) if kind == "event" else one._replace(error_ms=int(at), error=words)
        return found

    async def questions(self) -> list[bytes]:
        """Return the look-ups that wait, in no order. Reads them in small steps."""
        found: dict[bytes, None] = {}
        at = 0
        while True:
            at, some = await self._run("look-ups", lambda at=at: self._client.zscan(LOOKUPS, at, count=500))  # type: ignore[misc]
            found |= dict.fromkeys(held for held, _ in some)
            if not at:
                return list(found)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _run(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            with asking(self._client):
                return await call()
        except FAILURES as error:
            raise translated(error, what) from error
