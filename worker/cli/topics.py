"""`leadpulse topics`: creates the Kafka topics, and changes which of them are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from worker.cli.common import load_settings, run_async, settings_flags
from worker.engine.operations import change_inputs, make_topics

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
@click.option(
    "--connections", envvar="LEADPULSE_CONNECTIONS", metavar="FILE",
    help="File of connections. Where one is named, or connections.yaml is there, the collector's topics are created too."
    "  [env LEADPULSE_CONNECTIONS]",
)  # fmt: skip
@click.option(
    "--automations", envvar="LEADPULSE_AUTOMATIONS", metavar="FILE",
    help="File of automations. Where one is named, or automations.yaml is there, lead.acted is created too."
    "  [env LEADPULSE_AUTOMATIONS]",
)  # fmt: skip
def create(replication: int | None, connections: str | None, automations: str | None, **flags: Any) -> None:
    """Create the missing topics, and report faults of the existing ones.

    Creates the input topics, the internal topic and the output topics, with the sizes, retention and timestamps that the
    worker needs. Where there is a file of connections, it creates lead.inbound and lead.inbound.dead too, and where there is
    a file of automations, lead.acted. Existing topics are not changed. Prints one JSON object, topic by topic. Exits with 1 if
    a topic differs from the needs of its programs.
    """
    settings = load_settings(flags)
    # where topics are made, the files themselves may be missing
    inbound = bool(connections) or Path("connections.yaml").is_file()
    acted = bool(automations) or Path("automations.yaml").is_file()
    report = run_async(make_topics(settings, -1 if replication is None else replication, inbound=inbound, acted=acted))
    click.echo(msgspec.json.encode(report).decode())
    states = list(report.values())
    created, differing = states.count("created"), sum(state.startswith("differs") for state in states)
    click.echo(f"{created} topics created, {len(states) - created} were there, {differing} of them not as needed", err=True)
    if differing:
        raise click.exceptions.Exit(1)


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
    report = run_async(change_inputs(settings))
    click.echo(msgspec.json.encode(report).decode())
    changed = set(report.values()) != {"kept"}
    advice = "restart the workers with" if changed else "these are the topics that are read already:"
    click.echo(f"{advice} LEADPULSE_INPUT_TOPICS={','.join(settings.input_topics)}", err=True)
