"""Copies the ledgers of one namespace into those of another, which may have more partitions. The old one is only read.

A key is copied to the owner of its lead, or of its address, whose murmur2 stands beside its mark. What follows from other keys,
such as the queues of acts, is not copied but made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.adapters.redis_client import FAILURES, Caller, Client, translated
from worker.adapters.redis_limits import RedisLimits
from worker.core.contract.partitioner import owner

_AT_ONCE: Final = 50
_PAGE: Final = 1_000
_CANCELS_KEPT_MS: Final = 7 * 86_400_000
_MAILS_KEPT_MS: Final = 2 * 86_400_000
_CONTENTS_KEPT_MS: Final = 400 * 86_400_000
_COUNTER: Final = b"next:#"
"""The program's own numbers in a position, which are of no topic."""


class Copied(NamedTuple):
    """Numbers of what was copied."""

    acts: int
    states: int


class LedgerCopy(Caller):
    """Copies one namespace's ledgers. Repeating it changes nothing."""

    def __init__(self, client: Client, old: str, old_partitions: int, new: str, new_partitions: int) -> None:
        super().__init__(client, new, f"the acts of namespace {new} in Redis")
        self._old, self._new = old, new
        self._old_partitions, self._partitions = old_partitions, new_partitions
        self._whole = new_partitions != old_partitions
        self._acts = self._states = 0
        self._kinds: Mapping[str, Callable[[str, str], Awaitable[None]]] = {
            "row": self._row, "state": self._state, "written": self._written, "enrol": self._enrolment,
            "cancels": self._cancels, "suppressed": self._marks, "lifted": self._marks, "erased": self._marks,
            "mails": self._mails, "contents": self._contents, "acted": self._acted, "position": self._position,
        }  # fmt: skip

    async def run(self) -> Copied:
        """Copy everything.

        With the same number of partitions, the old namespace goes on beside the new one. Its acts and states stay with it then.
        The new one gets what it must know: suppressions, erasures, counts of mails, and the contents that leads had.
        """
        try:
            page: list[Awaitable[None]] = []
            async for partition, name in self._names():
                kind = self._kinds.get(name.partition(":")[0])
                if kind is None or not (self._whole or name.startswith(_KNOWN)):
                    continue
                page.append(kind(f"{{{self._old}:{partition}}}:act:{name}", name))
                if len(page) == _AT_ONCE:
                    await asyncio.gather(*page)
                    page = []
            await asyncio.gather(*page)
        except FAILURES as error:
            raise translated(error, f"the acts of namespace {self._old} in Redis") from error
        await self._pauses()
        if self._whole:
            await self._counts()
        return Copied(self._acts, self._states)

    async def _pauses(self) -> None:
        """Rules and targets that a person has paused stay so."""
        new = RedisLimits(self._client, self._new)
        for name in sorted(await RedisLimits(self._client, self._old).paused()):
            await new.pause(name, True)

    async def _counts(self) -> None:
        """Acts that a rule's `max` has counted stay counted, by their ids and times."""
        prefix, end = f"{{{self._old}:rule:", "}:counted"
        async for key in self._commands.scan_iter(match=f"{prefix}*{end}", count=_PAGE):
            new = f"{{{self._new}:rule:{key.decode().removeprefix(prefix)}"
            held: Sequence[tuple[bytes, float]] = await self._commands.zrange(key, 0, -1, withscores=True)
            left_ms = await self._commands.pttl(key)
            if held and left_ms > 0:
                await self._commands.zadd(new, dict(held))
                await self._commands.pexpire(new, left_ms)

    async def _names(self) -> AsyncIterator[tuple[int, str]]:
        prefix = f"{{{self._old}:"
        async for key in self._commands.scan_iter(match=f"{prefix}*}}:act:*", count=_PAGE):
            partition, _, name = key.decode().removeprefix(prefix).partition("}:act:")
            yield int(partition), name

    def _to(self, lead: str) -> str:
        return self._at(owner(lead, self._partitions))

    def _at(self, partition: int) -> str:
        return f"{{{self._new}:{partition}}}:act:"

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        held: dict[bytes, bytes] = await self._commands.hgetall(key)
        return held

    async def _row(self, key: str, name: str) -> None:
        held = await self._hash(key)
        if held:
            flat = [part for pair in held.items() for part in pair]
            prefix = self._to(held[b"lead"].decode())
            await self._call("ledger_restore", [prefix + "position"], name.removeprefix("row:"), *flat)
            self._acts += 1

    async def _state(self, key: str, name: str) -> None:
        _, target, member = name.split(":", 2)
        rule, _, lead = member.partition("|")
        held, old, new = await self._hash(key), key.removesuffix(name), self._to(lead)
        await self._commands.hset(new + name, mapping=held)
        for order in ("states", "waiting", "states_dead"):
            score = await self._commands.zscore(f"{old}{order}:{target}", member)
            if score is not None:
                await self._commands.zadd(f"{new}{order}:{target}", {member: score})
        await self._commands.sadd(new + "targets", target)
        await self._commands.sadd(new + "syncs", f"{target}:{rule}")
        self._states += 1

    async def _written(self, key: str, name: str) -> None:
        target = name.partition(":")[2]
        async for member, sequence in self._commands.hscan_iter(key, count=_PAGE):
            rule, _, lead = member.decode().partition("|")
            await self._commands.hset(self._to(lead) + name, member, sequence)
            await self._commands.sadd(self._to(lead) + "syncs", f"{target}:{rule}")

    async def _enrolment(self, key: str, name: str) -> None:
        member = name.removeprefix("enrol:")
        rule, _, lead = member.partition("|")
        held, new = await self._hash(key), self._to(lead)
        due_ms = await self._commands.zscore(key.removesuffix(name) + "enrolled", member)
        if not self._whole:
            held, due_ms = {**held, b"enrolled": b"0", b"packed": b""}, None
        await self._commands.hset(new + name, mapping=held)
        await self._commands.sadd(new + "nurtures", rule)
        if due_ms is not None:
            await self._commands.zadd(new + "enrolled", {member: due_ms})

    async def _cancels(self, key: str, name: str) -> None:
        new = self._to(name.removeprefix("cancels:")) + name
        await self._commands.hset(new, mapping=await self._hash(key))
        await self._commands.pexpire(new, _CANCELS_KEPT_MS)

    async def _marks(self, key: str, name: str) -> None:
        async for mark, value in self._commands.hscan_iter(key, count=_PAGE):
            await self._commands.hset(self._by_murmur(value.split(b" ")[1]) + name, mark, value)

    async def _mails(self, key: str, name: str) -> None:
        new = self._by_murmur(name.rpartition(":")[2]) + name
        held: Sequence[tuple[bytes, float]] = await self._commands.zrange(key, 0, -1, withscores=True)
        if held:
            await self._commands.zadd(new, dict(held))
            await self._commands.pexpire(new, _MAILS_KEPT_MS)

    async def _contents(self, key: str, name: str) -> None:
        new = self._by_murmur(name.rpartition(":")[2]) + name
        held, left_ms = await self._hash(key), await self._commands.pttl(key)
        if held:
            await self._commands.hset(new, mapping=held)
            await self._commands.pexpire(new, left_ms if left_ms > 0 else _CONTENTS_KEPT_MS)

    def _by_murmur(self, murmur: str | bytes) -> str:
        return self._at((int(murmur) & 0x7FFFFFFF) % self._partitions)

    async def _acted(self, key: str, name: str) -> None:
        async for entry, number in self._commands.zscan_iter(key, count=_PAGE):
            lead = await self._commands.hget(key.removesuffix(name) + "row:" + entry.decode().partition("|")[2], "lead")
            if lead is not None:
                await self._commands.zadd(self._to(lead.decode()) + name, {entry: number})

    async def _position(self, key: str, name: str) -> None:
        """Copy the offsets. A partition that the topics did not have begins at their start."""
        held = {field: value for field, value in (await self._hash(key)).items() if field.startswith(b"next:")}
        partition = int(key.removeprefix(f"{{{self._old}:").partition("}")[0])
        if held:
            await self._commands.hset(self._at(partition) + name, mapping=held)
        fresh: dict[bytes, Any] = {field: 0 for field in held if not field.startswith(_COUNTER)}
        if partition == 0 and fresh:
            for added in range(self._old_partitions, self._partitions):
                await self._commands.hset(self._at(added) + name, mapping=fresh)


_KNOWN: Final = ("suppressed:", "lifted", "erased", "mails:", "contents:", "enrol:")
"""Keys of what a second namespace must know."""
