"""The namespace's topics in Kafka: their configuration, differences from it, and how to create missing topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from worker.core.contract.event_types import INPUT_TOPICS
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.kafka_admin import Admin

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""Bytes of a record that the internal, dead-letter and output topics must accept. An input record has 900 kB at most."""

_INPUT_RETENTION_MS = 7 * 86_400_000
_INTERNAL_RETENTION_MS = 14 * 86_400_000
_INBOUND_RETENTION_MS = 14 * 86_400_000
_INBOUND_SEGMENT_MS = 86_400_000
"""Kafka deletes whole segments. With its default of a week, an erased person's webhooks might stay for three."""


INBOUND_TOPICS = ("lead.inbound", "lead.inbound.dead")
"""Topics of the collector: webhooks as they came, and those that could not be mapped."""

_ACTED_RETENTION_MS = 400 * 86_400_000


def topic_configs(settings: Settings, *, inbound: bool = False, acted: bool = False) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic when it is created, by topic.

    *inbound*: with those of the collector. *acted*: with that of the program that acts.

    The internal topic is the journal. The broker stamps its times, because a worker's wrong clock must not ruin a partition. It
    is deleted by age, never by size, and never compacted. It is kept at least as long as the longest input: records that can
    be read again must find their cuts.
    """
    size = str(MAX_RECORD_BYTES)
    written = {"cleanup.policy": "delete", "max.message.bytes": size}
    configs = {topic: {"cleanup.policy": "delete", "retention.ms": str(_INPUT_RETENTION_MS)} for topic in settings.input_topics}
    configs |= {topic: dict(written) for topic in settings.outputs}
    configs[settings.internal_topic] = written | {
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": "-1",
        "retention.ms": str(_INTERNAL_RETENTION_MS),
    }
    if inbound:
        kept = {"retention.ms": str(_INBOUND_RETENTION_MS), "segment.ms": str(_INBOUND_SEGMENT_MS)}
        configs |= dict.fromkeys(INBOUND_TOPICS, written | kept)
        unread = [topic for topic in INPUT_TOPICS.values() if topic not in configs]  # the collector writes all of them
        configs |= {topic: {"cleanup.policy": "delete", "retention.ms": str(_INPUT_RETENTION_MS)} for topic in unread}
    if acted:
        configs[settings.acted_topic] = written | {"retention.ms": str(_ACTED_RETENTION_MS)}
    return configs


_LOOKS = 100

_LOOK_EVERY_S = 0.1
"""Most checks whether the brokers show new topics. After that, the caller reports them as missing."""


async def create_topics(
    admin: Admin, settings: Settings, replication: int = -1, *, inbound: bool = False, acted: bool = False
) -> dict[str, str]:
    """Create the missing topics: with *inbound* and *acted* those of the other programs. Existing topics do not change.

    Returns `created`, `exists` or `differs: …` by topic. The last one has each difference that matters, with the command that
    mends it. *replication* -1 is the brokers' default. An existing input's retention is its owner's business; the
    internal topic is made with at least the longest of them.
    """
    wanted = topic_configs(settings, inbound=inbound, acted=acted)
    there = await admin.partitions(wanted)
    configs = await admin.configs([topic for topic, count in there.items() if count])
    retentions = [int(configs[topic]["retention.ms"]) for topic in settings.input_topics if topic in configs]
    wanted[settings.internal_topic]["retention.ms"] = str(longest([_INTERNAL_RETENTION_MS, *retentions]))
    report: dict[str, str] = {}
    for topic, config in wanted.items():
        if not there[topic]:
            made = await admin.create(topic, settings.partitions, replication, config)
            report[topic] = "created" if made else "exists"
            continue
        found = differences(settings, topic, there[topic], configs[topic], wanted[settings.internal_topic]["retention.ms"])
        report[topic] = f"differs: {'; '.join(found)}" if found else "exists"
    for _ in range(_LOOKS):  # the controller answers before the brokers know, and a worker that starts then would refuse
        if all((await admin.partitions(report)).values()):
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    return report


def longest(retentions: Iterable[int]) -> int:
    """Return the longest retention in ms. -1 means for ever; without any the result is 0."""
    known = list(retentions)
    return -1 if -1 in known else max(known, default=0)


def differences(settings: Settings, topic: str, partitions: int, config: Mapping[str, str] | None, retention: str) -> list[str]:
    """Return the mistakes of an existing topic, each with the command that corrects it.

    *config* `None`: not known, not looked at. *retention* is the least that the internal topic must keep, in ms; -1 is for
    ever.
    """
    inputs, internal = settings.input_topics, settings.internal_topic
    found: list[str] = []
    if (topic in inputs or topic == internal) and partitions != settings.partitions:
        found.append(_partitions_differ(settings, topic, partitions))
    if config is None:
        return found
    if topic in (*inputs, *INPUT_TOPICS.values()):
        if "compact" in config["cleanup.policy"]:
            found.append(compacted_input(topic, config["cleanup.policy"]))
        return found

    def want(name: str, value: str, holds: bool) -> None:
        if not holds:
            mend = f"kafka-configs.sh --alter --topic {topic} --add-config {name}={value}"
            found.append(f"{name} is {config.get(name)}, needs {value} ({mend})")

    want("max.message.bytes", str(MAX_RECORD_BYTES), int(config["max.message.bytes"]) >= MAX_RECORD_BYTES)
    if topic in INBOUND_TOPICS:
        want("cleanup.policy", "delete", config["cleanup.policy"] == "delete")
        ours, least = int(config["retention.ms"]), str(_INBOUND_RETENTION_MS)
        want("retention.ms", least, longest([ours, _INBOUND_RETENTION_MS]) == ours)
        want("segment.ms", str(_INBOUND_SEGMENT_MS), int(config["segment.ms"]) <= _INBOUND_SEGMENT_MS)
    if topic == internal:
        want("message.timestamp.type", "LogAppendTime", config["message.timestamp.type"] == "LogAppendTime")
        want("cleanup.policy", "delete", config["cleanup.policy"] == "delete")
        want("retention.bytes", "-1", config.get("retention.bytes", "-1") == "-1")
        ours = int(config["retention.ms"])
        want("retention.ms", retention, longest([ours, int(retention)]) == ours)
    return found


def compacted_input(topic: str, policy: str) -> str:
    """Return the mistake of an input whose `cleanup.policy` is *policy*, with the command that corrects it."""
    return (
        f"cleanup.policy is {policy}: a compacted input loses records that must be folded again after Redis went back; needs"
        f" delete (kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete)"
    )


def _partitions_differ(settings: Settings, topic: str, partitions: int) -> str:
    what = f"topic {topic} has {partitions} partitions, LEADPULSE_PARTITIONS says {settings.partitions}"
    if partitions < settings.partitions:
        return f"{what} (kafka-topics.sh --alter --topic {topic} --partitions {settings.partitions})"
    return (
        f"{what}: partitions cannot be taken away, and each lead's owner depends on their number; with"
        f" LEADPULSE_PARTITIONS={partitions} and another LEADPULSE_NAMESPACE, `leadpulse repartition` moves the leads"
    )
