"""Finds how an empty partition can be rebuilt: from a checkpoint and the topics after it, or from the topics alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.adapters.stored_files import Files
from worker.core.contract.journal import Cut, Cuts, JournalError, decode_entry
from worker.core.contract.model import Record
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.kept import Kept, kept, reaches
from worker.ports import LogPartition
from worker.settings import Settings

_FETCH_S: Final = 1.0
_PATIENCE_S: Final = 10.0
_MOST_RECORDS: Final = 5_000
"""Records at a journal's beginning that may hold its first cut."""


class Way(NamedTuple):
    """The ways in which one partition can be rebuilt now."""

    partition: int
    checkpoint: Kept | None
    """The newest checkpoint that the topics reach back to; `None` without any."""
    oldest: Kept | None
    """The oldest such checkpoint."""
    from_first: bool
    """Whether the topics still hold everything since the first batch."""
    until_ms: int | None
    """The time until which `checkpoint` can be used, by the shortest retention; `None` without a limit."""
    unusable: list[str]
    """Other checkpoints, each with its fault."""

    @property
    def possible(self) -> bool:
        """Whether the partition can be rebuilt."""
        return self.checkpoint is not None or self.from_first

    @property
    def other_fold(self) -> int:
        """The checkpoint's version of the fold if it is not this program's, else 0."""
        fold = FOLD_VERSION if self.checkpoint is None else self.checkpoint.manifest.fold
        return 0 if fold == FOLD_VERSION else fold


class _Logs(NamedTuple):
    """The topics of all partitions, as they are now."""

    starts: dict[LogPartition, int]
    ends: dict[LogPartition, int]
    retention_ms: int | None
    """The shortest retention; `None` without a limit."""
    begun: set[int]
    """Partitions whose topics hold everything since the first batch."""


async def ways(settings: Settings, admin: Admin, files: Files | None, partitions: Sequence[int]) -> list[Way]:
    """Return how each of *partitions* can be rebuilt, by its checkpoints in *files* and by the records in Kafka's topics."""
    found: dict[int, tuple[list[Kept], list[str]]] = {}
    for p in partitions:
        unusable: list[str] = []
        held = [] if files is None else await asyncio.to_thread(kept, files, settings.namespace, p, unusable.append)
        found[p] = held, unusable
    topics = {topic for held, _ in found.values() for one in held for topic in one.manifest.next}
    logs = await _logs(settings, admin, {*settings.topics, *topics}, partitions)
    return [_way(settings, p, held, unusable, logs) for p, (held, unusable) in found.items()]


async def _logs(settings: Settings, admin: Admin, topics: set[str], partitions: Sequence[int]) -> _Logs:
    there = {topic for topic, count in (await admin.partitions(topics)).items() if count > max(partitions)}
    retention_ms = await _retention_ms(settings, admin, there)
    tps = [LogPartition(topic, p) for topic in sorted(there) for p in partitions]
    async with free_reader(settings, tps) as reader:
        starts, ends = await asyncio.gather(reader.starts(tps), reader.ends(tps))
    return _Logs(starts, ends, retention_ms, await _begun(settings, starts))


def _way(settings: Settings, p: int, held: Sequence[Kept], unusable: list[str], logs: _Logs) -> Way:
    """Return how partition *p* can be rebuilt from the checkpoints *held*, the newest first. Adds to *unusable*."""
    starts = {tp.topic: offset for tp, offset in logs.starts.items() if tp.partition == p}
    ends = {tp.topic: offset for tp, offset in logs.ends.items() if tp.partition == p}
    usable = []
    for one in held:
        why = reaches(one.manifest, starts, ends) or _misfit(settings, one)
        if why:
            unusable.append(f"{one.name}: {why}")
        else:
            usable.append(one)
    if not usable:
        return Way(p, None, None, p in logs.begun, None, unusable)
    newest = usable[0]
    until_ms = None if logs.retention_ms is None else newest.manifest.created_ms + logs.retention_ms
    return Way(p, newest, usable[-1], p in logs.begun, until_ms, unusable)


def _misfit(settings: Settings, one: Kept) -> str:
    count = one.manifest.partitions
    return "" if count == settings.partitions else f"it was made with {count} partitions"


async def _retention_ms(settings: Settings, admin: Admin, topics: set[str]) -> int | None:
    """Return the shortest retention of the inputs and the journal; `None` without a limit, or if it is unknown."""
    if settings.development:
        return None
    configs = await admin.configs(sorted(topics & set(settings.topics)))
    known = [int(config["retention.ms"]) for config in configs.values() if "delete" in config["cleanup.policy"]]
    return min((ms for ms in known if ms >= 0), default=None)


async def _begun(settings: Settings, starts: dict[LogPartition, int]) -> set[int]:
    """Return the partitions whose journal begins with the cut of batch 0, and whose topics hold all records after it."""
    cuts = await _first_cuts(settings, {tp: at for tp, at in starts.items() if tp.topic == settings.internal_topic})
    return {
        p
        for p, cut in cuts.items()
        if cut.batch == 0 and all(starts.get(LogPartition(topic, p), offset) <= offset for topic, offset in cut.next.items())
    }


async def _first_cuts(settings: Settings, starts: dict[LogPartition, int]) -> dict[int, Cut]:
    """Return the first cut of each partition's journal that has a readable one near its beginning."""
    found: dict[int, Cut] = {}
    async with free_reader(settings, list(starts)) as reader:
        ends = await reader.ends(list(starts))
        left = {tp: _MOST_RECORDS for tp, at in starts.items() if at < ends[tp]}
        for tp in left:
            reader.seek(tp, starts[tp])
        deadline = time.monotonic() + _PATIENCE_S
        while left and time.monotonic() < deadline:
            for tp, got in (await reader.fetch(list(left), _FETCH_S)).items():
                left[tp] -= len(got.records)
                cuts = [cut for record in got.records for cut in _cuts_in(record)]
                if cuts:
                    found[tp.partition] = cuts[0]
                if cuts or left[tp] <= 0 or got.next >= ends[tp]:
                    del left[tp]
    return found


def _cuts_in(record: Record) -> Sequence[Cut]:
    """Return the cuts in a journal's record; none for a record of another kind or of another program."""
    try:
        entry = decode_entry(record)
    except JournalError:
        return ()
    return entry.cuts if isinstance(entry, Cuts) else ()
