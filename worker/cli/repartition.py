"""`leadpulse repartition`: the leads of a namespace, for another number of partitions."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.errors import SettingsError
from worker.settings import Settings


@click.command()
@click.option("--from", "source", required=True, metavar="NAMESPACE", help="The namespace that holds the leads now.")
@settings_flags(*CONNECTION, "redis", "namespace", "partitions", "input_topics", "output_topics", "development")
def repartition(source: str, **flags: Any) -> None:
    """Copy all leads of a namespace into another, for more partitions.

    A lead's owner depends on the number of partitions, so a worker refuses topics that were given more. Then: stop the workers
    (SIGTERM), choose a new LEADPULSE_NAMESPACE with the new LEADPULSE_PARTITIONS, `leadpulse topics create`, this command, and
    start the workers with the new settings. Nothing is read twice or passed over: offsets, sequence numbers, pending answers
    and what was on its way come along. The old namespace is only read: to go back, start its workers again instead.

    Also copies leads for a second grid (the same number of partitions): route the outputs of one of the two to topics of their
    own, or everybody is called twice. Prints one JSON object.
    """
    settings = load_settings(flags)
    try:
        old = Settings.load({}, **settings.model_dump(exclude={"namespace", "partitions"}), namespace=source)
    except SettingsError as err:
        raise click.UsageError(f"--from: {err}") from None
    if source == settings.namespace:
        raise click.UsageError(f"--from {source} is LEADPULSE_NAMESPACE itself: give the new one another name")
    click.echo(msgspec.json.encode(run_async(_copied(old, settings))))
    click.echo(f"start the workers with LEADPULSE_NAMESPACE={settings.namespace}; never those of {source} as well", err=True)


async def _copied(old: Settings, new: Settings) -> Any:
    from worker.adapters.redis_client import connect, install
    from worker.engine.repartition import repartition as copy

    client = connect(new.redis.get_secret_value())
    try:
        await install(client)
        return await copy(old, new, client)
    finally:
        await client.aclose()
