"""One partition's ledger of acts in Redis, through the functions of `ledger.lua`.

Every key stands behind `{NAMESPACE:p}:act:`, where p owns the lead or, of a suppressed address, `email:ADDRESS`:

- `row:ID`: a hash, one act. `k:NAME` are the values that attempts remembered.
- `queue:TARGET:LEAD`: a sorted set, the acts that wait, by the time of their outputs. `due:TARGET`: leads by when their next
  act is due. `busy:TARGET`: a hash of leads, each with the act of a running attempt.
- `is:STATE:TARGET`, `lead:LEAD`: the acts of a state, and those of a lead. `targets`: all targets that have acts or states.
- `acted`: a sorted set, ends that were not published yet.
- `state:TARGET:RULE|LEAD`, `states:TARGET`, `waiting:TARGET`, `states_dead:TARGET`, `written:TARGET`, `syncs`: states.
- `enrol:RULE|LEAD`, `enrolled`, `nurtures`: nurturing. `cancels:LEAD`: events that cancel older acts.
- `suppressed:REASON`, `lifted`, `erased`: hashes by a mark, so no address and no erased lead stands there. A value has the time
  and the murmur2 of the key, by which another number of partitions finds its owner.
- `mails:MARK`: a sorted set, mails to an address within a day. `contents:MARK`: a hash, contents that a person with it gets.
- `position`: a hash, the next offset of each topic, and a counter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar

from worker.adapters.redis_client import Caller, Client
from worker.automation_ports import (
    Acted,
    AddAct,
    Cancel,
    Enrol,
    Enrolled,
    EraseLead,
    Leave,
    Lift,
    Nurtured,
    Op,
    Outcome,
    PutState,
    Row,
    StateEnd,
    StateRow,
    Suppress,
)
from worker.core.contract.partitioner import murmur2
from worker.errors import StoreFull, StoreRefused

T = TypeVar("T")
Arg = str | bytes

STATES: Final = ("intent", "retry", "held", "done", "dead", "cancelled", "stale", "unknown")
OPS_AT_ONCE: Final = 200
"""So many take a few milliseconds of Redis' time, while every worker waits."""
ROWS_AT_ONCE: Final = 100
_PAGE: Final = 500
_NO_ACT: Final[tuple[Arg, ...]] = ("",) * 12
_ADDING: Final = (AddAct, PutState, Enrol, Nurtured)


def mark(key: str) -> str:
    """Return what stands for a lead or an address where it must not be readable."""
    return sha256(key.encode()).hexdigest()[:32]


def _murmur(key: str) -> str:
    return str(murmur2(key.encode()))


def _name_of(address: str) -> str:
    """Return what stands for an address in a key, with what its owner is known by."""
    key = "email:" + address.removeprefix("email:")
    return f"{mark(key)}:{_murmur(key)}"


def _ms(at_ms: int) -> str:
    return str(max(0, at_ms))


def _add(op: AddAct) -> tuple[Arg, ...]:
    return (
        op.id, op.lead_id, op.target, "\n".join(op.unless), op.packed, _ms(op.at_ms), _ms(op.due_ms), "*" if op.unsure else "",
        op.dead, mark(op.lead_id), _ms(op.sequence), _ms(op.output_ms or op.at_ms),
    )  # fmt: skip


def _arguments(op: Op) -> tuple[Arg, ...]:
    """Return the name of *op* in `ledger.lua`, and its arguments."""
    match op:
        case AddAct():
            return "act", *_add(op)
        case Cancel():
            return "cancel", op.lead_id, op.type, _ms(op.at_ms), _ms(op.sequence)
        case PutState():
            due, lead = _ms(op.due_ms), op.lead_id
            return "state", op.target, op.rule, lead, str(op.sequence), op.packed, _ms(op.at_ms), due, mark(lead)
        case Suppress():
            return "suppress", mark(op.key), op.reason, _ms(op.at_ms), _murmur(op.key)
        case Lift():
            return "lift", mark(op.key), _ms(op.at_ms), _murmur(op.key)
        case Enrol():
            only = "1" if op.only_if_enrolled else ""
            at, due, by = _ms(op.at_ms), _ms(op.due_ms), mark(op.lead_id)
            return "enrol", op.rule, op.lead_id, op.packed, at, due, only, by, _ms(op.sequence)
        case Leave():
            return "leave", op.rule, op.lead_id
        case Nurtured():
            act = ("", *_NO_ACT) if op.act is None else ("1", *_add(op.act))
            return "nurtured", op.rule, op.lead_id, op.content, _ms(op.due_ms), *act
        case EraseLead():
            return "erase", op.lead_id, _ms(op.at_ms), mark(op.lead_id), _murmur(op.lead_id), _ms(op.sequence)


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    return ((flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2))


def row_of(id_: bytes, flat: Sequence[bytes]) -> Row:
    """Return the act *id_* with the fields of its hash."""
    fields = dict(_pairs(flat))
    text = {name: value.decode() for name, value in fields.items() if name != "packed"}
    return Row(
        id_.decode(), text["lead"], text["target"], fields["packed"], text["state"], int(text["attempts"]),
        int(text["created"]), int(text["updated"]), int(text.get("due", 0)),
        {name[2:]: value for name, value in text.items() if name.startswith("k:")}, text.get("unsure", ""),
        text.get("remote", ""), text.get("detail", ""), text.get("call", ""), text.get("decided") == "1",
    )  # fmt: skip


class RedisLedger(Caller):
    """`worker.automation_ports.Ledger` in Redis. Holds no state of its own: several may share one client, made by `connect`."""

    def __init__(self, client: Client, namespace: str, partition: int) -> None:
        super().__init__(client, namespace, f"the acts of partition {partition} of namespace {namespace} in Redis")
        self._prefix = f"{{{namespace}:{partition}}}:act:"
        self._keys = (self._prefix + "position",)

    async def _ask(self, function: str, *args: Arg, read: bool = False) -> Any:
        return await self._call("ledger_" + function, self._keys, *args, read=read)

    async def lacking_rights(self) -> list[str]:
        """Return the commands that this Redis user may not run, and needs."""
        return [name.decode() for name in await self._ask("rights", read=True)]

    async def position(self) -> dict[str, int]:
        """Return the next offset of each topic; see the port."""
        held = await self._run(lambda: self._commands.hgetall(self._prefix + "position"))
        return {name.decode()[5:]: int(offset) for name, offset in held.items() if name.startswith(b"next:")}

    async def distrust(self) -> None:
        """Mark every act that waits with `unsure="*"`; see the port."""
        async for ids in self._ids(("intent", "retry"), await self._targets()):
            await self._ask("distrust", *ids)

    async def take(
        self, ops: Sequence[Op], now_ms: int, position: Mapping[str, int] | None = None, *, again: bool = False
    ) -> None:
        """Do *ops* in order, many of them in several calls, and note *position* with the last ones; see the port."""
        for first in range(0, len(ops) - OPS_AT_ONCE, OPS_AT_ONCE):
            await self._take(ops[first : first + OPS_AT_ONCE], now_ms, {})
        rest = len(ops) - (len(ops) - 1) % OPS_AT_ONCE - 1 if ops else 0
        await self._take(ops[rest:], now_ms, position or {}, again)

    async def _take(self, ops: Sequence[Op], now_ms: int, position: Mapping[str, int], again: bool = False) -> None:
        noted = [part for name, offset in position.items() for part in (name, str(offset))]
        args = [
            str(now_ms),
            "again" if again else "",
            str(len(noted)),
            *noted,
            *(part for op in ops for part in _arguments(op)),
        ]
        try:
            await self._ask("take", *args)
        except StoreFull:
            if any(isinstance(op, _ADDING) for op in ops):
                raise
            await self._ask("take_smaller", *args)

    # --- acts --------------------------------------------------------------------------------------------------------

    async def claim(self, target: str, now_ms: int, lease_ms: int, most: int, call: str) -> list[Row]:
        """Lease acts of *target* that are due; see the port."""
        found = await self._ask("claim", target, str(now_ms), str(lease_ms), str(most), call)
        return [self._row(id_, flat) for id_, flat in found]

    async def begin(self, id_: str, call: str, step: str, until_ms: int) -> bool:
        """Note an unsafe step before it is sent; see the port."""
        return bool(await self._ask("begin", id_, call, step, str(until_ms)))

    async def remember(self, id_: str, call: str, name: str, value: str) -> bool:
        """Keep a value for later attempts; see the port."""
        return bool(await self._ask("remember", id_, call, name, value))

    async def finish(self, id_: str, call: str, outcome: Outcome, now_ms: int) -> bool:
        """End an attempt; see the port."""
        args = (outcome.state, outcome.detail, outcome.remote_id, _ms(outcome.due_ms), outcome.unsure, str(now_ms))
        return bool(await self._ask("finish", id_, call, *args))

    async def decide(self, id_: str, state: str, detail: str, now_ms: int) -> bool:
        """Carry a person's decision out; see the port."""
        return bool(await self._ask("decide", id_, state, detail, str(now_ms)))

    # --- states and contents -----------------------------------------------------------------------------------------

    async def claim_states(self, target: str, now_ms: int, lease_ms: int, most: int) -> list[StateRow]:
        """Lease states of *target* that are due; see the port."""
        found = await self._ask("claim_states", target, str(now_ms), str(lease_ms), str(most))
        rows = []
        for member, sequence, packed, attempts, first in found:
            rule, _, lead = member.decode().partition("|")
            rows.append(StateRow(rule, lead, int(sequence), packed, attempts, int(first)))
        return rows

    async def finish_states(self, target: str, ends: Sequence[StateEnd], now_ms: int) -> None:
        """End an attempt at states; see the port."""
        for first in range(0, len(ends), OPS_AT_ONCE):
            args: list[Arg] = [target, str(now_ms)]
            for end in ends[first : first + OPS_AT_ONCE]:
                args += (f"{end.rule}|{end.lead_id}", str(end.sequence), _ms(end.due_ms), end.failure)
            await self._ask("finish_states", *args)

    async def claim_enrolled(self, now_ms: int, lease_ms: int, most: int) -> list[Enrolled]:
        """Lease leads whose next content is due; see the port."""
        rows = []
        for member, packed, sent in await self._ask("claim_enrolled", str(now_ms), str(lease_ms), str(most)):
            rule, _, lead = member.decode().partition("|")
            rows.append(Enrolled(rule, lead, packed, tuple(sent.decode().splitlines())))
        return rows

    # --- mails -------------------------------------------------------------------------------------------------------

    async def cancelled(self, lead_id: str, types: Collection[str], at_ms: int) -> str:
        """Return which of *types* came to a lead after *at_ms*, within a week; empty for none."""
        held = await self._run(lambda: self._commands.hgetall(f"{self._prefix}cancels:{lead_id}"))
        later = (name.decode() for name, value in held.items() if int(value.split(b" ")[0]) > at_ms)
        return min((name for name in later if name in types), default="")

    async def suppressed(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the strongest reason for each of *keys* that is suppressed."""
        reasons = await self._ask("suppressed", *map(mark, keys), read=True) if keys else []
        return {key: reason.decode() for key, reason in zip(keys, reasons, strict=True) if reason}

    async def mail_allowed(self, address: str, id_: str, now_ms: int, most: int) -> int:
        """Count a mail to *address* within a day; see the port."""
        return int(await self._ask("mail", _name_of(address), id_, str(now_ms), str(most)))

    async def content_allowed(self, address: str, content: str, id_: str) -> bool:
        """Note by which act a person with *address* gets *content*; see the port."""
        return bool(await self._ask("content", _name_of(address), content, id_))

    async def contents_of(self, address: str) -> set[str]:
        """Return the contents that are noted for a person with *address*."""
        key = f"{self._prefix}contents:{_name_of(address)}"
        return {name.decode() for name in await self._run(lambda: self._commands.hgetall(key))}

    async def sent(self, lead_id: str) -> dict[str, tuple[str, ...]]:
        """Return for each nurturing rule the contents that were chosen for the lead."""
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(await self._run(lambda: self._commands.smembers(self._prefix + "nurtures"))):
            key = f"{self._prefix}enrol:{name.decode()}|{lead_id}"
            (held,) = await self._run(lambda: self._commands.hmget(key, "sent"))  # noqa: B023 (awaited at once)
            if held:
                found[name.decode()] = tuple(held.decode().splitlines())
        return found

    # --- what is told ------------------------------------------------------------------------------------------------

    async def acted(self, most: int) -> list[Acted]:
        """Return the oldest acts that have ended and were not published; see the port."""
        found = await self._ask("acted", str(most))
        return [Acted(entry.decode(), self._row(id_, flat)) for entry, id_, flat in found]

    async def published(self, keys: Collection[str]) -> None:
        """Forget entries of `acted`."""
        if keys:
            await self._run(lambda: self._commands.zrem(self._prefix + "acted", *keys))

    async def next_due(self, targets: Sequence[str]) -> int | None:
        """Return when the next act, state or content is due (ms); `None` without any."""
        at_ms = await self._ask("next_due", *targets, read=True)
        return None if at_ms is None else int(at_ms)

    async def figures(self) -> dict[str, dict[str, int]]:
        """Return of each target its acts by state, and its states; see the port."""
        found = await self._ask("figures", read=True)
        return {target.decode(): {name: int(n) for name, n in _pairs(flat)} for target, flat in found if flat}

    async def get(self, id_: str) -> Row | None:
        """Return one act."""
        found = await self._some([id_.encode()])
        return found[0] if found else None

    async def rows(self, states: Collection[str] = (), target: str = "", lead_id: str = "") -> list[Row]:
        """Return acts, oldest first."""
        found: dict[str, Row] = {}
        async for ids in self._found(states, target, lead_id):
            found |= {row.id: row for row in await self._some(ids)}
        rows = [row for row in found.values() if (not states or row.state in states) and target in ("", row.target)]
        return sorted(rows, key=lambda row: (row.created_ms, row.id))

    async def _found(self, states: Collection[str], target: str, lead_id: str) -> AsyncIterator[list[bytes]]:
        """Yield pages of ids, some of them twice or changed since."""
        if lead_id:
            ids = sorted(await self._run(lambda: self._commands.smembers(f"{self._prefix}lead:{lead_id}")))
            for first in range(0, len(ids), ROWS_AT_ONCE):
                yield ids[first : first + ROWS_AT_ONCE]
            return
        async for page in self._ids(states or STATES, [target] if target else await self._targets()):
            yield page

    async def _targets(self) -> list[str]:
        members = await self._run(lambda: self._commands.smembers(self._prefix + "targets"))
        return sorted(member.decode() for member in members)

    async def _ids(self, states: Collection[str], targets: Collection[str]) -> AsyncIterator[list[bytes]]:
        """Yield pages of ids of acts in *states* at *targets*."""
        for key in [f"{self._prefix}is:{state}:{target}" for target in targets for state in states]:
            async for page in self._scan(key):
                yield page

    async def _scan(self, key: str) -> AsyncIterator[list[bytes]]:
        cursor = 0
        while True:
            cursor, members = await self._page(key, cursor)
            for first in range(0, len(members), ROWS_AT_ONCE):
                yield [member for member, _ in members[first : first + ROWS_AT_ONCE]]
            if not cursor:
                return

    async def _page(self, key: str, cursor: int) -> tuple[int, list[tuple[bytes, float]]]:
        page: tuple[int, list[tuple[bytes, float]]] = await self._run(
            lambda: self._commands.zscan(key, cursor=cursor, count=_PAGE)
        )
        return int(page[0]), page[1]

    async def _some(self, ids: Sequence[bytes]) -> list[Row]:
        found = await self._ask("rows", *ids, read=True)
        return [self._row(id_, flat) for id_, flat in zip(ids, found, strict=True) if flat]

    def _row(self, id_: bytes, flat: Sequence[bytes]) -> Row:
        try:
            return row_of(id_, flat)
        except (KeyError, ValueError) as error:
            raise StoreRefused(
                f"{self._where}: an act cannot be read ({error}); something else writes under its key"
            ) from error
