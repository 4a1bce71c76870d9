"""`leadpulse topics`: creates the Kafka topics, and changes which of them are read."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.settings import Settings

CONNECTION = (
    "kafka",
    "kafka_security",
    "kafka_sasl",
    "kafka_user",
    "kafka_password",
    "kafka_token_file",
    "kafka_token_command",
    "kafka_cafile",
    "kafka_certfile",
    "kafka_keyfile",
    "kafka_key_password",
)


@click.group()
def topics() -> None:
    """Create the Kafka topics, and change which of them are read."""


@topics.command()
@settings_flags(*CONNECTION, "namespace", "input_topics", "partitions", "output_topics")
@click.option(
    "--replication",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Replicas of each new topic.  [default: that of the brokers]",
)
def create(replication: int | None, **flags: Any) -> None:
    """Create the missing topics, and report faults of the existing ones.

    Creates the input topics, the internal topic and the output topics, with the sizes, retention and timestamps that the
    worker needs. Existing topics are not changed. Prints one JSON object, topic by topic. Exits with 1 if a topic differs
    from the worker's needs.
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
    from worker.adapters.kafka_admin import Admin
    from worker.adapters.kafka_topics import create_topics

    async with Admin(settings) as admin:
        return await create_topics(admin, settings, replication)


@topics.command()
@settings_flags(*CONNECTION, "redis", "namespace", "input_topics", "partitions", "output_topics", "development")
def change(**flags: Any) -> None:
    """Read other input topics from now on: those of LEADPULSE_INPUT_TOPICS, or --input-topics.

    Redis records which input topics a namespace reads. A worker configured with different ones refuses to start, so that a
    wrong setting loses no events. This command permits the change.

    Then restart the workers with the new LEADPULSE_INPUT_TOPICS, one after the other. Each partition changes when a new
    worker takes it over. Nothing is lost or read twice. If a worker with the old list receives a changed partition, it ends
    and leaves the partition to the others.

    A new topic is read from its beginning. A removed topic must be read to its end, so stop its producers first. To undo the
    permission, run the command again with the earlier topics. Prints one JSON object, topic by topic: kept, new or left.
    """
    settings = load_settings(flags)
    report = run_async(_change(settings))
    click.echo(msgspec.json.encode(report).decode())
    said = "restart the workers with" if set(report.values()) != {"kept"} else "these are the topics that are read already:"
    click.echo(f"{said} LEADPULSE_INPUT_TOPICS={','.join(settings.input_topics)}", err=True)


async def _change(settings: Settings) -> dict[str, str]:
    from worker.adapters.kafka_admin import Admin
    from worker.adapters.redis_client import connect
    from worker.adapters.redis_store import RedisStore
    from worker.engine.checks import check_topics

    client = connect(settings.redis.get_secret_value())
    try:
        async with Admin(settings) as admin:
            await check_topics(settings, admin)
        report: dict[str, str] = {}
        for p in range(settings.partitions):
            store = RedisStore(client, settings.namespace, p)
            await store.allow_inputs(settings.input_topics)
            read = (await store.position()).next.keys() - {settings.internal_topic}
            report |= {topic: "kept" if topic in read else "new" for topic in settings.input_topics}
            report |= dict.fromkeys(sorted(read - set(settings.input_topics)), "left")
        return report
    finally:
        await client.aclose()
