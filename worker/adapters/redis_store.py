"""One partition's state in Redis, through a library of Redis functions.

Every key of partition p of a namespace carries the hash tag `{NAMESPACE:p}`, so each call touches one slot:

- `{ns:p}:lead:LEAD`: a hash. `state` is packed, `score fit engagement stage grade updated_at` are text.
  Under a grid with phases so is `phase`.
  An erased lead has only `state`, its mark. A long state may lie in pieces, see `lead_fields`.
- `{ns:p}:position`: a hash with `owner notes batch next:TOPIC published partitions grid words clock`.
  `leads:STAGE` counts the leads of a stage as of batch `counted`.
  `strayed horizon regraded requeue rebuild restoring inputs` are there where set.
- `{ns:p}:grid`: the text of the grid that the position names by its hash.
- `{ns:grids}:order`: a hash of the whole namespace, the order of its grids and the text of the last one (`RedisOrder`).
- `{ns:p}:due`, `{ns:p}:rank`: sorted sets of leads, by instant (ms) and by upper bound of the score.
- `{ns:p}:outbox`: a stream, one entry a batch, id `BATCH-0`, field `entry` (msgpack of `worker.ports.OutboxEntry`).
- `{ns:p}:checkpoint`, `{ns:p}:changed`: while a checkpoint is taken, its token and the leads that changed meanwhile.

A batch is one `FCALL`, and the fields of all its leads are one msgpack blob. The client's encoding of arguments is the cost,
Redis is not. The packed states travel beside it, an argument each, because Redis' msgpack knows text but no binary.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import attrgetter
from typing import Any

import msgspec

from worker.adapters.redis_client import WHAT_TO_DO, Caller, Client
from worker.adapters.redis_scan import lead_fields
from worker.core.scoring.state import STAGES
from worker.errors import StaleStore, StoreFull, StoreRefused
from worker.ports import Applied, Batch, Due, OutboxEntry, Position

_LEAD_FIELDS = attrgetter("lead", "score", "fit", "engagement", "stage", "grade", "updated_at", "due_ms", "rank", "phase")

_OUTBOX_PAGE = 100
"""Outbox entries asked for at once: an entry with dead letters may hold megabytes, and one reply must fit the time-out."""


def _position(flat: Sequence[bytes], where: str) -> Position:
    def instant(name: str) -> int | None:
        return int(fields[name]) if name in fields else None

    try:
        fields = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
        counted = fields.get("counted") == fields.get("batch")
        leads = {name[6:]: int(text) for name, text in fields.items() if counted and name.startswith("leads:") and text != "0"}
        return Position(
            owner=fields.get("owner", ""),
            batch=int(fields.get("batch", 0)),
            next={name[5:]: int(offset) for name, offset in fields.items() if name.startswith("next:")},
            published=int(fields.get("published", 0)),
            partitions=int(fields.get("partitions", 0)),
            grid=fields.get("grid", ""),
            words=fields.get("words", ""),
            clock_ms=instant("clock"),
            strayed_ms=instant("strayed"),
            horizon_ms=instant("horizon"),
            regraded_ms=instant("regraded"),
            requeued=int(fields["requeue"].split(" ")[2]) if "requeue" in fields else None,
            rebuild="rebuild" in fields,
            leads=leads,
            counted=counted,
            inputs=tuple(fields["inputs"].split(",")) if "inputs" in fields else (),
            ids={name[3:]: held for name, held in fields.items() if name.startswith("id:")},
            order=int(fields.get("order", 0)),
            begun=fields.get("begun", ""),
        )
    except (ValueError, IndexError) as error:
        raise StoreRefused(
            f"{where}: a field of the position is not valid text or not a number ({error}); restore it or rebuild the partition"
        ) from error


def _position_fields(batch: Batch) -> list[str]:
    """Return the names and values that *batch* sets in the position. A `clock_ms` or `strayed_ms` of `None` sets nothing."""
    cut = batch.entry.cut
    fields = ["batch", str(cut.batch), "grid", cut.grid, "words", cut.words]
    for topic, offset in cut.next.items():
        fields += ("next:" + topic, str(offset))
    for topic, id_ in cut.topic_ids().items():
        fields += ("id:" + topic, id_)
    if batch.clock_ms is not None:
        fields += ("clock", str(batch.clock_ms))
    if batch.strayed_ms is not None:
        fields += ("strayed", str(batch.strayed_ms))
    if batch.grid is not None:
        fields += ("order", str(cut.order), "begun", cut.words)
    return fields


class RedisOrder(Caller):
    """`worker.ports.OrderStore` in Redis: the hash `{NAMESPACE:grids}:order`, which no partition owns."""

    def __init__(self, client: Client, namespace: str) -> None:
        super().__init__(client, namespace, f"the order of grids of namespace {namespace} in Redis")
        self._key = f"{{{namespace}:grids}}:order"

    async def order(self) -> bytes | None:
        """Return the order; `None` before the first."""
        return await self._field("order")

    async def text(self) -> bytes | None:
        """Return the text of the grid in force."""
        return await self._field("text")

    async def swap(self, expected: bytes | None, order: bytes, text: bytes | None) -> bool:
        """Replace *expected* by *order*, if Redis holds *expected*; see `worker.ports.OrderStore`."""
        return bool(await self._call("swap", [self._key], expected or b"", order, text or b""))

    async def _field(self, name: str) -> bytes | None:
        fields: list[bytes | None] = await self._run(lambda: self._commands.hmget(self._key, name))
        return fields[0]


class RedisStore(Caller):
    """`worker.ports.Store` in Redis. Holds no state of its own: several may share one client, made by `connect`."""

    def __init__(self, client: Client, namespace: str, partition: int) -> None:
        super().__init__(client, namespace, f"partition {partition} of namespace {namespace} in Redis")
        tag = f"{{{namespace}:{partition}}}:"
        self._lead = tag + "lead:"
        self._position = tag + "position"
        self._due = tag + "due"
        self._rank = tag + "rank"
        self._outbox = tag + "outbox"
        self._grid = tag + "grid"
        self._keys = (self._position, self._due, self._rank, self._outbox, self._grid)

    @property
    def where(self) -> str:
        """The name of this partition in messages."""
        return self._where

    async def acquire(self, token: str, partitions: int) -> Position:
        """Become the owner and return where the partition stands; see `worker.ports.Store`.

        *partitions* is written while no batch has been applied. `StoreRefused` when the position is gone but not all keys are.
        """
        position = _position(await self._call("acquire", self._keys, token, str(partitions)), self._where)
        counts: list[int] = [0] * (1 + len(STAGES))
        while position.batch and not position.counted:  # in slices: Redis answers no other call meanwhile
            counts = await self._call("count", self._keys, token, str(position.batch), *map(str, counts))
            position = await self.position()
        return position

    async def load(self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = inf) -> list[bytes | None]:
        """Return each lead's packed state, in the order asked, up to *most* bytes; with *token*, as *batch* left them.

        One call, and Redis counts the bytes: the caller cannot know how large the states are.
        """
        if not leads:
            return []
        keys = [self._position, *[self._lead + lead for lead in leads]]
        states: list[bytes | None] | None = await self._call("load", keys, token, str(batch), str(most), read=True)
        if states is None:
            raise StaleStore(f"{self._where} is not at batch {batch} of {token}")
        return states

    async def apply(self, token: str, batch: Batch) -> Applied:
        """Write *batch* whole or not at all; *batch* names each lead once.

        One atomic function writes leads, `due`, `rank`, outbox entry and position. Before its first write it tries everything
        that Redis could refuse. At `maxmemory` Redis refuses that function. Then `apply_smaller` is called, which takes only
        batches that make no lead larger.
        """
        cut = batch.entry.cut
        prefix = self._lead
        keys = [*self._keys, *[prefix + write.lead for write in batch.writes]]
        arguments: tuple[str | bytes, ...] = (
            token,
            str(cut.batch),
            str(cut.batch - 1),
            msgspec.msgpack.encode(
                (_position_fields(batch), [kind + topic for topic in batch.left for kind in ("next:", "id:")])
            ),
            msgspec.msgpack.encode([_LEAD_FIELDS(write) for write in batch.writes]),
            msgspec.msgpack.encode(batch.entry) if batch.send else b"",
            batch.grid or b"",
            str(batch.clock_ms or 0),
            str(cut.requeued),
            *[write.state for write in batch.writes],
        )
        try:
            answer: bytes = await self._call("apply", keys, *arguments)
        except StoreFull:
            answer = await self._call("apply_smaller", keys, *arguments)
        return Applied(answer.decode())

    async def due(self, by_ms: int, limit: int, token: str = "", batch: int = 0) -> Due:
        """Return at most *limit* leads due by *by_ms*, earliest first, then by id (its UTF-8 bytes); see the port."""
        keys = (self._position, self._due)
        found = await self._call("due", keys, token, str(batch), str(by_ms), str(limit), read=True)
        if found is None:
            raise StaleStore(f"{self._where} is not at batch {batch} of {token}")
        unlisted, leads = found
        return Due([self._text(lead) for lead in leads], bool(unlisted))

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """Return the outbox entries of batches past *after*, in order.

        Raises `StoreRefused` for an entry that this version cannot read.
        """
        entries: list[OutboxEntry] = []
        while True:
            page = await self._page(after)
            for entry_id, fields in page:
                try:
                    entry = msgspec.msgpack.decode(fields[b"entry"], type=OutboxEntry)
                except (KeyError, ValueError, msgspec.DecodeError) as error:
                    raise StoreRefused(
                        f"{self._where}: outbox entry {entry_id.decode()} cannot be read ({error}); "
                        "run the version of the worker that wrote it until the outbox is empty"
                    ) from error
                entries.append(entry)
                after = entry.cut.batch
            if len(page) < _OUTBOX_PAGE:
                return entries

    async def _page(self, after: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        page: list[tuple[bytes, dict[bytes, bytes]]] = await self._run(
            lambda: self._commands.xrange(self._outbox, f"({after}-0", "+", count=_OUTBOX_PAGE)
        )
        return page

    async def trim(self, token: str, published: int, horizon_ms: int | None = None) -> None:
        """Drop outbox entries up to batch *published*. Store it and the horizon, which never move back."""
        horizon_text = "" if horizon_ms is None else str(horizon_ms)
        await self._call("trim", self._keys, token, str(published), str(published + 1), horizon_text)

    async def position(self) -> Position:
        """Return where the partition stands, without owning it; a position with `partitions` 0 for an empty partition."""
        fields = await self._run(lambda: self._commands.hgetall(self._position))
        return _position([part for pair in fields.items() for part in pair], self._where)

    async def grid(self) -> bytes | None:
        """Return the text of the grid that the position names; `None` before the first batch."""
        source: bytes | None = await self._run(lambda: self._commands.get(self._grid))
        return source

    async def top(self, count: int, offset: int = 0) -> list[tuple[str, float]]:
        """Return *count* leads from *offset* on by falling `rank`, equal ones by falling id."""
        if count < 1:
            return []
        stop = offset + count - 1
        found = await self._run(lambda: self._commands.zrevrange(self._rank, offset, stop, withscores=True))
        return [(self._text(lead), float(rank)) for lead, rank in found]

    def _text(self, lead: bytes) -> str:
        try:
            return lead.decode()
        except UnicodeDecodeError as error:
            raise StoreRefused(
                f"{self._where}: an entry of {len(lead)} bytes in `due` or `rank` is no lead's id ({error.reason});"
                f" {WHAT_TO_DO['WRONGTYPE']}"
            ) from error

    async def lead(self, lead: str) -> dict[str, bytes]:
        """Return the lead's fields, its state in one piece; empty for a lead that is not held."""
        return lead_fields(await self._run(lambda: self._commands.hgetall(self._lead + lead)))

    async def schedule(self, lead: str) -> tuple[int | None, float | None]:
        """Return when *lead* is due (ms) and the upper bound of its score; `None` where it is off the list."""
        due_ms = await self._run(lambda: self._commands.zscore(self._due, lead))
        rank = await self._run(lambda: self._commands.zscore(self._rank, lead))
        return None if due_ms is None else int(due_ms), None if rank is None else float(rank)

    async def allow_rebuild(self) -> None:
        """Let the next owner fill this empty partition again from the topics (an operator's decision).

        Sets `rebuild`, which `acquire` reports. The first applied batch removes it, so a Redis that is emptied again needs
        another decision. Raises `StoreRefused` when the partition is not empty.
        """
        await self._call("allow_rebuild", self._keys)

    async def allow_inputs(self, topics: Sequence[str]) -> None:
        """Let the next owner read *topics* instead of the present inputs (an operator's decision).

        Raises `StoreRefused` when the partition is empty: its first owner begins with whatever topics it is given.
        """
        await self._call("allow_inputs", self._keys, ",".join(sorted(topics)))

    async def call(self, function: str, *args: str | bytes, leads: Sequence[str] = ()) -> Any:
        """Run a function of the library on the partition's keys and those of *leads*, for other adapters."""
        return await self._call(function, [*self._keys, *[self._lead + lead for lead in leads]], *args)
