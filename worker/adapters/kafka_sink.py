"""`worker.intake_ports.LogIntake` in Kafka: records without a transaction, through aiokafka or librdkafka."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import client_options
from worker.adapters.kafka_login import Tokens, tokens
from worker.core.contract.model import Headers
from worker.errors import KafkaRefused, LogUnavailable, Undelivered
from worker.intake_ports import Sink
from worker.settings import KafkaConnection

Client = Literal["aiokafka", "librdkafka"]

MAX_REQUEST_BYTES: Final = 2_000_000
"""Larger than any valid event, so that a record over the worker's limit can be sent. The worker then rejects it."""

_PENDING_BYTES: Final = 262_144
_ANSWER_S: Final = 20.0
_FLUSH_S: Final = 60.0


class KafkaIntake:
    """`worker.intake_ports.LogIntake` of one Kafka cluster.

    The client `aiokafka` chooses a key's partition as Kafka's own producers do (murmur2). `librdkafka` uses its default, CRC32,
    so most records come as strays.
    """

    def __init__(self, settings: KafkaConnection, client: Client = "aiokafka") -> None:
        self._settings = settings
        self._client = client

    @property
    def name(self) -> str:
        """How messages name the log."""
        return f"Kafka at {self._settings.kafka}"

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each of *topics* has, 0 for a missing one. Raises `Undelivered` without an answer."""
        try:
            async with asyncio.timeout(_ANSWER_S), Admin(self._settings) as admin:
                return await admin.partitions(topics)
        except (KafkaRefused, LogUnavailable) as error:
            raise Undelivered(error.line()) from error
        except (OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise Undelivered(f"{self.name} cannot be reached ({why}): does it run, is the address right?") from error

    @contextlib.asynccontextmanager
    async def sink(self) -> AsyncIterator[Sink]:
        """Open a sink. Each record is acknowledged by all replicas, and none is written twice by a retry.

        Leaving the block without an exception waits until everything is delivered. Raises `Undelivered`.
        """
        sink: _Aiokafka | _Librdkafka = (_Aiokafka if self._client == "aiokafka" else _Librdkafka)(self._settings)
        await sink.open()
        try:
            yield sink
            await sink.flush()
        finally:
            await sink.close()


class _Aiokafka:
    def __init__(self, settings: KafkaConnection) -> None:
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
    def __init__(self, settings: KafkaConnection) -> None:
        try:
            import confluent_kafka
        except ModuleNotFoundError as error:
            raise Undelivered("the client librdkafka is not installed: pip install confluent-kafka") from error
        self._failed: Undelivered | None = None
        self._refused: type[Exception] = confluent_kafka.KafkaException
        self._producer: Any = confluent_kafka.Producer(_librdkafka_options(settings))

    async def open(self) -> None:
        """Do nothing: librdkafka connects by itself, and its caller has asked for the topics before."""

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
        left = await asyncio.to_thread(self._producer.flush, _FLUSH_S)
        if self._failed is not None:
            raise self._failed
        if left:
            raise Undelivered(f"Kafka did not acknowledge the last {left:,} records within {_FLUSH_S:g} s")

    async def close(self) -> None:
        self._producer.purge()
        await asyncio.to_thread(self._producer.flush, 1)


def _librdkafka_options(settings: KafkaConnection) -> dict[str, Any]:
    provider = tokens(settings)
    options = {
        "bootstrap.servers": settings.kafka,
        "security.protocol": settings.kafka_security,
        "sasl.mechanism": settings.kafka_sasl if settings.kafka_user or provider else None,
        "oauth_cb": provider and (lambda _: _for_librdkafka(provider)),
        "sasl.username": settings.kafka_user,
        "sasl.password": settings.kafka_password and settings.kafka_password.get_secret_value(),
        "ssl.ca.location": settings.kafka_cafile,
        "ssl.certificate.location": settings.kafka_certfile,
        "ssl.key.location": settings.kafka_keyfile or settings.kafka_certfile,
        "ssl.key.password": settings.kafka_key_password and settings.kafka_key_password.get_secret_value(),
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 10,
        "message.max.bytes": MAX_REQUEST_BYTES,
    }
    return {name: value for name, value in options.items() if value is not None}


def _for_librdkafka(provider: Tokens) -> tuple[str, float]:
    """Return the token, and when it ends, as librdkafka asks for them."""
    token = provider.now()
    return token.text, time.time() + 60 if token.ends_s is None else token.ends_s


def _undelivered(topic: str, error: object) -> Undelivered:
    if isinstance(error, MessageSizeTooLargeError):
        return Undelivered(f"topic {topic} refuses a record for its size: raise its max.message.bytes to {MAX_REQUEST_BYTES}")
    return Undelivered(f"topic {topic} refuses a record: {error or type(error).__name__}")
