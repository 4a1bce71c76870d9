"""Kafka consumers, through aiokafka, and the connection settings and error messages of all Kafka clients."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ParamSpec, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.adapters.fetched import Checks, place_of, read_batches_within_bounds
from worker.adapters.kafka_login import check_token, login_options, tell_why_not, why_not
from worker.core.contract.instants import NO_STAMP_MS
from worker.core.contract.model import Record
from worker.errors import KafkaRefused as KafkaRefused
from worker.errors import LogUnavailable, NoRight, OffsetsGone, Reassigned
from worker.ports import Fetched, LogPartition
from worker.settings import GroupConnection, KafkaConnection

P = ParamSpec("P")
T = TypeVar("T")

HEARTBEAT_S = 3.0
_FETCH_PARTITION_BYTES = 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024
_FETCH_WAIT_MS = 200
_CANCEL_AGAIN_S = 0.5
_NOWHERE = TopicPartition("", 0)

read_batches_within_bounds()
tell_why_not()

CHECK_CONNECTION = (
    "does it run, and do the brokers expect what LEADPULSE_KAFKA, LEADPULSE_KAFKA_SECURITY, LEADPULSE_KAFKA_SASL,"
    " LEADPULSE_KAFKA_USER, LEADPULSE_KAFKA_PASSWORD and LEADPULSE_KAFKA_CAFILE say, or LEADPULSE_KAFKA_TOKEN_FILE,"
    " LEADPULSE_KAFKA_TOKEN_COMMAND and LEADPULSE_KAFKA_CERTFILE?"
)


def client_options(settings: KafkaConnection) -> dict[str, Any]:
    """Return the options by which every client connects. Raises `KafkaRefused` for a file that cannot be used."""
    return {"bootstrap_servers": settings.kafka, **login_options(settings)}


def in_words(err: KafkaError) -> str:
    """Return *err* as a message with the remedy."""
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


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Translate aiokafka's errors into ours."""
    try:
        yield
    except OffsetOutOfRangeError as err:
        where = ", ".join(f"{tp.topic}[{tp.partition}] offset {offset}" for tp, offset in err.args[0].items())
        raise OffsetsGone(repr(err), in_words(err), where) from err
    except KafkaError as err:
        kind = LogUnavailable
        if isinstance(err, IllegalStateError):
            kind = Reassigned
        elif isinstance(err, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
            kind = NoRight
        raise kind(
            repr(err), in_words(err), retriable=err.retriable, unreachable=isinstance(err, KafkaConnectionError)
        ) from err


def translating(method: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a method that calls aiokafka, so that it raises our errors."""

    @functools.wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with translated():
            return await method(*args, **kwargs)

    return call


class KafkaReader:
    """`worker.ports.LogReader` over one of aiokafka's consumers."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def assign(self, partitions: Iterable[LogPartition]) -> None:
        """Read *partitions* from now on."""
        self._consumer.assign([TopicPartition(*tp) for tp in partitions])

    def assignment(self) -> AbstractSet[LogPartition]:
        """Return the assigned partitions: another object after each rebalance."""
        found: AbstractSet[LogPartition] = self._consumer.assignment()  # equal to ours, and must stay the same object
        return found

    def seek(self, partition: LogPartition, offset: int) -> None:
        """Read *partition* from *offset* on."""
        with translated():
            self._consumer.seek(TopicPartition(*partition), offset)

    async def position(self, partition: LogPartition) -> int:
        """Return the offset from which the next fetch reads."""
        with translated():
            return int(await self._consumer.position(TopicPartition(*partition)))

    async def fetch(
        self, partitions: Sequence[LogPartition], wait_s: float, most: int | None = None
    ) -> dict[LogPartition, Fetched]:
        """Return at most *most* records of *partitions*, waiting up to *wait_s* for the first; see the port."""
        consumer, tps = self._consumer, [TopicPartition(*tp) for tp in partitions]
        with translated():
            assignment = consumer.assignment()
            got = await consumer.getmany(*tps, timeout_ms=max(1, int(wait_s * 1000)), max_records=most)
            if consumer.assignment() is not assignment:
                raise IllegalStateError("the assignment changed")
            # No suspension point between the fetch and here: the positions are those of these records.
            return {
                tp: Fetched([to_record(r) for r in got.get(tp, ())], await consumer.position(theirs))
                for tp, theirs in zip(partitions, tps, strict=True)
            }

    def end(self, partition: LogPartition) -> int | None:
        """Return the high watermark at the last fetch; `None` before the first."""
        found: int | None = self._consumer.highwater(TopicPartition(*partition))
        return found

    def polled_ms(self, partition: LogPartition) -> int | None:
        """Return when the last fetch was answered, by this machine's clock; `None` before the first."""
        found: int | None = self._consumer.last_poll_timestamp(TopicPartition(*partition))
        return found

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        with translated():
            found = await self._consumer.beginning_offsets([TopicPartition(*tp) for tp in partitions])
        return {LogPartition(*tp): offset for tp, offset in found.items()}

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*."""
        with translated():
            found = await self._consumer.end_offsets([TopicPartition(*tp) for tp in partitions])
        return {LogPartition(*tp): offset for tp, offset in found.items()}


class KafkaGroup(KafkaReader):
    """`worker.ports.LogGroup`: this worker's member of the group.

    It never commits, because W must move only inside transactions. It never resets an offset by itself: every position is
    sought.
    """

    def __init__(self, settings: GroupConnection) -> None:
        """Raise `KafkaRefused` for a file that cannot be used. Connects to nothing yet."""
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
        super().__init__(consumer)

    async def join(self, topics: Sequence[str], assigned: Callable[[set[LogPartition]], None]) -> None:
        """Join; *assigned* is called with all of our partitions after each rebalance, and must not raise."""
        self._consumer.subscribe(list(topics), listener=_Listener(assigned))
        with translated():
            await self._consumer.start()

    async def poll(self) -> None:
        """Poll for no record, for a second at most; see the port."""
        with translated():
            await self._consumer.getmany(_NOWHERE, timeout_ms=1_000)

    def refresh(self) -> None:
        """Ask the brokers for topics and leaders now. By itself the client asks once a minute."""
        self._consumer._client.force_metadata_update()

    def on_change(self, call: Callable[..., None]) -> None:
        """Call *call* whenever the brokers report other topics, leaders or partitions."""
        self._consumer._client.cluster.add_listener(call)  # no public name for it

    async def close(self) -> None:
        """Leave the group and close the connections."""
        await _stop(self._consumer)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, assigned: Callable[[set[LogPartition]], None]) -> None:
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Do nothing. This protocol revokes all partitions before each assignment, even those that stay."""

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Pass on the new assignment. It must not raise, because aiokafka ignores errors here."""
        self._assigned({LogPartition(*tp) for tp in assigned})


@contextlib.asynccontextmanager
async def free_reader(
    settings: GroupConnection, partitions: Sequence[LogPartition], wait_ms: int = _FETCH_WAIT_MS
) -> AsyncIterator[KafkaReader]:
    """Yield a reader of *partitions* outside of any group. Seek before reading.

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
    reader = KafkaReader(consumer)
    if partitions:
        reader.assign(partitions)
    try:
        with translated():
            await check_token(settings)
            await consumer.start()
        await asyncio.sleep(0)  # aiokafka's `stop` raises CancelledError where a task of the consumer has not begun yet
        yield reader
    finally:
        await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Close *consumer*, and leave its group if it has one.

    After a new assignment aiokafka's fetcher cancels its requests and waits for them. It takes a cancellation of its own for
    theirs then, goes on, and `stop` would wait for ever. So the fetcher is cancelled until it has ended.
    """
    stopping: Any = asyncio.create_task(consumer.stop())
    try:
        while not (await asyncio.wait([stopping], timeout=_CANCEL_AGAIN_S))[0]:
            fetcher = consumer._fetcher
            if fetcher is not None:
                fetcher._fetch_task.cancel()
    finally:
        if not stopping.done():  # the caller has given up and reports that; asyncio's own line would be the last one of the log
            stopping.cancel()
            stopping._log_destroy_pending = False
    await stopping


def to_record(r: ConsumerRecord) -> Record:
    """Return aiokafka's record *r* as a `Record`.

    A header without a value counts as one with an empty value. A timestamp before 2000 counts as none.
    """
    place = place_of(r)
    if place is not None:
        return place
    headers = tuple([(key, value or b"") for key, value in r.headers]) if r.headers else ()
    return Record(r.topic, r.partition, r.offset, r.timestamp if r.timestamp >= NO_STAMP_MS else None, r.key, r.value, headers)


def not_allowed(topic: str) -> str:
    """Return the refusal of a topic that we may not write to."""
    return f"no right to write to topic {topic}: grant Write and Describe on it"
