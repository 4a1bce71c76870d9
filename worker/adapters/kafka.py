"""Kafka, through aiokafka: consumers, the transactional producer of one partition, and administration.

What aiokafka leaves to its callers, and is answered here: it commits a transaction whose record was refused (every delivery
is awaited before the commit), retries for ever against a topic that is gone (an own deadline), asserts that a record has a
key or a value (records are appended to batches, which take both absent), and may never finish `stop` (`Producer.close`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition

from worker.adapters.fetched import Checks, place_of, read_batches_within_bounds
from worker.adapters.kafka_login import KafkaRefused as KafkaRefused
from worker.adapters.kafka_login import check_token, login_options, tell_why_not, why_not
from worker.adapters.topic_ids import topic_ids
from worker.core.contract.codec import NO_STAMP_MS
from worker.core.contract.folded import UNKNOWN
from worker.core.contract.model import Output, Record
from worker.core.contract.partitioner import murmur2
from worker.settings import Settings

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""What the internal, dead-letter and output topics must accept; an input record is 900 kB at most."""

TRANSACTION_TIMEOUT_MS = 10_000
"""After which the broker aborts a transaction left open: until then it blocks every reader of what it wrote to."""

DEADLINE_S = 8.0
"""Ours for a whole transaction, shorter than the broker's: we always know before the broker gives up."""

HEARTBEAT_S = 3.0

_COORDINATOR_S = 10.0
"""For how long we ask a group's coordinator that is starting or moving."""

_COORDINATOR_RETRY_S = 0.25

_BATCH_BYTES = 256 * 1024
_FETCH_PARTITION_BYTES = 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024
_FETCH_WAIT_MS = 200
_INPUT_RETENTION_MS = 7 * 86_400_000
_INTERNAL_RETENTION_MS = 14 * 86_400_000


read_batches_within_bounds()
tell_why_not()


CHECK_CONNECTION = (
    "does it run, and do the brokers expect what LEADPULSE_KAFKA, LEADPULSE_KAFKA_SECURITY, LEADPULSE_KAFKA_SASL,"
    " LEADPULSE_KAFKA_USER, LEADPULSE_KAFKA_PASSWORD and LEADPULSE_KAFKA_CAFILE say, or LEADPULSE_KAFKA_TOKEN_FILE,"
    " LEADPULSE_KAFKA_TOKEN_COMMAND and LEADPULSE_KAFKA_CERTFILE?"
)


class ProducerFailed(Exception):
    """A transaction did not end well; whether it is committed is not known. The producer is of no more use."""


class OutOfTime(ProducerFailed):
    """A transaction did not end within `DEADLINE_S`."""


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


async def _started(producer: AIOKafkaProducer) -> None:
    """Start *producer*; where that is cancelled, let it come to an end first, for a second.

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


def to_record(r: ConsumerRecord) -> Record:
    """Return *r* as ours. A header without a value counts as one with an empty value, a timestamp before 2000 as none."""
    place = place_of(r)
    if place is not None:
        return place
    headers = tuple([(key, value or b"") for key, value in r.headers]) if r.headers else ()
    return Record(r.topic, r.partition, r.offset, r.timestamp if r.timestamp >= NO_STAMP_MS else None, r.key, r.value, headers)


class Producer:
    """The transactional producer of one partition, for one incarnation of it.

    Starting it fences the one before it, in this process or in another, and aborts the transaction that it left open. After
    any error it must be closed and not used again: going on after an abort gives `OutOfOrderSequenceNumber`.
    """

    def __init__(self, settings: Settings, partition: int) -> None:
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
                f" Describe on the transactional ids that begin with 'leadpulse.{self._settings.namespace}.'"
            ) from err
        except (KafkaError, TimeoutError) as err:
            raise ProducerFailed(f"the producer of partition {self._partition} did not start: {err!r}") from err

    def new_token(self) -> str:
        """Return a new `producer-id:epoch:uuid`: what the store knows the owner by. A later start has a higher epoch."""
        ours = self._producer._txn_manager  # no public name for the two numbers
        return f"{ours.producer_id}:{ours.producer_epoch}:{uuid.uuid4().hex}"

    async def send(self, outputs: Sequence[Output], next_: Mapping[str, int], batch: int, step: Callable[[str], None]) -> None:
        """Write *outputs* and the offsets *next_* with *batch* in their metadata in one transaction: all of it or nothing.

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
        """Let go of everything, whatever state the producer is in. What was not committed will not be."""
        waiting = self._producer._message_accumulator
        for batch in [*itertools.chain.from_iterable(waiting._batches.values()), *waiting._pending_batches]:
            for future in (batch.future, batch._drain_waiter):
                future.add_done_callback(_seen)
        with contextlib.suppress(Exception):
            waiting.fail_all(ProducerClosed())  # `stop` would flush it first, for ever where a topic is gone
            waiting._batches.clear()  # the sender still runs, and asserts that what it takes has not failed
        try:
            async with asyncio.timeout(2):
                await self._producer.stop()
        except Exception:  # noqa: BLE001 (whatever it was, the next line lets go of the rest)
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
            raise KafkaRefused(_not_allowed(topic)) from err
        except (KafkaError, TimeoutError) as err:
            raise ProducerFailed(f"partition {self._partition}: topic {topic} is not known to the brokers: {err!r}") from err

    async def _send_batch(self, tp: TopicPartition, batch: Any) -> asyncio.Future[Any]:
        delivery: asyncio.Future[Any] = await self._producer.send_batch(batch, tp.topic, partition=tp.partition)
        delivery.add_done_callback(_seen)  # the first failure is reported
        return delivery

    async def _delivered(self, deliveries: list[tuple[TopicPartition, asyncio.Future[Any]]]) -> None:
        """Wait until the brokers hold every batch: aiokafka would commit without those that were refused."""
        for tp, delivery in deliveries:
            try:
                await delivery
            except (MessageSizeTooLargeError, RecordListTooLargeError) as err:
                raise KafkaRefused(
                    f"topic {tp.topic} refuses a record for its size: set its max.message.bytes to {MAX_RECORD_BYTES}"
                    f" (kafka-configs.sh --alter --topic {tp.topic} --add-config max.message.bytes={MAX_RECORD_BYTES})"
                ) from err
            except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as err:
                raise KafkaRefused(_not_allowed(tp.topic)) from err
            except (PolicyViolationError, InvalidTopicError) as err:
                raise KafkaRefused(f"topic {tp.topic} refuses our records: {err!r}") from err


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of *future*'s error, so that asyncio does not tell of one that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


def _not_allowed(topic: str) -> str:
    return f"no right to write to topic {topic}: grant Write and Describe on it"


class Admin:
    """Questions and orders to the cluster, outside of the hot path."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AIOKafkaAdminClient(
            **client_options(settings), client_id=f"{settings.group}.admin", request_timeout_ms=10_000
        )

    async def __aenter__(self) -> Admin:
        """Connect.

        Raises aiokafka's `KafkaConnectionError` when no broker answers, `KafkaRefused` without a token to log in by.
        """
        try:
            await check_token(self._settings)
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for one that does not exist.

        Raises `KafkaRefused` for one that we may not describe.
        """
        found = dict.fromkeys(topics, 0)
        # Asks for all and picks: asking for a topic by name makes it, where brokers create topics by themselves.
        for topic in await self._client.describe_topics():
            if topic["topic"] in found:
                if topic["error_code"] == TopicAuthorizationFailedError.errno:
                    raise KafkaRefused(_not_allowed(topic["topic"]))
                found[topic["topic"]] = len(topic["partitions"])
        return found

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists; `UNKNOWN` where brokers give none (before Kafka 2.8).

        Raises `KafkaRefused` for one that we may not describe.
        """
        try:
            return await topic_ids(self._client, topics)
        except IncompatibleBrokerVersion:
            return {topic: UNKNOWN for topic, count in (await self.partitions(topics)).items() if count}
        except TopicAuthorizationFailedError as err:
            raise KafkaRefused(_not_allowed(str(err.args[0]))) from err

    async def replicas(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the fewest replicas of a partition of each of *topics* that exists."""
        wanted = set(topics)
        return {
            topic["topic"]: min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
            for topic in await self._client.describe_topics()
            if topic["topic"] in wanted
        }

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration in force."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for response in await self._client.describe_configs(asked):
            for code, message, _, topic, entries, *_ in response.resources:
                if code:
                    raise for_code(code)(f"configuration of topic {topic}: {message}")
                found[topic] = {entry[0]: entry[1] for entry in entries}
        return found

    async def brokers(self, name: str) -> dict[str, str]:
        """Return the setting *name* by broker.

        Raises aiokafka's `KafkaError` where that is not shown: without the right, or by a service that hides its brokers.
        """
        nodes = (await self._client.describe_cluster())["brokers"]
        asked = [ConfigResource(ConfigResourceType.BROKER, str(node["node_id"]), {name: ""}) for node in nodes]
        found: dict[str, str] = {}
        for response in await self._client.describe_configs(asked):
            for code, message, _, broker, entries, *_ in response.resources:
                if code:
                    raise for_code(code)(f"configuration of broker {broker}: {message}")
                found.update((broker, entry[1]) for entry in entries if entry[0] == name)
        return found

    async def create(self, topic: str, partitions: int, replication: int, configs: Mapping[str, str]) -> bool:
        """Create *topic*; return False where it is there: made by another, or by a create that metadata do not show yet.

        Raises aiokafka's error for any other code that the broker answers with, with its words.
        """
        assignments: dict[int, list[int]] | None = {} if replication == -1 else None  # NewTopic insists
        new = NewTopic(topic, partitions, replication, assignments, dict(configs))
        response = await self._client.create_topics([new])
        for name, code, *message in response.topic_errors:
            if code and for_code(code) is TopicAlreadyExistsError:
                return False
            if code:
                raise for_code(code)(f"topic {name}: {message[0] if message and message[0] else 'not created'}")
        return True

    async def members(self, group: str) -> int:
        """Return how many consumers *group* has now.

        Raises aiokafka's `KafkaError`, and `KafkaRefused` without the right to ask.
        """
        (response,) = await self._client.describe_consumer_groups([group])
        ((code, _, _, _, _, members, *_),) = response.groups
        if code == GroupAuthorizationFailedError.errno:
            raise KafkaRefused(f"no right to look at group {group!r}: grant Describe on it")
        if code:
            raise for_code(code)(f"group {group}")
        return len(members)

    async def committed(self, partition: int) -> dict[str, OffsetAndMetadata]:
        """Return the group's committed offset and metadata for *partition* of each topic that has one.

        Asks for `_COORDINATOR_S` while the group's coordinator starts or moves. Raises aiokafka's `KafkaError` after that, and
        for any other answer that does not speak of every topic: to take "not known yet" for "nothing committed" would publish
        batches again. Raises `KafkaRefused` when we may not read the group.
        """
        group, topics = self._settings.group, self._settings.topics
        request = OffsetFetchRequest(group, [(topic, [partition]) for topic in topics])
        deadline = time.monotonic() + _COORDINATOR_S
        while True:
            try:
                # Not `list_consumer_group_offsets`, which answers "none" when the whole request was refused.
                node = await self._client.find_coordinator(group)
                return committed_offsets(await self._client._send_request(request, node), topics, partition)
            except GroupAuthorizationFailedError as err:
                raise KafkaRefused(f"no right to read the offsets of group {group!r}: grant Read on it") from err
            except KafkaError as err:
                if not err.retriable or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_COORDINATOR_RETRY_S)


def committed_offsets(response: Any, topics: Collection[str], partition: int) -> dict[str, OffsetAndMetadata]:
    """Return what an OffsetFetch *response* says of *partition* of each of *topics* that has a committed offset.

    Raises the `KafkaError` of the response as a whole (the coordinator loads, or is another by now) or of one of its parts, and
    a plain one when a topic is not in it: brokers answer for each, with offset -1 where there is none.
    """
    code = getattr(response, "error_code", 0)  # from version 2 on
    if code:
        raise for_code(code)("the group's offsets were not given")
    found: dict[str, OffsetAndMetadata] = {}
    for topic, parts in response.topics:
        for number, offset, metadata, error in parts:
            if error:
                raise for_code(error)(f"the group's offset of {topic}[{number}] was not given")
            if number == partition:
                found[topic] = OffsetAndMetadata(offset, metadata)
    silent = sorted(set(topics) - found.keys())
    if silent:
        raise KafkaError(f"the group's coordinator says nothing of partition {partition} of {', '.join(silent)}")
    return {topic: at for topic, at in found.items() if at.offset >= 0}


def topic_configs(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the configuration that each topic of ours is made with, by topic.

    The internal topic is the journal: time stamped by the broker (a worker's wrong clock must not ruin a partition), deleted by
    age, never by size, and never compacted. It is kept at least as long as the longest input, so that whatever can be read
    again can be folded again by its cuts.
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
    return configs


_LOOKS = 100
_LOOK_EVERY_S = 0.1
"""How many times at most new topics are looked for. Past that, whoever needs them says that they are missing."""


async def create_topics(admin: Admin, settings: Settings, replication: int = -1) -> dict[str, str]:
    """Create the topics that are missing; change nothing that is there.

    Returns by topic what was found or done: `created`, `exists`, or `differs: …` with each difference that matters and the
    command that mends it. *replication* -1 is the brokers' default. An existing input's retention is its owner's business; the
    internal topic is made with at least the longest of them.
    """
    wanted = topic_configs(settings)
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
    for _ in range(_LOOKS):  # the controller answers before the brokers know, and a worker that starts at once would refuse
        if all((await admin.partitions(report)).values()):
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    return report


def longest(retentions: Iterable[int]) -> int:
    """Return the longest retention in ms, where -1 is for ever; 0 of none."""
    known = list(retentions)
    return -1 if -1 in known else max(known, default=0)


def differences(settings: Settings, topic: str, partitions: int, config: Mapping[str, str] | None, retention: str) -> list[str]:
    """Return what is wrong with an existing topic of ours, each with the command that mends it.

    *config* `None`: not known, not looked at. *retention* is the least that the internal topic must keep, in ms; -1 is for
    ever.
    """
    inputs, internal = settings.input_topics, settings.internal_topic
    found: list[str] = []
    if (topic in inputs or topic == internal) and partitions != settings.partitions:
        found.append(_partitions_differ(settings, topic, partitions))
    if config is None:
        return found
    if topic in inputs:
        if "compact" in config["cleanup.policy"]:
            found.append(compacted_input(topic, config["cleanup.policy"]))
        return found

    def want(name: str, value: str, holds: bool) -> None:
        if not holds:
            mend = f"kafka-configs.sh --alter --topic {topic} --add-config {name}={value}"
            found.append(f"{name} is {config.get(name)}, needs {value} ({mend})")

    want("max.message.bytes", str(MAX_RECORD_BYTES), int(config["max.message.bytes"]) >= MAX_RECORD_BYTES)
    if topic == internal:
        want("message.timestamp.type", "LogAppendTime", config["message.timestamp.type"] == "LogAppendTime")
        want("cleanup.policy", "delete", config["cleanup.policy"] == "delete")
        want("retention.bytes", "-1", config.get("retention.bytes", "-1") == "-1")
        ours = int(config["retention.ms"])
        want("retention.ms", retention, longest([ours, int(retention)]) == ours)
    return found


def compacted_input(topic: str, policy: str) -> str:
    """Return what is wrong with an input whose `cleanup.policy` is *policy*, with the command that mends it."""
    return (
        f"cleanup.policy is {policy}: a compacted input loses records that must be folded again after Redis went back; needs"
        f" delete (kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete)"
    )


def _partitions_differ(settings: Settings, topic: str, partitions: int) -> str:
    said = f"topic {topic} has {partitions} partitions, LEADPULSE_PARTITIONS says {settings.partitions}"
    if partitions < settings.partitions:
        return f"{said} (kafka-topics.sh --alter --topic {topic} --partitions {settings.partitions})"
    return (
        f"{said}: partitions cannot be taken away, and each lead's owner depends on their number; with"
        f" LEADPULSE_PARTITIONS={partitions} and another LEADPULSE_NAMESPACE, `leadpulse repartition` moves the leads"
    )
