"""Records into Kafka, by a producer that loses nothing silently."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, Literal, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import client_options
from worker.adapters.kafka_login import Tokens, tokens
from worker.core.contract.model import Headers
from worker.errors import KafkaRefused, LogUnavailable, Undelivered
from worker.settings import Settings

Client = Literal["aiokafka", "librdkafka"]

MAX_REQUEST_BYTES: Final = 2_000_000
"""Larger than any valid event, so that a record over the worker's limit can be sent, and seen to be refused there."""

_PENDING_BYTES: Final = 262_144


class Sink(Protocol):
    """Where records are sent. `kafka_sink` makes one."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None
    ) -> None:
        """Hand one record over; waits while too much is on its way.

        *timestamp_ms* is the record's own, now when absent. Raises `Undelivered` as soon as any record sent so far has
        been refused.
        """
        ...


@contextlib.asynccontextmanager
async def kafka_sink(settings: Settings, topics: Iterable[str] = (), *, client: Client = "aiokafka") -> AsyncIterator[Sink]:
    """Yield a sink that writes to *settings.kafka*, every record acknowledged by all replicas, none twice for a retry.

    *topics* must exist, since a client would wait for ever for a missing topic. `aiokafka` finds a key's partition as Kafka's
    own producers do (murmur2). `librdkafka` uses its default, CRC32, so most records come as strays.

    Leaving the block without an exception waits until everything is delivered. Raises `Undelivered`.
    """
    await check_topics(settings, topics)
    sink: _Aiokafka | _Librdkafka = _Aiokafka(settings) if client == "aiokafka" else _Librdkafka(settings)
    await sink.open()
    try:
        yield sink
        await sink.flush()
    finally:
        await sink.close()


async def check_topics(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each topic has. Raises `Undelivered` when the brokers cannot be reached or one is missing."""
    try:
        async with asyncio.timeout(20), Admin(settings) as admin:
            partitions = await admin.partitions(topics)
    except KafkaRefused as error:
        raise Undelivered(str(error)) from error
    except LogUnavailable as error:
        raise Undelivered(error.line()) from error
    except (OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise Undelivered(f"Kafka at {settings.kafka} cannot be reached ({why}): does it run, is the address right?") from error
    if missing := sorted(topic for topic, count in partitions.items() if not count):
        raise Undelivered(
            f"Kafka at {settings.kafka} has no topic {', '.join(missing)}: create it with `leadpulse topics create`"
        )
    return partitions


class _Aiokafka:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failed: Undelivered | None = None
        self._producer: Any = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=10,
            max_batch_size=_PENDING_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )

    async def open(self) -> None:
        try:
            await self._producer.start()
        except KafkaError as error:
            await self._producer.stop()
            raise Undelivered(f"Kafka at {self._settings.kafka}: {error!r}") from error

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None
    ) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            delivery = await self._producer.send(topic, value, key=key, headers=list(headers), timestamp_ms=timestamp_ms)
        except (KafkaError, AssertionError) as error:
            raise _undelivered(topic, error) from error
        delivery.add_done_callback(functools.partial(self._delivered, topic))

    def _delivered(self, topic: str, delivery: asyncio.Future[Any]) -> None:
        error = None if delivery.cancelled() else delivery.exception()
        if error is not None and self._failed is None:
            self._failed = _undelivered(topic, error)

    async def flush(self) -> None:
        await self._producer.flush()
        await asyncio.sleep(0)  # the last deliveries' callbacks
        if self._failed is not None:
            raise self._failed

    async def close(self) -> None:
        await self._producer.stop()


class _Librdkafka:
    def __init__(self, settings: Settings) -> None:
        try:
            import confluent_kafka
        except ModuleNotFoundError as error:
            raise Undelivered("the client librdkafka is not installed: pip install confluent-kafka") from error
        self._failed: Undelivered | None = None
        self._refused: type[Exception] = confluent_kafka.KafkaException
        provider = tokens(settings)
        options = {
            "bootstrap.servers": settings.kafka,
            "security.protocol": settings.kafka_security,
            "sasl.mechanism": settings.kafka_sasl if settings.kafka_user or provider else None,
            "oauth_cb": provider and (lambda _: _for_librdkafka(provider)),
            "sasl.username": settings.kafka_user,
            "sasl.password": settings.kafka_password.get_secret_value() if settings.kafka_password else None,
            "ssl.ca.location": settings.kafka_cafile,
            "ssl.certificate.location": settings.kafka_certfile,
            "ssl.key.location": settings.kafka_keyfile or settings.kafka_certfile,
            "ssl.key.password": settings.kafka_key_password.get_secret_value() if settings.kafka_key_password else None,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 10,
            "message.max.bytes": MAX_REQUEST_BYTES,
        }
        self._producer: Any = confluent_kafka.Producer({name: value for name, value in options.items() if value is not None})

    async def open(self) -> None:
        """Nothing: it connects by itself, and `kafka_sink` has looked whether it can."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None
    ) -> None:
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                self._producer.produce(
                    topic, value, key, headers=list(headers), timestamp=timestamp_ms or 0, on_delivery=self._delivered
                )
                self._producer.poll(0)
                return
            except BufferError:  # its queue is full
                await asyncio.to_thread(self._producer.poll, 0.1)
            except self._refused as error:
                raise _undelivered(topic, error) from error

    def _delivered(self, error: object, message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = _undelivered(message.topic(), error)

    async def flush(self) -> None:
        left = await asyncio.to_thread(self._producer.flush, 60)
        if self._failed is not None:
            raise self._failed
        if left:
            raise Undelivered(f"Kafka gave no answer to the last {left:,} records within 60 s")

    async def close(self) -> None:
        self._producer.purge()
        await asyncio.to_thread(self._producer.flush, 1)


def _for_librdkafka(provider: Tokens) -> tuple[str, float]:
    """Return the token, and when it ends, as librdkafka asks for them."""
    token = provider.now()
    return token.text, time.time() + 60 if token.ends_s is None else token.ends_s


def _undelivered(topic: str, error: object) -> Undelivered:
    if isinstance(error, MessageSizeTooLargeError):
        return Undelivered(f"topic {topic} refuses a record for its size: raise its max.message.bytes to {MAX_REQUEST_BYTES}")
    return Undelivered(f"topic {topic} refuses a record: {error or type(error).__name__}")
