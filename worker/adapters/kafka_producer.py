"""The transactional producer of one partition, through aiokafka.

aiokafka leaves four things to its callers:

- It commits a transaction whose record was refused. Every delivery is awaited before the commit.
- It retries for ever against a topic that is gone. A transaction has a deadline of our own.
- It asserts that a record has a key or a value. Records are appended to batches, which take both absent.
- It may never finish `stop`. `Producer.close` abandons the connections then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.adapters.kafka_clients import client_options, not_allowed
from worker.adapters.kafka_topics import MAX_RECORD_BYTES
from worker.core.contract.model import Output
from worker.core.contract.partitioner import murmur2
from worker.errors import KafkaRefused, OutOfTime, ProducerFailed
from worker.settings import GroupConnection

TRANSACTION_TIMEOUT_MS = 10_000
"""Time after which the broker aborts an open transaction. Until then it blocks every reader of its partitions."""

DEADLINE_S = 8.0
"""Our time limit for a whole transaction. It is shorter than the broker's, so we give up first."""

_BATCH_BYTES = 256 * 1024


async def _started(producer: AIOKafkaProducer) -> None:
    """Start *producer*. If that is cancelled, wait for its end, for a second.

    aiokafka lets go of the connection by which it looks for the cluster only at the end of its start.
    """
    starting = asyncio.create_task(producer.start())
    starting.add_done_callback(_seen)
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=1)
        starting.cancel()
        raise


class Producer:
    """The transactional producer of one partition, for one incarnation of it.

    Starting it fences the one before it, in this process or in another, and aborts the transaction that it left open. After
    any error it must be closed and not used again: going on after an abort gives `OutOfOrderSequenceNumber`.
    """

    def __init__(self, settings: GroupConnection, partition: int) -> None:
        self._settings = settings
        self._partition = partition
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            client_id=f"{settings.group}.{partition}",
            transactional_id=settings.transactional_id(partition),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=5_000,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )

    async def start(self) -> None:
        """Connect and take the transactional id over. Raises `ProducerFailed`, or `KafkaRefused` without the right to it."""
        try:
            async with asyncio.timeout(4 * DEADLINE_S):
                await _started(self._producer)
        except TransactionalIdAuthorizationFailed as err:
            raise KafkaRefused(
                f"no right to write transactions as {self._settings.transactional_id(self._partition)!r}: grant Write and"
                f" Describe on the transactional ids that begin with '{self._settings.group}.'"
            ) from err
        except (KafkaError, TimeoutError) as err:
            raise ProducerFailed(f"the producer of partition {self._partition} did not start: {err!r}") from err

    def new_token(self) -> str:
        """Return a new `producer-id:epoch:uuid`, by which the store knows the owner. A later start has a higher epoch."""
        ours = self._producer._txn_manager  # no public name for the two numbers
        return f"{ours.producer_id}:{ours.producer_epoch}:{uuid.uuid4().hex}"

    async def send(self, outputs: Sequence[Output], next_: Mapping[str, int], batch: int, step: Callable[[str], None]) -> None:
        """Write *outputs* and the offsets *next_*, with *batch* in their metadata, in one transaction.

        Returns once it is committed. *step* is called with the name of each step reached. Raises `KafkaRefused` when Kafka will
        never take a record, `ProducerFailed` otherwise.
        """
        batches = await self._encoded(outputs)  # before the transaction: an open one blocks readers
        offsets = {TopicPartition(t, self._partition): OffsetAndMetadata(at, str(batch)) for t, at in next_.items()}
        step("before_transaction")
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._producer.begin_transaction()
                await self._delivered([(tp, await self._send_batch(tp, b)) for tp, b in batches])
                step("in_transaction")
                await self._producer.send_offsets_to_transaction(offsets, self._settings.group)
                step("before_commit")
                await self._producer.commit_transaction()
        except TimeoutError as err:
            raise OutOfTime(f"partition {self._partition}: a transaction took more than {DEADLINE_S:g} s") from err
        except GroupAuthorizationFailedError as err:
            raise KafkaRefused(f"no right to commit offsets: grant Read on group {self._settings.group!r}") from err
        except (KafkaError, AssertionError, OSError) as err:  # aiokafka asserts its states
            raise ProducerFailed(f"partition {self._partition}: transaction failed: {err!r}") from err
        step("after_commit")

    async def close(self) -> None:
        """Close the producer in any state. An open transaction is never committed."""
        waiting = self._producer._message_accumulator
        for batch in [*itertools.chain.from_iterable(waiting._batches.values()), *waiting._pending_batches]:
            for future in (batch.future, batch._drain_waiter):
                future.add_done_callback(_seen)
        with contextlib.suppress(Exception):
            waiting.fail_all(ProducerClosed())  # `stop` would flush it first, and never end if a topic is gone
            waiting._batches.clear()  # the sender still runs, and asserts that no batch has failed
        try:
            async with asyncio.timeout(2):
                await self._producer.stop()
        except Exception:  # noqa: BLE001 (after any error the next lines close the rest)
            await self._abandon()
        ended = self._producer._txn_manager.wait_for_transaction_end()
        if ended is not None:
            ended.add_done_callback(_seen)

    async def _abandon(self) -> None:
        sender = self._producer._sender.sender_task
        if sender is not None:
            sender.cancel()  # a second time: the first is waiting for requests in flight
            await asyncio.wait([sender], timeout=1)
        with contextlib.suppress(Exception):
            await self._producer.client.close()

    async def _encoded(self, outputs: Iterable[Output]) -> list[tuple[TopicPartition, Any]]:
        """Return *outputs* as batches by topic and partition; the order within each is kept."""
        partitions: dict[str, int] = {}
        open_: dict[TopicPartition, Any] = {}
        batches: list[tuple[TopicPartition, Any]] = []
        for output in outputs:
            if output.topic not in partitions:
                partitions[output.topic] = await self._partitions(output.topic)
            tp = TopicPartition(output.topic, self._target(output, partitions[output.topic]))
            batch = open_.get(tp)
            if batch is None or not self._append(batch, output):
                batch = open_[tp] = self._producer.create_batch()
                batches.append((tp, batch))
                self._append(batch, output)  # the first record of a batch is always taken
        for _, batch in batches:
            batch.close()
        return batches

    @staticmethod
    def _append(batch: Any, output: Output) -> bool:
        return batch.append(timestamp=None, key=output.key, value=output.value, headers=list(output.headers)) is not None

    def _target(self, output: Output, partitions: int) -> int:
        if output.partition is not None:
            return output.partition
        if output.key is None:
            return self._partition % partitions
        return (murmur2(output.key) & 0x7FFFFFFF) % partitions

    async def _partitions(self, topic: str) -> int:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return len(await self._producer.partitions_for(topic))
        except TopicAuthorizationFailedError as err:
            raise KafkaRefused(not_allowed(topic)) from err
        except (KafkaError, TimeoutError) as err:
            raise ProducerFailed(f"partition {self._partition}: topic {topic} is not known to the brokers: {err!r}") from err

    async def _send_batch(self, tp: TopicPartition, batch: Any) -> asyncio.Future[Any]:
        delivery: asyncio.Future[Any] = await self._producer.send_batch(batch, tp.topic, partition=tp.partition)
        delivery.add_done_callback(_seen)  # the first failure is reported
        return delivery

    async def _delivered(self, deliveries: list[tuple[TopicPartition, asyncio.Future[Any]]]) -> None:
        """Wait until the brokers have every batch. Otherwise aiokafka would commit without refused batches."""
        for tp, delivery in deliveries:
            try:
                await delivery
            except (MessageSizeTooLargeError, RecordListTooLargeError) as err:
                raise KafkaRefused(
                    f"topic {tp.topic} refuses a record for its size: set its max.message.bytes to {MAX_RECORD_BYTES}"
                    f" (kafka-configs.sh --alter --topic {tp.topic} --add-config max.message.bytes={MAX_RECORD_BYTES})"
                ) from err
            except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as err:
                raise KafkaRefused(not_allowed(tp.topic)) from err
            except (PolicyViolationError, InvalidTopicError) as err:
                raise KafkaRefused(f"topic {tp.topic} refuses our records: {err!r}") from err


def _seen(future: asyncio.Future[Any]) -> None:
    """Retrieve *future*'s error, so that asyncio does not log it when no task waits for it."""
    if not future.cancelled():
        future.exception()
