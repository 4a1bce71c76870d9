"""The collector's topics: how they are made, and which differences are mistakes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from worker.adapters.kafka_topics import INBOUND_TOPICS, differences, topic_configs
from worker.core.contract.event_types import INPUT_TOPICS
from worker.settings import CollectSettings, Settings

DAYS_14 = str(14 * 86_400_000)
GOOD = {"cleanup.policy": "delete", "max.message.bytes": "2097152", "retention.ms": DAYS_14, "segment.ms": "86400000"}


def test_every_topic_that_a_collector_needs_is_made_where_there_are_connections() -> None:
    """Also inputs that this namespace does not read: a collector without them would refuse to start."""
    settings = Settings.load({"LEADPULSE_INPUT_TOPICS": "lead.events.web,mine"})
    needed = set(CollectSettings.load({}).needed_topics)
    assert needed - topic_configs(settings).keys() == needed - {"lead.events.web"}
    made = topic_configs(settings, inbound=True)
    assert needed <= made.keys()
    assert all(made[topic] == GOOD for topic in INBOUND_TOPICS)
    assert all(made[topic] == made["mine"] for topic in INPUT_TOPICS.values())


@pytest.mark.parametrize("topic", INBOUND_TOPICS)
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"retention.ms": "-1"}, []),
        ({"retention.ms": "86400000"}, [f"needs {DAYS_14}"]),
        ({"cleanup.policy": "compact,delete"}, ["needs delete"]),
        ({"segment.ms": "604800000"}, ["needs 86400000"]),
        ({"max.message.bytes": "1000000"}, ["needs 2097152"]),
    ],
)
def test_a_topic_that_would_lose_webhooks_or_keep_people_is_a_mistake(
    topic: str, changed: Mapping[str, str], words: list[str]
) -> None:
    """With the command that corrects it. Retention is at least 14 days, whatever its number of partitions."""
    found = differences(Settings.load({}), topic, 3, {**GOOD, **changed}, "0")
    assert len(found) == len(words)
    assert all(word in mistake and f"--topic {topic} " in mistake for word, mistake in zip(words, found, strict=True))
