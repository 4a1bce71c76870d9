"""Copies all leads of one namespace into another, which may have more partitions.

A lead's owner is murmur2(id) mod N, so more partitions move most leads. They are copied into another namespace, and the old one
is never written. A copy that was cut short can be deleted and made again. To go back, start the old workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.redis_client import Client
from worker.adapters.redis_scan import leads_of
from worker.adapters.redis_store import RedisStore
from worker.core.contract.codec import decode
from worker.core.contract.folded import in_order, is_id
from worker.core.contract.journal import Cut, OwnerMessage, Stray, decode_entry, message_output, stray_output
from worker.core.contract.marks import shown_mark
from worker.core.contract.model import Event, LeadWrite, Output, Record
from worker.core.contract.partitioner import owner
from worker.core.scoring.state import FOLD_VERSION, UnreadableState, pack, unpack
from worker.engine.checks import check_topics
from worker.engine.repartition_acts import copy_acts
from worker.engine.witnesses import ask
from worker.errors import WorkerMustStop
from worker.ports import Applied, Batch, LogPartition, OutboxEntry, Position
from worker.settings import Settings

BATCH = 500
_TOKEN = "0:0:repartition"
"""The lowest token. The first worker takes every partition over from it."""


class Repartitioned(msgspec.Struct, frozen=True):
    """The numbers of copied leads and records."""

    leads: int
    erased: int
    """Marks of erased leads and of aliases. Erased leads stay erased."""
    strays: int
    """Records in the old journal for an owner that has not read them. They are forwarded to the new owner."""
    partitions: int
    acts: int = 0
    """The number of copied acts of `leadpulse act`. Suppressed addresses are copied too."""


async def repartition(old: Settings, new: Settings, client: Client) -> Repartitioned:
    """Copy every lead of *old* into the empty namespace of *new*, each to its owner there.

    Input offsets are kept, so the first worker of *new* continues where the last one of *old* stopped. Unread records stay on
    their partition, and reach their new owner as strays. Raises `WorkerMustStop`, with the remedy, unless *old* is at rest and
    *new* is empty.
    """
    positions = await _old_positions(old, client)
    old = old.model_copy(update={"partitions": len(positions)})
    if new.partitions < old.partitions:
        raise WorkerMustStop(
            f"{old.namespace} has {old.partitions} partitions: {new.partitions} are too few, Kafka cannot take partitions away"
        )
    async with Admin(new) as admin:
        await check_topics(new, admin)
        members = await admin.members(old.group)
        if members:
            raise WorkerMustStop(f"{members} workers of {old.namespace} are running: stop them (SIGTERM), then copy")
    await _check_rest(old, positions)
    stores = [RedisStore(client, new.namespace, p) for p in range(new.partitions)]
    await _check_empty(new, stores)
    strays = await _strays(old, new, positions)
    starts = await _starts(new)
    async with Admin(new) as admin:
        acts = await copy_acts(old, new, admin, client)
    copy = _Copy(stores, positions, starts)
    async for partition, write in leads_of(client, old.namespace):
        await copy.add(owner(write.lead, new.partitions), _with_clock(write, positions[partition].clock_ms))
    for p in range(new.partitions):
        await copy.close(p, new, strays[p] if p < len(strays) else [])
    return Repartitioned(copy.leads, copy.erased, sum(map(len, strays)), new.partitions, acts.acts)


async def _old_positions(old: Settings, client: Client) -> list[Position]:
    first = await RedisStore(client, old.namespace, 0).position()
    if not first.batch:
        raise WorkerMustStop(f"namespace {old.namespace} holds nothing: is it the right one, and the right Redis?")
    found = [await RedisStore(client, old.namespace, p).position() for p in range(first.partitions)]
    empty = [p for p, position in enumerate(found) if not position.batch]
    if empty:
        raise WorkerMustStop(
            f"partitions {empty} of {old.namespace} were never taken over: run its workers until /readyz shows all of them"
        )
    return found


async def _check_rest(old: Settings, positions: Sequence[Position]) -> None:
    async with Admin(old) as admin, free_reader(old, []) as reader:
        cluster = KafkaLog(old, admin, reader)
        for p, position in enumerate(positions):
            published = (await ask(old, p, position, await cluster.committed(p), cluster)).published
            if position.batch != published:
                raise WorkerMustStop(
                    f"partition {p} of {old.namespace} is at batch {position.batch}, and {published} is known to be published:"
                    " start its workers once more and stop them with SIGTERM; they bring the two together"
                )


async def _check_empty(new: Settings, stores: Sequence[RedisStore]) -> None:
    held = [p for p, store in enumerate(stores) if (await store.position()).partitions]
    if held:
        raise WorkerMustStop(
            f"partitions {held} of {new.namespace} are not empty: copy into another namespace, or, if a copy was cut short,"
            f" delete its keys ({{{new.namespace}:*) first"
        )


async def _starts(new: Settings) -> list[dict[str, int]]:
    """Return the start of each partition's topics. A partition that the old namespace did not have begins there."""
    tps = [LogPartition(topic, p) for topic in new.topics for p in range(new.partitions)]
    async with free_reader(new, tps) as reader:
        starts, ends = await asyncio.gather(reader.starts(tps), reader.ends(tps))
    used = [tp.partition for tp in tps if tp.topic == new.internal_topic and ends[tp]]
    if used:
        raise WorkerMustStop(
            f"{new.internal_topic} holds records: {new.namespace} has been run before; copy into another namespace"
        )
    return [{topic: starts[LogPartition(topic, p)] for topic in new.topics} for p in range(new.partitions)]


async def _strays(old: Settings, new: Settings, positions: Sequence[Position]) -> list[list[Output]]:
    """Return the unread records of each partition's old journal, addressed to their owners in *new*."""
    found: list[list[Output]] = []
    for p, position in enumerate(positions):
        waiting: list[Output] = []
        async for record in _journal(old, p, position.next[old.internal_topic]):
            match decode_entry(record):
                case Stray(original, lead, visited):
                    event = decode(original)
                    home = owner(lead or event.lead, new.partitions) if isinstance(event, Event) else p
                    waiting.append(stray_output(new.internal_topic, home, original, lead, visited))
                case OwnerMessage(message):
                    waiting.append(message_output(new.internal_topic, owner(message.lead, new.partitions), message))
        found.append(waiting)
    return found


async def _journal(old: Settings, partition: int, start: int) -> AsyncIterator[Record]:
    tp = LogPartition(old.internal_topic, partition)
    async with free_reader(old, [tp]) as reader:
        end = (await reader.ends([tp]))[tp]
        reader.seek(tp, start)
        while await reader.position(tp) < end:
            for record in (await reader.fetch([tp], 0.5))[tp].records:
                yield record


def _with_clock(write: LeadWrite, clock_ms: int | None) -> LeadWrite:
    """Return *write* with the clock of its old partition. The clock of the new partition may be behind."""
    try:
        state = unpack(write.state)
    except UnreadableState as err:
        raise UnreadableState(f"lead with mark {shown_mark(write.lead)}: {err}") from err
    if clock_ms is None or not state.alive or state.clock_ms >= clock_ms:
        return write
    state.clock_ms = clock_ms
    return msgspec.structs.replace(write, state=pack(state))


class _Copy:
    """Writes leads into the new stores, in batches. A partition can be taken over only after its last batch."""

    def __init__(self, stores: Sequence[RedisStore], positions: Sequence[Position], starts: Sequence[dict[str, int]]) -> None:
        self._stores = stores
        self._positions = positions
        self._starts = starts
        self._waiting: list[list[LeadWrite]] = [[] for _ in stores]
        self._batches = [0] * len(stores)
        self.leads = 0
        self.erased = 0

    async def add(self, partition: int, write: LeadWrite) -> None:
        """Add one lead to *partition*."""
        self._waiting[partition].append(write)
        if write.rank is None:
            self.erased += 1
        else:
            self.leads += 1
        if len(self._waiting[partition]) >= BATCH:
            await self._apply(partition, Batch(OutboxEntry(self._cut(partition, {}), ()), (), None, send=False))

    async def close(self, partition: int, new: Settings, strays: Sequence[Output]) -> None:
        """Write the last leads of *partition*, with its offsets. Its first transaction sends the *strays*."""
        starts = self._starts[partition]
        old = self._positions[partition].next if partition < len(self._positions) else {}
        next_ = {topic: old.get(topic, starts[topic]) if topic != new.internal_topic else 0 for topic in new.topics}
        clocks_ms = [position.clock_ms for position in self._positions]
        clock_ms = None if None in clocks_ms else min(at_ms for at_ms in clocks_ms if at_ms is not None)
        await self._apply(partition, Batch(OutboxEntry(self._cut(partition, next_), tuple(strays)), (), clock_ms))
        await self._stores[partition].trim(_TOKEN, self._batches[partition] - 1)

    def _cut(self, partition: int, next_: dict[str, int]) -> Cut:
        # Without a grid: so the first worker begins its own grid, and judges every lead once more.
        self._batches[partition] += 1
        is_new = partition >= len(self._positions)
        held = self._positions[0 if is_new else partition].ids
        ids = {topic: text for topic, text in held.items() if is_id(text) or not is_new}  # a mark belongs to one partition
        return Cut(self._batches[partition], next_, "", "", FOLD_VERSION, ids=in_order(next_, ids))

    async def _apply(self, partition: int, batch: Batch) -> None:
        store = self._stores[partition]
        if batch.entry.cut.batch == 1:
            await store.acquire(_TOKEN, len(self._stores))
        writes, self._waiting[partition] = self._waiting[partition], []
        applied = await store.apply(_TOKEN, msgspec.structs.replace(batch, writes=writes))
        if applied is not Applied.DONE:
            raise WorkerMustStop(
                f"partition {partition} of the new namespace changed while it was filled: does another program write to it?"
            )
