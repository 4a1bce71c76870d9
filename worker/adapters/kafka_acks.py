"""`worker.intake_ports.Acks` in Kafka: records that are waited for one by one. A producer that breaks is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed

from worker.adapters.kafka_clients import client_options, in_words
from worker.core.contract.model import Output
from worker.errors import LeadPulseError, Undelivered
from worker.logs import fields
from worker.settings import KafkaConnection

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 2_000_000
_BATCH_BYTES: Final = 262_144
_AGAIN_S: Final = 1.0
_CLOSE_S: Final = 2.0


class KafkaAcks:
    """Puts records into Kafka and waits until all replicas have them (`acks=all`, idempotent).

    aiokafka never gives up a batch of an idempotent producer that it has sent once. Callers set their own deadline, and a
    record may be there although its caller has given up. What waits inside aiokafka is at most two batches a partition.
    """

    def __init__(self, settings: KafkaConnection) -> None:
        self._settings = settings
        self._producer: Any = None
        self._broken = asyncio.Event()
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def ready(self) -> bool:
        """Whether a producer is connected, as far as is known."""
        return self._producer is not None

    async def connected(self) -> None:
        """Return once a producer is connected."""
        await self._up.wait()

    async def put(self, records: Sequence[Output]) -> None:
        """Return once Kafka has every record. Raises `Undelivered`; some of the records may be there then."""
        producer = self._producer
        if producer is None:
            raise Undelivered(f"Kafka at {self._settings.kafka} is not connected")
        deliveries: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                deliveries.append(  # noqa: PERF401 (those of the records before are seen to, whatever happens)
                    await producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
                )
            for delivery in deliveries:
                await delivery
        except KafkaError as error:
            self._judge(producer, error)
            raise Undelivered(in_words(error)) from error
        except AssertionError as error:  # aiokafka asserts its states
            self._broken.set()
            raise Undelivered(f"Kafka: {error!r}") from error
        finally:
            for delivery in deliveries:
                if not delivery.done():
                    delivery.cancel()
                elif not delivery.cancelled():
                    delivery.exception()  # seen, so that asyncio does not log it

    def _judge(self, producer: Any, error: KafkaError) -> None:
        """Have the producer replaced if it will not recover: after most errors its sequence numbers are of no use."""
        ended = producer._sender.sender_task is None or producer._sender.sender_task.done()
        if producer is self._producer and (ended or not (error.retriable or isinstance(error, MessageSizeTooLargeError))):
            self._broken.set()

    async def _keep(self) -> None:
        """Keep a producer connected until cancelled."""
        told = False
        while True:
            self._broken.clear()
            producer: Any = None
            try:
                producer = AIOKafkaProducer(
                    **client_options(self._settings),
                    client_id=self._settings.client_id,
                    acks="all",
                    enable_idempotence=True,
                    compression_type="lz4",
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=MAX_REQUEST_BYTES,
                    request_timeout_ms=5_000,
                    retry_backoff_ms=100,
                )
                await producer.start()
                self._producer, told = producer, False
                self._up.set()
                log.info("connected to Kafka", extra=fields("producer.connected"))
                await self._broken.wait()
                log.warning("the producer broke, and another one is made", extra=fields("producer.broke"))
            except (KafkaError, LeadPulseError, OSError) as error:
                if not told:
                    words = in_words(error) if isinstance(error, KafkaError) else str(error)
                    log.warning("%s", words, extra=fields("producer.not_connected"))
                told = True
                await asyncio.sleep(_AGAIN_S)
            except Exception:
                log.exception("the producer failed, and another one is made", extra=fields("producer.failed"))
                await asyncio.sleep(_AGAIN_S)
            finally:
                self._producer = None
                self._up.clear()
                if producer is not None:
                    await _close(producer)


async def _close(producer: Any) -> None:
    """Close *producer* in any state, without waiting for what it could not deliver."""
    waiting = producer._message_accumulator
    with contextlib.suppress(Exception):
        waiting.fail_all(ProducerClosed())
        waiting._batches.clear()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()
    except Exception:  # noqa: BLE001 (after any error the next lines close the rest)
        sender = producer._sender.sender_task
        if sender is not None:
            sender.cancel()
        with contextlib.suppress(Exception):
            await producer.client.close()
