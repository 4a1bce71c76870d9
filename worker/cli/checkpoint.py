"""`leadpulse checkpoint`: writes the state of each partition where a rebuild finds it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import click
import msgspec

from worker.adapters.checkpoint_files import Files, files_at
from worker.adapters.redis_client import connect
from worker.cli.common import load_settings, run_async, settings_flags
from worker.core.scoring.calendar import rfc3339
from worker.engine.checkpoints import Taken, take
from worker.engine.kept import clean
from worker.errors import FilesError, NotTaken
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
    files = opened_files(settings)
    if run_async(_write(settings, files, range(settings.partitions) if only is None else [only])):
        raise click.exceptions.Exit(1)


def opened_files(settings: Settings) -> Files:
    """Return the place of the checkpoints; without one the command ends."""
    if not settings.checkpoints:
        raise click.UsageError("set LEADPULSE_CHECKPOINTS to the place of the checkpoints: a folder or an address of fsspec")
    try:
        return files_at(settings.checkpoints)
    except FilesError as err:
        raise click.ClickException(str(err)) from None


async def _write(settings: Settings, files: Files, partitions: Any) -> int:
    """Write a checkpoint of each of *partitions*, tell of each, and return how many failed."""
    client = connect(settings.redis.get_secret_value())
    failed = 0
    try:
        async with aclosing(take(settings, client, files, partitions)) as results:
            async for p, result in results:
                told, error = _told(p, result)
                if not error:
                    error = await asyncio.to_thread(_clean, files, settings, p)
                if error:
                    failed += 1
                    click.echo(f"partition {p}: {error}", err=True)
                click.echo(msgspec.json.encode(told))
    finally:
        await client.aclose()
    return failed


def _clean(files: Files, settings: Settings, partition: int) -> str:
    """Remove old checkpoints; return why that failed, empty otherwise."""
    try:
        clean(files, settings.namespace, partition, settings.checkpoint_keep)
    except OSError as err:
        return f"the checkpoint is there, but older ones could not be removed: {err}"
    return ""


def _told(partition: int, result: Taken | NotTaken) -> tuple[dict[str, Any], str]:
    """Return what is printed of one partition, and what went wrong."""
    if isinstance(result, NotTaken):
        return {"partition": partition, "checkpoint": None, "reason": str(result)}, f"no checkpoint: {result}"
    manifest = result.manifest
    return {
        "partition": partition,
        "checkpoint": result.name,
        "batch": manifest.batch,
        "created": rfc3339(manifest.created_ms),
        "rows": manifest.rows_count,
        "bytes": manifest.rows_bytes,
        "seconds": round(result.seconds, 3),
    }, ""
