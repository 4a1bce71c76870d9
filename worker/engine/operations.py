"""What operators ask for by commands: topics, inputs, a grid by force, checkpoints, rebuilds, a copy for more partitions.

Each operation opens its own connections, and closes them at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_topics import create_topics
from worker.adapters.redis_client import Client, connect, install
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.adapters.stored_files import Files, files_at
from worker.core.batch.checkpoint import CheckpointError, Manifest
from worker.core.grid.models import Grid
from worker.core.grid.order import Entry
from worker.core.grid.tables import TABLES_VERSION
from worker.engine.checkpoints import Taken, take
from worker.engine.checks import check_topics
from worker.engine.grid_order import known, put_in_force
from worker.engine.kept import clean, restore
from worker.engine.rebuild import Way, ways
from worker.engine.repartition import Repartitioned, repartition
from worker.errors import NotTaken, StoreRefused
from worker.settings import Settings


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Client]:
    client = connect(settings.redis.get_secret_value())
    try:
        yield client
    finally:
        await client.aclose()


# --- topics ----------------------------------------------------------------------------------------------------------


async def make_topics(
    settings: Settings, replication: int = -1, *, inbound: bool = False, acted: bool = False
) -> dict[str, str]:
    """Create the missing topics; return `created`, `exists` or `differs: …` by topic.

    *replication* -1: the brokers' default. *inbound*: with the topics of the collector. *acted*: with that of `leadpulse act`.
    """
    async with Admin(settings) as admin:
        return await create_topics(admin, settings, replication, inbound=inbound, acted=acted)


async def change_inputs(settings: Settings) -> dict[str, str]:
    """Permit workers to read *settings.input_topics* from the next take-over on; return `kept`, `new` or `left` by topic.

    Raises `WorkerMustStop` where a topic is missing, or is not as workers need it.
    """
    async with Admin(settings) as admin:
        await check_topics(settings, admin)
    report: dict[str, str] = {}
    async with _redis(settings) as client:
        for p in range(settings.partitions):
            store = RedisStore(client, settings.namespace, p)
            await store.allow_inputs(settings.input_topics)
            read = (await store.position()).next.keys() - {settings.internal_topic}
            report |= {topic: "kept" if topic in read else "new" for topic in settings.input_topics}
            report |= dict.fromkeys(sorted(read - set(settings.input_topics)), "left")
    return report


# --- the grid in force -----------------------------------------------------------------------------------------------


async def grid_in_force(settings: Settings) -> Entry | None:
    """Return the last entry of the namespace's order of grids; `None` before the first."""
    async with _redis(settings) as client:
        _, order = await known(RedisOrder(client, settings.namespace))
        return order[-1] if order else None


def is_in_force(grid: Grid, entry: Entry | None) -> bool:
    """Return whether *entry* is *grid*, judged by this program's tables."""
    return entry is not None and (entry.sha256, entry.tables) == (grid.sha256, TABLES_VERSION)


async def force_grid(settings: Settings, grid: Grid) -> Entry:
    """Put *grid* in force in the namespace, also where workers would refuse it as an older one; return its entry."""
    async with _redis(settings) as client:
        return await put_in_force(RedisOrder(client, settings.namespace), grid)


# --- checkpoints and rebuilds ----------------------------------------------------------------------------------------


def checkpoint_files(settings: Settings) -> Files | None:
    """Return the place of the checkpoints; `None` where none is configured. Raises `FilesError`."""
    return files_at(settings.checkpoints) if settings.checkpoints else None


class Written(NamedTuple):
    """Result of one partition's checkpoint."""

    partition: int
    result: Taken | NotTaken
    fault: str
    """Why there is no checkpoint, or why older ones could not be removed; empty for none."""


async def write_checkpoints(settings: Settings, files: Files, partitions: Collection[int]) -> AsyncGenerator[Written]:
    """Write a checkpoint of each of *partitions* and remove those that are too many; yield what came of each."""
    async with _redis(settings) as client, aclosing(take(settings, client, files, partitions)) as results:
        async for partition, result in results:
            if isinstance(result, NotTaken):
                yield Written(partition, result, f"no checkpoint: {result}")
            else:
                yield Written(partition, result, await asyncio.to_thread(_clean, files, settings, partition))


def _clean(files: Files, settings: Settings, partition: int) -> str:
    try:
        clean(files, settings.namespace, partition, settings.checkpoint_keep)
    except OSError as err:
        return f"the checkpoint is there, but older ones could not be removed: {err}"
    return ""


class Rebuilt(NamedTuple):
    """Result of one partition's rebuild."""

    partition: int
    refused: str = ""
    """Why the partition was left alone; empty where its next owner will fill it."""
    unused: Sequence[str] = ()
    """What is wrong with checkpoints that were passed over."""
    checkpoint: str | None = None
    """The checkpoint that Redis holds again; `None`: the worker folds all batches from the first one on."""
    manifest: Manifest | None = None
    rows: int = 0


async def rebuild(settings: Settings, files: Files | None, partitions: Sequence[int]) -> AsyncGenerator[Rebuilt]:
    """Restore the newest usable checkpoint of each of *partitions*, or allow it to be filled from its first batch on.

    Without *files* no checkpoint is used. Yields the result of each partition.
    """
    found: dict[int, Way] = {}
    if files is not None:
        async with Admin(settings) as admin:
            found = {way.partition: way for way in await ways(settings, admin, files, partitions)}
    async with _redis(settings) as client:
        for partition in partitions:
            way = found.get(partition)
            try:
                yield await _rebuilt(settings, client, files, partition, way)
            except (StoreRefused, CheckpointError, OSError) as err:
                yield Rebuilt(partition, str(err), way.unusable if way else ())


async def _rebuilt(settings: Settings, client: Client, files: Files | None, partition: int, way: Way | None) -> Rebuilt:
    unused = way.unusable if way else ()
    if files is None or way is None or way.checkpoint is None:
        await RedisStore(client, settings.namespace, partition).allow_rebuild()
        return Rebuilt(partition, unused=unused)
    kept = way.checkpoint
    rows = await restore(settings, client, files, kept)
    return Rebuilt(partition, unused=unused, checkpoint=kept.name, manifest=kept.manifest, rows=rows)


# --- more partitions -------------------------------------------------------------------------------------------------


async def copy_leads(old: Settings, new: Settings) -> Repartitioned:
    """Copy all leads of the namespace of *old* into the empty one of *new*; see `repartition`."""
    async with _redis(new) as client:
        await install(client)
        return await repartition(old, new, client)
