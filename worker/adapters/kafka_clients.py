"""Kafka's consumers, through aiokafka, and what all our clients of Kafka share: how they connect, and what their errors say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.adapters.fetched import Checks, place_of, read_batches_within_bounds
from worker.adapters.kafka_login import check_token, login_options, tell_why_not, why_not
from worker.core.contract.codec import NO_STAMP_MS
from worker.core.contract.model import Record
from worker.errors import KafkaRefused as KafkaRefused
from worker.settings import Settings

HEARTBEAT_S = 3.0
_FETCH_PARTITION_BYTES = 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024
_FETCH_WAIT_MS = 200

read_batches_within_bounds()
tell_why_not()

CHECK_CONNECTION = (
    "does it run, and do the brokers expect what LEADPULSE_KAFKA, LEADPULSE_KAFKA_SECURITY, LEADPULSE_KAFKA_SASL,"
    " LEADPULSE_KAFKA_USER, LEADPULSE_KAFKA_PASSWORD and LEADPULSE_KAFKA_CAFILE say, or LEADPULSE_KAFKA_TOKEN_FILE,"
    " LEADPULSE_KAFKA_TOKEN_COMMAND and LEADPULSE_KAFKA_CERTFILE?"
)


def client_options(settings: Settings) -> dict[str, Any]:
    """Return what every client needs to reach the brokers. Raises `KafkaRefused` for a file that cannot be used."""
    return {"bootstrap_servers": settings.kafka, **login_options(settings)}


def in_words(err: KafkaError) -> str:
    """Return what *err* says, with what to do about it."""
    if isinstance(err, KafkaConnectionError):
        why = why_not()
        if why is not None:
            return f"no Kafka broker lets us in: {why}: {CHECK_CONNECTION}"
        return f"no Kafka broker answers: {err}: {CHECK_CONNECTION}"
    if isinstance(err, InvalidSessionTimeoutError):
        return (
            "the brokers do not allow sessions as short or long as LEADPULSE_SESSION_TIMEOUT says: keep it between their"
            " group.min.session.timeout.ms (6 s unless set) and group.max.session.timeout.ms"
        )
    if isinstance(err, GroupAuthorizationFailedError):
        return f"no right to read as group {err}: grant Read on it"
    if isinstance(err, TopicAuthorizationFailedError):
        return f"no right to topic {err}: grant Read on inputs, Write on outputs, and both on the internal topic"
    return f"Kafka: {err!r}"


def group_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Return the worker's consumer, not started and not subscribed.

    It never commits (W must move only inside transactions) and never resets an offset by itself: every position is sought.
    """
    checks = Checks(crcs=not settings.development, most=settings.max_unpacked)
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id=settings.group,
        group_id=settings.group,
        isolation_level="read_committed",
        check_crcs=checks,
        enable_auto_commit=False,
        auto_offset_reset="none",
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=int(settings.session_timeout * 1000),
        heartbeat_interval_ms=int(min(HEARTBEAT_S, settings.session_timeout / 3) * 1000),
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=_FETCH_PARTITION_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
        metadata_max_age_ms=60_000,
    )
    checks.of(consumer)
    return consumer


@contextlib.asynccontextmanager
async def free_consumer(settings: Settings, tps: Sequence[TopicPartition], wait_ms: int = _FETCH_WAIT_MS) -> Any:
    """Yield a started read-committed consumer of *tps* outside of any group. Seek before reading.

    *wait_ms*: how long a fetch waits at the broker where there is nothing to read.
    """
    checks = Checks(crcs=not settings.development, most=settings.max_unpacked)
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id=f"{settings.group}.reader",
        group_id=None,
        isolation_level="read_committed",
        check_crcs=checks,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=_FETCH_PARTITION_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
    )
    checks.of(consumer)
    if tps:
        consumer.assign(list(tps))
    try:
        await check_token(settings)
        await consumer.start()
        await asyncio.sleep(0)  # aiokafka's `stop` raises CancelledError where a task of the consumer has not begun yet
        yield consumer
    finally:
        await consumer.stop()


def to_record(r: ConsumerRecord) -> Record:
    """Return *r* as ours. A header without a value counts as one with an empty value, a timestamp before 2000 as none."""
    place = place_of(r)
    if place is not None:
        return place
    headers = tuple([(key, value or b"") for key, value in r.headers]) if r.headers else ()
    return Record(r.topic, r.partition, r.offset, r.timestamp if r.timestamp >= NO_STAMP_MS else None, r.key, r.value, headers)


def not_allowed(topic: str) -> str:
    """Return the refusal of a topic that we may not write to."""
    return f"no right to write to topic {topic}: grant Write and Describe on it"
