"""What an emptied partition can be rebuilt from: a checkpoint and the topics after it, or the topics from its first batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.adapters.checkpoint_files import Files
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.core.contract.journal import Cut, Cuts, JournalError, decode_entry
from worker.core.contract.model import Record
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.kept import Kept, kept, reaches
from worker.ports import LogPartition
from worker.settings import Settings

_FETCH_S: Final = 1.0
_PATIENCE_S: Final = 10.0
_MOST_RECORDS: Final = 5_000
"""Of a journal's beginning, in which its first cut is looked for."""


class Way(NamedTuple):
    """How one partition can be rebuilt now."""

    partition: int
    checkpoint: Kept | None
    """The newest one that the topics reach back to; `None` without any."""
    oldest: Kept | None
    """The oldest one that they do."""
    from_first: bool
    """Whether the topics still hold everything since the first batch."""
    until_ms: int | None
    """Until about when `checkpoint` can be used, by the shortest retention; `None` for ever."""
    unusable: list[str]
    """What is wrong with other checkpoints."""

    @property
    def possible(self) -> bool:
        """Whether there is any way."""
        return self.checkpoint is not None or self.from_first

    @property
    def other_fold(self) -> int:
        """The version of the fold that the checkpoint was written by, where it is not this program's; else 0."""
        fold = FOLD_VERSION if self.checkpoint is None else self.checkpoint.manifest.fold
        return 0 if fold == FOLD_VERSION else fold


async def ways(settings: Settings, admin: Admin, files: Files | None, partitions: Sequence[int]) -> list[Way]:
    """Return how each of *partitions* can be rebuilt, by its checkpoints in *files* and by what Kafka's topics hold."""
    found: dict[int, tuple[list[Kept], list[str]]] = {}
    for p in partitions:
        unusable: list[str] = []
        held = [] if files is None else await asyncio.to_thread(kept, files, settings.namespace, p, unusable.append)
        found[p] = held, unusable
    topics = {*settings.topics, *(topic for held, _ in found.values() for one in held for topic in one.manifest.next)}
    there = {topic for topic, count in (await admin.partitions(topics)).items() if count > max(partitions)}
    retention_ms = await _retention_ms(settings, admin, there)
    tps = [LogPartition(topic, p) for topic in sorted(there) for p in partitions]
    async with free_reader(settings, tps) as reader:
        starts, ends = await asyncio.gather(reader.starts(tps), reader.ends(tps))
    begun = await _begun(settings, starts)
    result: list[Way] = []
    for p, (held, unusable) in found.items():
        start = {tp.topic: offset for tp, offset in starts.items() if tp.partition == p}
        end = {tp.topic: offset for tp, offset in ends.items() if tp.partition == p}
        usable = []
        for one in held:
            why = reaches(one.manifest, start, end) or _misfit(settings, one)
            if why:
                unusable.append(f"{one.name}: {why}")
            else:
                usable.append(one)
        newest = usable[0] if usable else None
        until_ms = None if newest is None or retention_ms is None else newest.manifest.created_ms + retention_ms
        result.append(Way(p, newest, usable[-1] if usable else None, p in begun, until_ms, unusable))
    return result


def _misfit(settings: Settings, one: Kept) -> str:
    count = one.manifest.partitions
    return "" if count == settings.partitions else f"it was made with {count} partitions"


async def _retention_ms(settings: Settings, admin: Admin, topics: set[str]) -> int | None:
    """Return the shortest retention of the inputs and the journal; `None` without any, or where nobody says."""
    if settings.development:
        return None
    configs = await admin.configs(sorted(topics & set(settings.topics)))
    known = [int(config["retention.ms"]) for config in configs.values() if "delete" in config["cleanup.policy"]]
    return min((ms for ms in known if ms >= 0), default=None)


async def _begun(settings: Settings, starts: dict[LogPartition, int]) -> set[int]:
    """Return the partitions whose journal still begins with the cut of batch 0, and whose topics hold what that names."""
    cuts = await _first_cuts(settings, {tp: at for tp, at in starts.items() if tp.topic == settings.internal_topic})
    return {
        p
        for p, cut in cuts.items()
        if cut.batch == 0 and all(starts.get(LogPartition(topic, p), offset) <= offset for topic, offset in cut.next.items())
    }


async def _first_cuts(settings: Settings, starts: dict[LogPartition, int]) -> dict[int, Cut]:
    """Return, by partition, the first cut in each of these journals, where its beginning has any that can be read."""
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
                cut = next((cut for record in got.records if (cut := _cut_in(record)) is not None), None)
                if cut is not None:
                    found[tp.partition] = cut
                if cut is not None or left[tp] <= 0 or got.next >= ends[tp]:
                    del left[tp]
    return found


def _cut_in(record: Record) -> Cut | None:
    """Return the first cut of a journal's record; `None` for a record without any, or of another program."""
    try:
        match decode_entry(record):
            case Cuts(cuts) if cuts:
                return cuts[0]
    except JournalError:
        pass
    return None
