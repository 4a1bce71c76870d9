"""`leadpulse repartition`: copies the leads of a namespace for another number of partitions."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.engine.operations import copy_leads
from worker.errors import SettingsError
from worker.settings import Settings


@click.command()
@click.option("--from", "source", required=True, metavar="NAMESPACE", help="Namespace that holds the leads now.")
@settings_flags(*CONNECTION, "redis", "namespace", "partitions", "input_topics", "output_topics", "development")
def repartition(source: str, **flags: Any) -> None:
    """Copy all leads of a namespace into another, for more partitions.

    The partition count decides which partition owns a lead, so workers refuse to start if partitions were added to a topic.
    Then:

    Stop the workers (SIGTERM). Choose a new LEADPULSE_NAMESPACE with the new LEADPULSE_PARTITIONS. Run `leadpulse topics
    create` and this command. Start the workers with the new settings.

    No event is read twice or skipped. Offsets, sequence numbers, pending answers and unpublished outputs are copied too. So are
    the acts of `leadpulse act`, which must have read all outputs and be stopped, and suppressed addresses. The old namespace is
    only read. To go back, start its workers again instead.

    The command also copies leads for a second grid with the same number of partitions. Then route the outputs of one
    namespace to topics of their own, or sales call every lead twice. Acts stay with the old namespace then. Prints one JSON
    object.
    """
    settings = load_settings(flags)
    try:
        old = Settings.load({}, **settings.model_dump(exclude={"namespace", "partitions"}), namespace=source)
    except SettingsError as err:
        raise click.UsageError(f"--from: {err}") from None
    if source == settings.namespace:
        raise click.UsageError(f"--from {source} is LEADPULSE_NAMESPACE itself: give the new one another name")
    click.echo(msgspec.json.encode(run_async(copy_leads(old, settings))))
    click.echo(f"start the workers with LEADPULSE_NAMESPACE={settings.namespace}; never those of {source} as well", err=True)
