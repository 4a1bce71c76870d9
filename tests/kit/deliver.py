"""Many records written to Kafka fast, for backlogs and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Producer


class Produced(NamedTuple):
    """One record, in the order of what `Producer.produce` takes by place."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int
    timestamp_ms: int = 0
    """0: the client's time."""


def deliver(producer: Producer, records: Iterable[Produced]) -> int:
    """Write *records* and wait until all are there; return how many they were."""
    count = 0
    for topic, value, key, partition, timestamp_ms in records:
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=timestamp_ms)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    return count
