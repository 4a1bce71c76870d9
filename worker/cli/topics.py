"""`leadpulse topics`: the Kafka topics."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.settings import Settings

CONNECTION = ("kafka", "kafka_security", "kafka_sasl", "kafka_user", "kafka_password", "kafka_cafile")


@click.group()
def topics() -> None:
    """Make the Kafka topics."""


@topics.command()
@settings_flags(*CONNECTION, "namespace", "input_topics", "partitions", "output_topics")
@click.option(
    "--replication", type=click.IntRange(1, 100), metavar="N", help="Replicas of each new topic.  [default: the brokers' own]"
)
def create(replication: int | None, **flags: Any) -> None:
    """Create the topics that are missing, and say what is wrong with those that are there.

    Makes the input topics, the internal one and the output topics, with the sizes, retention and timestamps that the worker
    needs. Nothing that exists is changed. Prints one JSON object, topic by topic; exit code 1 when a topic differs from what
    the worker needs.
    """
    settings = load_settings(flags)
    report = run_async(_create(settings, -1 if replication is None else replication))
    click.echo(msgspec.json.encode(report).decode())
    differ = [found for found in report.values() if found.startswith("differs")]
    made = sum(found == "created" for found in report.values())
    click.echo(f"{made} topics created, {len(report) - made} were there, {len(differ)} of them not as needed", err=True)
    if differ:
        raise click.exceptions.Exit(1)


async def _create(settings: Settings, replication: int) -> dict[str, str]:
    from worker.adapters.kafka import Admin, create_topics

    async with Admin(settings) as admin:
        return await create_topics(admin, settings, replication)
