"""What `doctor` finds about the collector's topics, and about topics that one broker's disk could take records from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_topics import INBOUND_TOPICS, differences
from worker.core.contract.event_types import INPUT_TOPICS
from worker.settings import Settings

Found = tuple[str, Literal["hint", "warning", "error"], str, str]
"""Area, level, what was found, and what to do."""

_REPLICAS: Final = 3
_IN_SYNC: Final = 2


async def of_the_collector(settings: Settings, admin: Admin) -> AsyncIterator[Found]:
    """Look at the topics that a collector reads or writes and no worker of the namespace reads."""
    needed = (*INBOUND_TOPICS, *(topic for topic in INPUT_TOPICS.values() if topic not in settings.input_topics))
    there = await admin.partitions(needed)
    configs = await admin.configs([topic for topic, count in there.items() if count])
    for topic, count in there.items():
        if not count:
            yield "topics", "error", f"missing: {topic}; `leadpulse collect` needs it", "run `leadpulse topics create`"
            continue
        if topic not in INBOUND_TOPICS:
            what = f"the collector writes to {topic}, and no worker of namespace {settings.namespace} reads it"
            yield "topics", "warning", what, "add it to LEADPULSE_INPUT_TOPICS"
            continue
        for mistake in differences(settings, topic, count, None if settings.development else configs[topic], "0"):
            yield "topics", "error", mistake, ""
    if not settings.development:
        async for found in on_few_disks(admin, {topic: configs[topic] for topic in INBOUND_TOPICS if topic in configs}):
            yield found


async def on_few_disks(admin: Admin, configs: Mapping[str, Mapping[str, str]]) -> AsyncIterator[Found]:
    """Look for topics that one broker's disk could take acknowledged records from. *configs*: by topic."""
    replicas = await admin.replicas(configs)
    kept = {topic: (replicas[topic], int(config.get("min.insync.replicas", 1))) for topic, config in configs.items()}
    weak = sorted(topic for topic, (copies, in_sync) in kept.items() if copies < _REPLICAS or in_sync < _IN_SYNC)
    if weak:
        shown = ", ".join(f"{topic} ({kept[topic][0]}/{kept[topic][1]})" for topic in weak)
        yield (
            "topics",
            "warning",
            f"the loss of one broker's disk can lose acknowledged records, by replicas/min.insync.replicas: {shown}",
            f"{_REPLICAS} replicas and min.insync.replicas {_IN_SYNC} (for experiments: LEADPULSE_DEVELOPMENT=true)",
        )
