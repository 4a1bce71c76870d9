"""`leadpulse checkpoint`: writes the state of each partition where a rebuild finds it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.core.scoring.calendar import rfc3339
from worker.engine.operations import Written, checkpoint_files, write_checkpoints
from worker.errors import NotTaken
from worker.settings import Settings


@click.command()
@click.option("--partition", "-p", "only", type=click.IntRange(0), metavar="P", help="Only this partition.")
@settings_flags("checkpoints", "checkpoint_keep", "redis", "namespace", "partitions")
def checkpoint(only: int | None, **flags: Any) -> None:
    """Write a checkpoint of each partition, which `leadpulse rebuild` begins at.

    A checkpoint is the whole state of a partition as of one batch, in LEADPULSE_CHECKPOINTS. The command runs beside the
    workers and stops none of them. It reads Redis in slices, and reads leads again that change meanwhile. A checkpoint is
    complete once all outputs of its batches are published. So a partition with unpublished outputs needs a running worker.

    Workers write checkpoints by themselves every LEADPULSE_CHECKPOINT_EVERY hours. Only the LEADPULSE_CHECKPOINT_KEEP newest
    are kept.

    The files hold personal data. Prints one JSON line per partition. Exits with 1 if one could not be written.
    """
    settings = load_settings(flags)
    if only is not None and only >= settings.partitions:
        raise click.UsageError(f"there is no partition {only}: LEADPULSE_PARTITIONS is {settings.partitions}")
    if not settings.checkpoints:
        raise click.UsageError("set LEADPULSE_CHECKPOINTS to the place of the checkpoints: a folder or an address of fsspec")
    if run_async(_write(settings, range(settings.partitions) if only is None else [only])):
        raise click.exceptions.Exit(1)


async def _write(settings: Settings, partitions: Sequence[int]) -> int:
    """Print what came of each partition's checkpoint, and return how many failed."""
    failed = 0
    files = checkpoint_files(settings)
    assert files is not None, "LEADPULSE_CHECKPOINTS is set"
    async with aclosing(write_checkpoints(settings, files, partitions)) as results:
        async for written in results:
            if written.fault:
                failed += 1
                click.echo(f"partition {written.partition}: {written.fault}", err=True)
            click.echo(msgspec.json.encode(_row(written)))
    return failed


def _row(written: Written) -> dict[str, Any]:
    """Return the line that is printed of one partition."""
    result = written.result
    if isinstance(result, NotTaken):
        return {"partition": written.partition, "checkpoint": None, "reason": str(result)}
    manifest = result.manifest
    return {
        "partition": written.partition,
        "checkpoint": result.name,
        "batch": manifest.batch,
        "created": rfc3339(manifest.created_ms),
        "rows": manifest.rows_count,
        "bytes": manifest.rows_bytes,
        "seconds": round(result.seconds, 3),
    }
