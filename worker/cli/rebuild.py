"""`leadpulse rebuild`: confirms that an emptied partition may be filled again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from worker.adapters.checkpoint_files import Files
from worker.adapters.kafka_admin import Admin
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_store import RedisStore
from worker.cli.checkpoint import opened_files
from worker.cli.common import load_settings, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.core.batch.checkpoint import CheckpointError
from worker.core.scoring.calendar import rfc3339
from worker.engine.kept import restore
from worker.engine.rebuild import Way, ways
from worker.errors import StoreRefused
from worker.settings import Settings


@click.command()
@click.option("--partition", "-p", "only", type=click.IntRange(0), metavar="P", help="Only this partition.")
@click.option("--all", "every", is_flag=True, help="Every empty partition.")
@click.option("--from-topics", is_flag=True, help="Use no checkpoint, but fold all batches from the partition's first one.")
@settings_flags("checkpoints", *CONNECTION, "redis", "namespace", "partitions", "input_topics", "development")
def rebuild(only: int | None, every: bool, from_topics: bool, **flags: Any) -> None:
    """Allow an emptied partition to be filled again from the topics.

    A worker may find Redis empty although Kafka has published batches. It refuses to run, because Redis or the namespace may
    be the wrong one. This command confirms that the state is really lost.

    With LEADPULSE_CHECKPOINTS, it restores the newest checkpoint to which the topics still reach back. The next worker folds
    the batches after it again, from the journal and the input topics, and publishes none of them twice. Without a checkpoint,
    the worker folds all batches. A partition that is not empty is left alone. If the command is cut short, that partition
    waits until you run it again.

    Prints one JSON line per partition. Exits with 1 if a requested partition is refused.
    """
    settings = load_settings(flags)
    if (only is None) == (not every):
        raise click.UsageError("name the partitions: --partition P or --all")
    if only is not None and only >= settings.partitions:
        raise click.UsageError(f"there is no partition {only}: LEADPULSE_PARTITIONS is {settings.partitions}")
    files = opened_files(settings) if settings.checkpoints and not from_topics else None
    refused = run_async(_rebuild(settings, files, range(settings.partitions) if only is None else [only]))
    if refused and (only is not None or refused == settings.partitions):
        raise click.exceptions.Exit(1)


async def _rebuild(settings: Settings, files: Files | None, partitions: Sequence[int]) -> int:
    """Rebuild each of *partitions* that is empty, tell of each, and return how many are refused."""
    client = connect(settings.redis.get_secret_value())
    refused = 0
    try:
        known: dict[int, Way] = {}
        if files is not None:
            async with Admin(settings) as admin:
                known = {way.partition: way for way in await ways(settings, admin, files, partitions)}
        for partition in partitions:
            try:
                told = await _one(settings, client, files, partition, known.get(partition))
            except (StoreRefused, CheckpointError, OSError) as err:
                refused += 1
                told = {"partition": partition, "rebuild": False, "reason": str(err)}
                click.echo(f"refused: {err}", err=True)
            click.echo(msgspec.json.encode(told))
    finally:
        await client.aclose()
    return refused


async def _one(settings: Settings, client: Client, files: Files | None, partition: int, way: Way | None) -> dict[str, Any]:
    """Put the partition's checkpoint back, or allow it to be filled from its first batch on; return what is printed."""
    for words in way.unusable if way else ():
        click.echo(f"partition {partition}: not used: {words}", err=True)
    if files is None or way is None or way.checkpoint is None:
        await RedisStore(client, settings.namespace, partition).allow_rebuild()
        click.echo(f"partition {partition} will be filled again by its next owner: restart the workers", err=True)
        return {"partition": partition, "rebuild": True}
    one = way.checkpoint
    rows = await restore(settings, client, files, one)
    manifest = one.manifest
    created = rfc3339(manifest.created_ms)
    click.echo(
        f"partition {partition} holds batch {manifest.batch} again, as of {created}; its next owner folds what came after:"
        " restart the workers",
        err=True,
    )
    return {
        "partition": partition,
        "rebuild": True,
        "checkpoint": one.name,
        "batch": manifest.batch,
        "created": created,
        "rows": rows,
    }
