"""`leadpulse topics`: the Kafka topics, and which of them are read."""

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
    """Make the Kafka topics, and change which of them are read."""


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
    from worker.adapters.kafka_admin import Admin
    from worker.adapters.kafka_topics import create_topics

    async with Admin(settings) as admin:
        return await create_topics(admin, settings, replication)


@topics.command()
@settings_flags(*CONNECTION, "redis", "namespace", "input_topics", "partitions", "output_topics", "development")
def change(**flags: Any) -> None:
    """Read other input topics from now on: those of LEADPULSE_INPUT_TOPICS, or --input-topics.

    The state remembers the topics that it was made of, and a worker with others is refused: one wrong setting must not pass
    over events. This is the word that they change. Then restart the workers with the new LEADPULSE_INPUT_TOPICS, one after the
    other; each partition changes when a new worker takes it over, and nothing is lost or read twice. A worker with the old list
    that is given a partition which has changed ends, and leaves it to the others. A topic that comes new is
    read from its beginning; one that goes must have been read to its end, so stop who writes to it first. To take the word
    back, say this again with the topics of before. Prints one JSON object, topic by topic: kept, new or left.
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
