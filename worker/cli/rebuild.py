"""`leadpulse rebuild`: an operator's word that an emptied partition may be filled again."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.adapters.redis_store import RedisStore, connect
from worker.cli.common import load_settings, run_async, settings_flags
from worker.ports import StoreRefused
from worker.settings import Settings


@click.command()
@click.option("--partition", "-p", "only", type=click.IntRange(0), metavar="P", help="This partition alone.")
@click.option("--all", "every", is_flag=True, help="Every partition that is empty.")
@settings_flags("redis", "namespace", "partitions")
def rebuild(only: int | None, every: bool, **flags: Any) -> None:
    """Allow an emptied partition to be filled again from the topics.

    A worker that finds Redis empty though Kafka says that batches were published refuses to go on: it may be the wrong Redis,
    or the wrong namespace. This is the word that the state is really lost. The next worker folds the partition's batches again
    from the journal and the input topics, the very same, and publishes none of them twice. A partition that holds anything
    is left alone. Prints one JSON a partition; exit code 1 when one that was asked for is refused.
    """
    settings = load_settings(flags)
    if (only is None) == (not every):
        raise click.UsageError("say which: --partition P or --all")
    if only is not None and only >= settings.partitions:
        raise click.UsageError(f"there is no partition {only}: LEADPULSE_PARTITIONS is {settings.partitions}")
    refused = run_async(_allow(settings, range(settings.partitions) if only is None else [only]))
    if refused and (only is not None or refused == settings.partitions):
        raise click.exceptions.Exit(1)


async def _allow(settings: Settings, partitions: Any) -> int:
    """Set the word on each of *partitions* that is empty, tell of each, and return how many are not."""
    client = connect(settings.redis.get_secret_value())
    refused = 0
    try:
        for partition in partitions:
            try:
                await RedisStore(client, settings.namespace, partition).allow_rebuild()
            except StoreRefused as err:
                refused += 1
                told = {"partition": partition, "rebuild": False, "reason": str(err)}
                click.echo(f"refused: {err}", err=True)
            else:
                told = {"partition": partition, "rebuild": True}
                click.echo(f"partition {partition} will be filled again by its next owner: restart the workers", err=True)
            click.echo(msgspec.json.encode(told))
    finally:
        await client.aclose()
    return refused
