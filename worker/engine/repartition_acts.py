"""Copies the acts of a namespace into another one, when the program that acts is at rest and has read all outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.adapters.ledger_copy import Copied, LedgerCopy
from worker.adapters.redis_client import Client
from worker.adapters.redis_ledger import RedisLedger
from worker.core.contract.model import Record, Unread
from worker.errors import WorkerMustStop
from worker.ports import LogPartition
from worker.settings import ActSettings, Settings

_FETCH_S = 0.5


class _Envelope(msgspec.Struct):
    source: str = ""


_decode = msgspec.json.Decoder(_Envelope).decode


async def copy_acts(old: Settings, new: Settings, admin: Admin, client: Client) -> Copied:
    """Copy the ledgers of *old* into those of *new*; see `LedgerCopy.run`. Raises `WorkerMustStop`, with the remedy.

    An output that was not read yet would be lost: the program that acts on *new* reads the outputs of *new* alone.
    """
    positions = [await RedisLedger(client, old.namespace, p).position() for p in range(old.partitions)]
    if new.partitions > old.partitions and any(positions):
        group = ActSettings.model_construct(namespace=old.namespace).group
        members = await admin.members(group)
        if members:
            raise WorkerMustStop(f"{members} processes of `leadpulse act` of {old.namespace} are running: stop them, then copy")
        unread = await _unread(old, positions)
        if unread:
            raise WorkerMustStop(
                f"`leadpulse act` of {old.namespace} has not read {unread} outputs: run it until it has, stop it, then copy"
            )
    return await LedgerCopy(client, old.namespace, old.partitions, new.namespace, new.partitions).run()


async def _unread(old: Settings, positions: Sequence[Mapping[str, int]]) -> int:
    """Return how many outputs of *old* are not in its ledgers."""
    places = {
        LogPartition(topic, p): offset
        for p, position in enumerate(positions)
        for topic, offset in position.items()
        if topic not in old.input_topics and not topic.startswith("#")
    }
    count = 0
    async with free_reader(old, list(places)) as reader:
        ends = await reader.ends(list(places))
        for place, offset in places.items():
            reader.seek(place, offset)
        while left := [place for place in places if await reader.position(place) < ends[place]]:
            for fetched in (await reader.fetch(left, _FETCH_S)).values():
                count += sum(_is_of(record, old.source) for record in fetched.records)
    return count


def _is_of(record: Record | Unread, source: str) -> bool:
    if isinstance(record, Unread) or not record.value:
        return False
    try:
        return _decode(record.value).source == source
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
