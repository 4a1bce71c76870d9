"""Everything that a ledger holds of one lead, but for its acts, which `RedisLedger.rows` returns."""

from __future__ import annotations

from typing import NamedTuple

from worker.adapters.redis_client import Caller, Client
from worker.adapters.redis_ledger import mark


class HeldState(NamedTuple):
    """A lead's state for a target."""

    target: str
    rule: str
    packed: bytes | None
    """The state that waits; `None` where it was written."""
    written: int | None
    """The newest sequence that was written."""


class HeldEnrolment(NamedTuple):
    """A nurturing rule of a lead."""

    rule: str
    enrolled: bool
    packed: bytes | None
    """The output that contents are written from."""
    sent: list[str]


class LedgerExport(Caller):
    """Reads what one partition holds of a lead."""

    def __init__(self, client: Client, namespace: str, partition: int) -> None:
        super().__init__(client, namespace, f"the acts of partition {partition} of namespace {namespace} in Redis")
        self._prefix = f"{{{namespace}:{partition}}}:act:"

    async def states(self, lead: str) -> list[HeldState]:
        """Return the lead's states."""
        found = []
        for sync in sorted(await self._run(lambda: self._commands.smembers(self._prefix + "syncs"))):
            target, _, rule = sync.decode().partition(":")
            packed = await self._field(f"state:{target}:{rule}|{lead}", "packed")
            written = await self._field(f"written:{target}", f"{rule}|{lead}")
            if packed is not None or written is not None:
                found.append(HeldState(target, rule, packed, None if written is None else int(written)))
        return found

    async def enrolments(self, lead: str) -> list[HeldEnrolment]:
        """Return the lead's nurturing rules, and the contents that it had."""
        found = []
        for name in sorted(await self._run(lambda: self._commands.smembers(self._prefix + "nurtures"))):
            rule = name.decode()
            held = await self._hash(f"enrol:{rule}|{lead}")
            if held:
                sent = held.get(b"sent", b"").decode().splitlines()
                found.append(HeldEnrolment(rule, held.get(b"enrolled") == b"1", held.get(b"packed") or None, sent))
        return found

    async def cancelled_by(self, lead: str) -> list[str]:
        """Return the types of events that cancelled acts of the lead within a week."""
        return sorted(name.decode() for name in await self._hash(f"cancels:{lead}"))

    async def erased_ms(self, lead: str) -> int | None:
        """Return up to when the lead was erased."""
        held = await self._field("erased", mark(lead))
        return None if held is None else int(held.split(b" ")[0])

    async def _hash(self, name: str) -> dict[bytes, bytes]:
        held: dict[bytes, bytes] = await self._run(lambda: self._commands.hgetall(self._prefix + name))
        return held

    async def _field(self, name: str, field: str) -> bytes | None:
        held: list[bytes | None] = await self._run(lambda: self._commands.hmget(self._prefix + name, field))
        return held[0]
