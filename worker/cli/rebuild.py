"""`leadpulse rebuild`: confirms that an emptied partition may be filled again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.core.scoring.calendar import rfc3339
from worker.engine import operations
from worker.engine.operations import Rebuilt, checkpoint_files
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
    refused = run_async(_rebuild(settings, range(settings.partitions) if only is None else [only], from_topics))
    if refused and (only is not None or refused == settings.partitions):
        raise click.exceptions.Exit(1)


async def _rebuild(settings: Settings, partitions: Sequence[int], from_topics: bool) -> int:
    """Print what came of each partition, and return how many are refused."""
    refused = 0
    files = None if from_topics else checkpoint_files(settings)
    async with aclosing(operations.rebuild(settings, files, partitions)) as results:
        async for rebuilt in results:
            refused += bool(rebuilt.refused)
            for words in rebuilt.unused:
                click.echo(f"partition {rebuilt.partition}: not used: {words}", err=True)
            click.echo(_advice(rebuilt), err=True)
            click.echo(msgspec.json.encode(_row(rebuilt)))
    return refused


def _advice(rebuilt: Rebuilt) -> str:
    if rebuilt.refused:
        return f"refused: {rebuilt.refused}"
    manifest = rebuilt.manifest
    if manifest is None:
        return f"partition {rebuilt.partition} will be filled again by its next owner: restart the workers"
    return (
        f"partition {rebuilt.partition} holds batch {manifest.batch} again, as of {rfc3339(manifest.created_ms)}; its next"
        " owner folds what came after: restart the workers"
    )


def _row(rebuilt: Rebuilt) -> dict[str, Any]:
    """Return the line that is printed of one partition."""
    if rebuilt.refused:
        return {"partition": rebuilt.partition, "rebuild": False, "reason": rebuilt.refused}
    manifest = rebuilt.manifest
    if manifest is None:
        return {"partition": rebuilt.partition, "rebuild": True}
    return {
        "partition": rebuilt.partition,
        "rebuild": True,
        "checkpoint": rebuilt.checkpoint,
        "batch": manifest.batch,
        "created": rfc3339(manifest.created_ms),
        "rows": rebuilt.rows,
    }
