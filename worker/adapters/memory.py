"""One partition's state in memory. One test suite checks that it answers as Redis does, so other tests can use it."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import inf, isnan
from typing import NamedTuple

import msgspec

from worker.core.contract.model import LeadWrite
from worker.errors import Fenced, StaleStore, StoreRefused
from worker.ports import LISTED, Applied, Batch, Due, OutboxEntry, Position

_TOKEN = re.compile(r"([0-9]+):([0-9]+):.")


class Requeue(NamedTuple):
    """Progress of a new grid: how many leads it has made due."""

    from_ms: int
    rate: int
    listed: int
    last: tuple[float, str] | None
    """Rank and lead of the last one that was made due."""

    def next_ms(self) -> int:
        """Return when the next lead is made due."""
        return self.from_ms + self.listed * 1_000 // self.rate


@dataclass(slots=True)
class Snapshot:
    """Everything a partition holds at one moment, for `MemoryStore.restore`."""

    position: Position = field(default_factory=lambda: Position("", 0, {}, 0, 0, "", "", None))
    leads: dict[str, LeadWrite] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    rank: dict[str, float] = field(default_factory=dict)
    outbox: dict[int, OutboxEntry] = field(default_factory=dict)
    grid: bytes | None = None
    requeue: Requeue | None = None

    def copy(self) -> Snapshot:
        """Return a copy that shares only values that never change."""
        return replace(
            self,
            position=deepcopy(self.position),
            leads=dict(self.leads),
            due=dict(self.due),
            rank=dict(self.rank),
            outbox=dict(self.outbox),
        )


class MemoryOrder:
    """`worker.ports.OrderStore` in memory."""

    def __init__(self) -> None:
        self._order: bytes | None = None
        self._text: bytes | None = None

    async def order(self) -> bytes | None:
        """Return the order; `None` before the first."""
        return self._order

    async def text(self) -> bytes | None:
        """Return the text of the grid in force."""
        return self._text

    async def swap(self, expected: bytes | None, order: bytes, text: bytes | None) -> bool:
        """Replace *expected* by *order*. Return False, and change nothing, if the store holds another order."""
        if self._order != expected:
            return False
        self._order, self._text = order, self._text if text is None else text
        return True


class MemoryStore:
    """`worker.ports.Store` in memory, with the same answers as `RedisStore`; never unavailable."""

    def __init__(self) -> None:
        self._held = Snapshot()

    def snapshot(self) -> Snapshot:
        """Return what is held now; later writes do not change it."""
        return self._held.copy()

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to *snapshot*, as a Redis restored from an old copy does. `restore(Snapshot())` empties the store."""
        self._held = snapshot.copy()

    def held(self) -> list[str]:
        """Return the ids of all leads held, erased ones (their mark) too, in order."""
        return sorted(self._held.leads)

    async def acquire(self, token: str, partitions: int) -> Position:
        """Become the owner and return where the partition stands; see `worker.ports.Store`."""
        ours = _TOKEN.match(token)
        if ours is None:
            raise StoreRefused(f"the token is not producer-id:epoch:uuid: {token}")
        at = self._held.position
        theirs = _TOKEN.match(at.owner)
        if theirs is not None and theirs[1] == ours[1] and int(theirs[2]) > int(ours[2]):
            raise Fenced(f"the partition belongs to {at.owner}")
        at = msgspec.structs.replace(at, owner=token, partitions=at.partitions if at.batch else partitions)
        self._held.position = at
        return await self.position()

    async def load(self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = inf) -> list[bytes | None]:
        """Return each lead's packed state, in the order asked, up to *most* bytes; with *token*, as *batch* left them."""
        if token and (self._held.position.owner, self._held.position.batch) != (token, batch):
            raise StaleStore(f"not at batch {batch} of {token}")
        held = self._held.leads
        states: list[bytes | None] = []
        for lead in leads:
            state = held[lead].state if lead in held else None
            states.append(state)
            most -= len(state or b"")
            if most <= 0:
                break
        return states

    async def apply(self, token: str, batch: Batch) -> Applied:
        """Write *batch* whole or not at all; *batch* names each lead once."""
        at = self._owned(token)
        cut = batch.entry.cut
        if at.batch == cut.batch:
            return Applied.ALREADY
        if at.batch != cut.batch - 1:
            return Applied.GAP
        held = self._held
        self._check(batch)
        if batch.send:
            held.outbox[cut.batch] = batch.entry
        if batch.grid is not None:
            held.grid = batch.grid
            held.requeue = Requeue(batch.clock_ms or 0, cut.requeued, 0, None)
            regraded_ms = held.requeue._replace(listed=len(held.rank)).next_ms()
            at = msgspec.structs.replace(at, regraded_ms=regraded_ms, order=cut.order, begun=cut.words)
        if held.requeue is not None:
            at = self._list(held.requeue, at)
        for write in batch.writes:
            self._put(write)
        held.position = _moved(at, batch)
        return Applied.DONE

    def _check(self, batch: Batch) -> None:
        """Raise `StoreRefused` for a batch that Redis refuses, before anything is written."""
        if any(write.rank is not None and isnan(write.rank) for write in batch.writes):
            raise StoreRefused("a rank is not a number")
        last = max(self._held.outbox, default=0)
        if batch.send and last >= batch.entry.cut.batch:
            raise StoreRefused(f"the outbox already holds batch {last}")

    def _put(self, write: LeadWrite) -> None:
        """Store one lead."""
        held = self._held
        if write.state or write.score:
            held.leads[write.lead] = write
        else:
            held.leads.pop(write.lead, None)
        if write.due_ms is None:
            held.due.pop(write.lead, None)
        else:
            held.due[write.lead] = write.due_ms
        if write.rank is None:
            held.rank.pop(write.lead, None)
        else:
            held.rank[write.lead] = write.rank

    def _list(self, requeue: Requeue, at: Position) -> Position:
        """Make the next leads due for the new grid; return the position *at* after that."""
        held, last = self._held, requeue.last
        below = ((rank, lead) for lead, rank in held.rank.items() if last is None or (rank, lead) < last)
        found = heapq.nlargest(LISTED, below)
        for rank, lead in found:
            due_ms = min(requeue.next_ms(), held.due.get(lead, inf))
            held.due[lead] = int(due_ms)
            requeue = requeue._replace(listed=requeue.listed + 1, last=(rank, lead))
        held.requeue = requeue if len(found) == LISTED else None
        if held.requeue is not None:
            return msgspec.structs.replace(at, requeued=requeue.listed)
        return msgspec.structs.replace(at, requeued=None, regraded_ms=requeue.next_ms())

    async def due(self, by_ms: int, limit: int, token: str = "", batch: int = 0) -> Due:
        """Return at most *limit* leads due by *by_ms*, earliest first, then by id; see `worker.ports.Store`."""
        if token and (self._held.position.owner, self._held.position.batch) != (token, batch):
            raise StaleStore(f"not at batch {batch} of {token}")
        found = heapq.nsmallest(limit, ((due_ms, lead) for lead, due_ms in self._held.due.items() if due_ms <= by_ms))
        requeue = self._held.requeue
        return Due([lead for _, lead in found], requeue is not None and requeue.next_ms() <= by_ms)

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """Return the outbox entries of batches past *after*, in order."""
        return [entry for batch, entry in sorted(self._held.outbox.items()) if batch > after]

    async def trim(self, token: str, published: int, horizon_ms: int | None = None) -> None:
        """Drop outbox entries up to batch *published*. Store it and the horizon, which never move back."""
        at = self._owned(token)
        self._held.outbox = {batch: entry for batch, entry in self._held.outbox.items() if batch > published}
        horizon_ms = at.horizon_ms if horizon_ms is None else max(horizon_ms, at.horizon_ms or horizon_ms)
        self._held.position = msgspec.structs.replace(at, published=max(at.published, published), horizon_ms=horizon_ms)

    async def position(self) -> Position:
        """Return where the partition stands, without owning it."""
        leads = Counter(write.stage for write in self._held.leads.values() if write.stage)
        return msgspec.structs.replace(deepcopy(self._held.position), leads=dict(leads))

    async def grid(self) -> bytes | None:
        """Return the text of the grid that the position names; `None` before the first batch."""
        return self._held.grid

    async def top(self, count: int, offset: int = 0) -> list[tuple[str, float]]:
        """Return *count* leads from *offset* on by falling `rank`, equal ones by falling id."""
        return self._ranked(offset + count)[offset:] if count > 0 else []

    async def lead(self, lead: str) -> dict[str, bytes]:
        """Return the lead's fields as they are in Redis; empty for a lead that is not held."""
        write = self._held.leads.get(lead)
        if write is None:
            return {}
        if write.score == "":
            return {"state": write.state}
        names = ("score", "fit", "engagement", "stage", "grade", "updated_at")
        phase = {} if write.phase is None else {"phase": write.phase.encode()}
        return {"state": write.state} | {name: getattr(write, name).encode() for name in names} | phase

    async def allow_rebuild(self) -> None:
        """Let the next owner fill this empty partition again from the topics; `StoreRefused` when it is not empty."""
        at = self._held.position
        if at.batch:
            raise StoreRefused(f"the partition holds state up to batch {at.batch}, there is nothing to rebuild")
        self._held.position = msgspec.structs.replace(at, rebuild=True)

    async def allow_inputs(self, topics: Sequence[str]) -> None:
        """Let the next owner read *topics* instead of the present inputs; `StoreRefused` when the partition is empty."""
        at = self._held.position
        if not at.batch:
            raise StoreRefused("the partition is empty: its first owner begins with whatever topics it is given")
        self._held.position = msgspec.structs.replace(at, inputs=tuple(sorted(topics)))

    def _owned(self, token: str) -> Position:
        at = self._held.position
        if not at.owner or at.owner != token:
            raise Fenced(f"the partition belongs to {at.owner}" if at.owner else "the partition has no owner")
        return at

    def _ranked(self, count: int) -> list[tuple[str, float]]:
        return heapq.nlargest(count, self._held.rank.items(), key=lambda item: (item[1], item[0]))


def _moved(at: Position, batch: Batch) -> Position:
    """Return the position after *batch*."""
    cut = batch.entry.cut
    return msgspec.structs.replace(
        at,
        batch=cut.batch,
        next={topic: next_ for topic, next_ in {**at.next, **cut.next}.items() if topic not in batch.left},
        ids={topic: id_ for topic, id_ in {**at.ids, **cut.topic_ids()}.items() if topic not in batch.left},
        grid=cut.grid,
        words=cut.words,
        clock_ms=at.clock_ms if batch.clock_ms is None else batch.clock_ms,
        strayed_ms=at.strayed_ms if batch.strayed_ms is None else batch.strayed_ms,
        rebuild=False,
    )
