"""Findings about rebuilding: from when to when an emptied Redis could be filled again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Literal

from worker.adapters.kafka_admin import Admin
from worker.adapters.stored_files import files_at
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.rebuild import Way, ways
from worker.errors import FilesError
from worker.settings import Settings

Said = tuple[str, Literal["ok", "hint", "warning", "error"], str, str]
"""Area, level, what, what to do."""

_AREA = "rebuild"
_WRITE = "`leadpulse checkpoint` writes new ones; workers do by themselves where LEADPULSE_CHECKPOINT_EVERY is not 0"


async def rebuilds(settings: Settings, admin: Admin) -> AsyncIterator[Said]:
    """Yield damaged checkpoints, partitions that cannot be rebuilt, and from when to when the others can."""
    try:
        files = await asyncio.to_thread(files_at, settings.checkpoints) if settings.checkpoints else None
        by_partition = await ways(settings, admin, files, range(settings.partitions))
    except (FilesError, OSError) as err:
        yield _AREA, "error", f"the checkpoints cannot be read: {err}", "correct LEADPULSE_CHECKPOINTS, or its rights"
        return
    for finding in (*_faults(settings, by_partition), *_possible(settings, by_partition)):
        yield finding


def _faults(settings: Settings, by_partition: list[Way]) -> Iterator[Said]:
    for way in by_partition:
        for words in way.unusable:
            what = f"partition {way.partition}: a checkpoint is of no use: {words}"
            yield _AREA, "warning", what, "keep topics for longer, or remove it"
    lost = [way.partition for way in by_partition if not way.possible]
    if lost:
        what = (
            f"partitions {_list(lost)} could not be rebuilt if Redis were emptied: no checkpoint reaches back into the topics"
        )
        to_do = _WRITE if settings.checkpoints else "set LEADPULSE_CHECKPOINTS, to where all workers can write"
        yield _AREA, "warning", what, to_do
    yield from _other_folds([way for way in by_partition if way.other_fold])


def _other_folds(other: list[Way]) -> Iterator[Said]:
    if other:
        what = f"partitions {_list([way.partition for way in other])}: the newest checkpoint is of fold {other[0].other_fold}"
        to_do = f"a rebuild needs a worker of that version first; or {_WRITE}"
        yield _AREA, "warning", f"{what}, this is {FOLD_VERSION}", to_do


def _possible(settings: Settings, by_partition: list[Way]) -> Iterator[Said]:
    by_checkpoint = [way for way in by_partition if way.checkpoint is not None]
    if by_checkpoint:
        yield _AREA, "ok", _range(by_checkpoint), ""
    rest = [way.partition for way in by_partition if way.checkpoint is None and way.from_first]
    if rest:
        what = f"partitions {_list(rest)} can be rebuilt from their first batch on, while retention keeps all since then"
        yield (_AREA, "hint", what, _WRITE) if settings.checkpoints else (_AREA, "ok", what, "")


def _range(usable: list[Way]) -> str:
    """Return from when to when the partitions with a checkpoint can be rebuilt: what holds for all of them."""
    newest = [way.checkpoint.manifest.created_ms for way in usable if way.checkpoint is not None]
    oldest = [way.oldest.manifest.created_ms for way in usable if way.oldest is not None]
    ends = [way.until_ms for way in usable if way.until_ms is not None]
    until = (
        f"until about {rfc3339(min(ends))} if no newer one is written" if ends else "for as long as the topics keep everything"
    )
    return (
        f"{len(usable)} partitions can be rebuilt from checkpoints of {rfc3339(min(oldest))} to {rfc3339(max(newest))}"
        f" (each partition's newest is of {rfc3339(min(newest))} or later), {until}"
    )


def _list(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))
