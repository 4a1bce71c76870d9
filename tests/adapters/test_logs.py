"""One suite for every log: a real broker, and the log in memory that other tests trust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.partitioner import murmur2
from aiokafka.structs import TopicPartition

from tests.kit.services import Kafka
from tests.kit.waits import until
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup, free_reader
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.kafka_topics import create_topics
from worker.adapters.memory_log import MemoryLog, MemoryReader
from worker.core.contract.model import Output, Record
from worker.core.contract.partitioner import owner
from worker.errors import OffsetsGone, ProducerFailed
from worker.intake_ports import LogIntake
from worker.ports import Committed, Fetched, Log, LogGroup, LogPartition, LogReader
from worker.settings import Settings


class Death(Exception):
    """Ends a producer in the middle of a transaction."""


class Given(NamedTuple):
    """A log for one test, with what the systems around it do."""

    settings: Settings
    log: Log
    append: Callable[..., Any]
    """(value, key, partition) → awaits that a record without a transaction is written to the input."""
    truncate: Callable[..., Any]
    group: Callable[[], LogGroup]
    intake: LogIntake


def settings_of(namespace: str, address: str) -> Settings:
    """Return settings whose topics no other test uses."""
    return Settings.load(
        {
            "LEADPULSE_KAFKA": address,
            "LEADPULSE_NAMESPACE": namespace,
            "LEADPULSE_PARTITIONS": "3",
            "LEADPULSE_INPUT_TOPICS": f"{namespace}.web",
            "LEADPULSE_OUTPUT_TOPICS": "",
            "LEADPULSE_DEVELOPMENT": "true",
            "LEADPULSE_SESSION_TIMEOUT": "6",
        }
    )


@pytest.fixture(params=["memory", "kafka"])
async def given(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Given]:
    """Return a log with empty topics."""
    if request.param == "memory":
        settings = settings_of(namespace, "none:1")
        memory = MemoryLog(settings)

        async def append(value: bytes | None, key: bytes | None = None, partition: int = 0, headers: Any = ()) -> None:
            memory.append(web(settings), partition, value, key, headers)

        async def truncate(offset: int) -> None:
            memory.truncate(LogPartition(web(settings), 0), offset)

        yield Given(settings, memory, append, truncate, lambda: MemoryReader(memory), memory)
        return
    server: Kafka = request.getfixturevalue("kafka")
    settings = settings_of(namespace, server.address)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(settings))
        await create_topics(admin, settings, 1)
        reader = await stack.enter_async_context(free_reader(settings, []))
        producer = AIOKafkaProducer(bootstrap_servers=server.address)
        client = AIOKafkaAdminClient(bootstrap_servers=server.address)
        for one, close in ((producer, producer.stop), (client, client.close)):
            await one.start()
            stack.push_async_callback(close)

        async def send(value: bytes | None, key: bytes | None = None, partition: int = 0, headers: Any = ()) -> None:
            await producer.send_and_wait(web(settings), value, key, partition, headers=list(headers))

        async def delete(offset: int) -> None:
            await client.delete_records({TopicPartition(web(settings), 0): RecordsToDelete(before_offset=offset)})

        def group() -> LogGroup:
            member = KafkaGroup(settings)
            stack.push_async_callback(member.close)
            return member

        yield Given(settings, KafkaLog(settings, admin, reader), send, delete, group, KafkaIntake(settings))


def web(settings: Settings) -> str:
    """Return the input topic."""
    return settings.input_topics[0]


def place(given: Given, partition: int = 0) -> LogPartition:
    """Return a partition of the input topic."""
    return LogPartition(web(given.settings), partition)


def nothing(_: str) -> None:
    """Let every step of a transaction pass."""


async def until_read(reader: LogReader, tp: LogPartition, count: int) -> list[Record]:
    """Return the next *count* records of *tp*, as soon as they are there."""
    records: list[Record] = []

    async def enough() -> bool:
        records.extend((await reader.fetch([tp], 0.2))[tp].records)
        return len(records) >= count

    await until(enough, f"{count} records of {tp}")
    return records


async def committed_at(given: Given, end: int) -> None:
    """Wait until the log of the first partition is stable up to *end*: brokers write markers after they answer."""

    async def stable() -> bool:
        return (await given.log.ends([place(given)]))[place(given)] == end

    await until(stable, f"stable up to {end}")


async def test_records_come_in_order_and_whole(given: Given) -> None:
    """Keys, values, tombstones and headers, and the position behind them."""
    await given.append(b"1", b"k")
    await given.append(None, b"k", headers=[("h", b"x")])
    await given.append(b"3")
    tp = place(given)
    async with given.log.reader([tp]) as reader:
        reader.seek(tp, 0)
        found = await until_read(reader, tp, 3)
        assert [(r.offset, r.key, r.value, r.headers) for r in found] == [
            (0, b"k", b"1", ()),
            (1, b"k", None, (("h", b"x"),)),
            (2, None, b"3", ()),
        ]
        assert all(r.timestamp_ms and r.topic == tp.topic and r.partition == 0 for r in found)
        assert await reader.position(tp) == 3
        assert reader.end(tp) == 3
        assert reader.polled_ms(tp) is not None
        assert await reader.fetch([tp], 0) == {tp: Fetched([], 3)}
        reader.seek(tp, 1)
        assert [r.offset for r in await until_read(reader, tp, 2)] == [1, 2]


async def test_no_more_are_given_than_were_asked_for(given: Given) -> None:
    """The rest comes next time."""
    for n in range(5):
        await given.append(b"%d" % n)
    tp = place(given)
    async with given.log.reader([tp]) as reader:
        reader.seek(tp, 0)
        found: list[Record] = []
        while len(found) < 5:
            part = (await reader.fetch([tp], 0.2, 2))[tp]
            assert len(part.records) <= 2
            assert not part.records or part.next == part.records[-1].offset + 1
            found += part.records
        assert [r.value for r in found] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_transaction_is_seen_whole_once_it_is_committed(given: Given) -> None:
    """Before, it holds up what comes after it; its end takes an offset of its own."""
    tp = place(given)
    seen: list[str] = []
    producer = given.log.producer(0)
    async with given.log.reader([tp]) as reader:
        reader.seek(tp, 0)
        await producer.start()
        await producer.send([Output(tp.topic, b"k", b"1", (), 0)], {tp.topic: 7}, 1, seen.append)
        await committed_at(given, 2)
        await given.append(b"2")
        found = await until_read(reader, tp, 2)
        assert [(r.offset, r.value) for r in found] == [(0, b"1"), (2, b"2")]
        assert seen == ["before_transaction", "in_transaction", "before_commit", "after_commit"]
    await producer.close()


async def test_a_death_in_a_transaction_leaves_it_open_until_the_heir_begins(given: Given) -> None:
    """Readers wait at it meanwhile. Then it never was: neither its records nor its offsets."""
    tp = place(given)
    first = given.log.producer(0)
    await first.start()
    await first.send([], {tp.topic: 3}, 1, nothing)
    await given.append(b"before")

    def die(name: str) -> None:
        if name == "in_transaction":
            raise Death

    with pytest.raises(Death):
        await first.send([Output(tp.topic, None, b"lost", (), 0)], {tp.topic: 9}, 2, die)
    await given.append(b"after")
    async with given.log.reader([tp]) as reader:
        reader.seek(tp, 0)
        assert [r.value for r in await until_read(reader, tp, 1)] == [b"before"]
        assert (await reader.fetch([tp], 0.3))[tp].records == []
        assert reader.end(tp) == 3
        assert await given.log.ends([tp]) == {tp: 1}
        heir = given.log.producer(0)
        await heir.start()
        await committed_at(given, 4)
        assert [r.value for r in await until_read(reader, tp, 1)] == [b"after"]
    assert await given.log.committed(0) == {tp.topic: Committed(3, "1")}
    await heir.close()
    await first.close()


async def test_an_older_producer_is_fenced_by_the_next(given: Given) -> None:
    """By its epoch, which rises; the producer id stays."""
    tp = place(given)
    old, new = given.log.producer(0), given.log.producer(0)
    await old.start()
    await old.send([Output(tp.topic, None, b"1", (), 0)], {tp.topic: 1}, 1, nothing)
    await new.start()
    (old_id, old_epoch, old_unique), (new_id, new_epoch, new_unique) = (one.new_token().split(":") for one in (old, new))
    assert old_id == new_id
    assert int(new_epoch) > int(old_epoch)
    assert old_unique != new_unique
    with pytest.raises(ProducerFailed):
        await old.send([Output(tp.topic, None, b"late", (), 0)], {tp.topic: 2}, 2, nothing)
    await new.send([Output(tp.topic, None, b"2", (), 0)], {tp.topic: 2}, 2, nothing)
    async with given.log.reader([tp]) as reader:
        reader.seek(tp, 0)
        assert [r.value for r in await until_read(reader, tp, 2)] == [b"1", b"2"]
    assert await given.log.committed(0) == {tp.topic: Committed(2, "2")}
    await old.close()
    await new.close()


async def test_producers_of_other_partitions_do_not_fence_each_other(given: Given) -> None:
    """Offsets are kept for each."""
    topic = web(given.settings)
    producers = [given.log.producer(p) for p in range(2)]
    for producer in producers:
        await producer.start()
    for n, producer in enumerate(producers):
        await producer.send([], {topic: 10 + n, given.settings.internal_topic: n}, 5 + n, nothing)
    assert await given.log.committed(0) == {topic: Committed(10, "5"), given.settings.internal_topic: Committed(0, "5")}
    assert (await given.log.committed(1))[topic] == Committed(11, "6")
    assert await given.log.committed(2) == {}
    for producer in producers:
        await producer.close()


async def test_a_key_finds_its_partition_as_kafkas_own_clients_do(given: Given) -> None:
    """An output without a key goes where its partition's number says, one with a partition there."""
    topic = web(given.settings)
    producer = given.log.producer(2)
    await producer.start()
    outputs = [Output(topic, b"lead-%d" % n, b"%d" % n, ()) for n in range(6)]
    outputs += [Output(topic, None, b"none", ()), Output(topic, b"lead-0", b"there", (), 1)]
    await producer.send(outputs, {topic: 0}, 1, nothing)
    found: dict[int, list[bytes | None]] = {}
    for p in range(3):
        tp = place(given, p)
        async with given.log.reader([tp]) as reader:
            reader.seek(tp, 0)
            mine = [o.value for o in outputs if homes(o) == p]
            found[p] = [r.value for r in await until_read(reader, tp, len(mine))]
            assert found[p] == mine
    await producer.close()


def homes(output: Output) -> int:
    """Return where an output of partition 2 belongs, by the client's own hash."""
    if output.partition is not None:
        return output.partition
    return 2 if output.key is None else (murmur2(output.key) & 0x7FFFFFFF) % 3


async def test_positions_that_the_log_does_not_hold_are_refused(given: Given) -> None:
    """Before its beginning, once retention deleted records, and past its end."""
    tp = place(given)
    for n in range(4):
        await given.append(b"%d" % n)
    await given.truncate(2)
    assert (await given.log.starts([tp]), await given.log.ends([tp])) == ({tp: 2}, {tp: 4})
    for offset in (1, 9):
        async with given.log.reader([tp]) as reader:
            reader.seek(tp, offset)

            with pytest.raises(OffsetsGone) as refused:
                await until_read(reader, tp, 9)
            assert refused.value.where == f"{tp.topic}[0] offset {offset}"


async def test_topics_are_known_by_number_of_partitions_and_by_id(given: Given) -> None:
    """A topic that is not there has none."""
    topic, internal = web(given.settings), given.settings.internal_topic
    assert await given.log.partitions([topic, "no-such-topic"]) == {topic: 3, "no-such-topic": 0}
    ids = await given.log.ids([topic, internal, "no-such-topic"])
    assert ids.keys() == {topic, internal}
    assert len(set(ids.values())) == 2
    assert await given.log.ids([topic]) == {topic: ids[topic]}
    configs = await given.log.configs([topic])
    assert configs[topic]["cleanup.policy"] == "delete"
    assert int(configs[topic]["retention.ms"]) > 0


async def test_a_group_of_one_is_given_every_partition(given: Given) -> None:
    """Its assignment is one object until the next rebalance; it reads where it is told to."""
    await given.append(b"1", partition=1)
    group, assigned = given.group(), asyncio.Event()
    topics = [web(given.settings)]
    await group.join(topics, lambda tps: assigned.set() if len(tps) == 3 else None)
    await assigned.wait()
    await group.poll()
    held = group.assignment()
    assert held == {place(given, p) for p in range(3)}
    tp = place(given, 1)
    group.seek(tp, 0)
    assert [r.value for r in await until_read(group, tp, 1)] == [b"1"]
    assert group.assignment() is held


async def test_a_sink_puts_each_record_into_the_partition_of_its_key(given: Given) -> None:
    """Leaving the sink means that all records are in the log, in the order of sending."""
    topic, keys = web(given.settings), [f"lead-{n}".encode() for n in range(9)]
    assert await given.intake.partitions([topic, "no-such-topic"]) == {topic: 3, "no-such-topic": 0}
    async with given.intake.sink() as sink:
        for key in keys:
            await sink.send(topic, key, b"v", (("h", b"x"),), 1_780_000_000_000)
    for partition in range(3):
        tp = place(given, partition)
        async with given.log.reader([tp]) as reader:
            reader.seek(tp, 0)
            records = await until_read(reader, tp, (await given.log.ends([tp]))[tp])
        assert [r.key for r in records] == [k for k in keys if owner(k.decode(), 3) == partition]
        assert {(r.value, r.headers, r.timestamp_ms) for r in records} == {(b"v", (("h", b"x"),), 1_780_000_000_000)}
