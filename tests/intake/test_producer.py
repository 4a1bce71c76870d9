"""Files of events into a real Kafka, and what is refused on the way."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from click.testing import CliRunner

from tests.kit.services import Kafka, create_topics
from tests.kit.waits import HANG_S
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.memory_log import MemoryLog
from worker.adapters.sent_file import SentFile
from worker.cli.produce import produce
from worker.cli.simulate import simulate
from worker.core.contract.event_types import INPUT_TOPICS, KNOWN_TYPES
from worker.core.contract.partitioner import owner
from worker.errors import SentFileError, Undelivered
from worker.intake.producer import Counts, LineOptions, LineSender, check_topics, open_sink
from worker.intake.routes import TOPICS, Addressed, BadLine, address, address_raw, topic_of
from worker.settings import Settings

PARTITIONS = 4


def an_event(lead: str = "lead-1", kind: str = "page.viewed", number: int = 1) -> bytes:
    """Return one line as a producer writes it."""
    envelope = {"specversion": "1.0", "id": str(number), "source": "/t", "type": kind, "subject": lead}
    return json.dumps(envelope | {"time": "2026-03-02T10:00:00Z", "data": {"url": "/"}}).encode()


def read(kafka: Kafka, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Return every record of *topic*."""

    async def all_records() -> list[ConsumerRecord[bytes, bytes]]:
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[ConsumerRecord[bytes, bytes]] = []
            while len(found) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()

    return asyncio.run(asyncio.wait_for(all_records(), HANG_S))


@pytest.fixture
def topic(kafka: Kafka, namespace: str) -> str:
    """Return a topic of the test's own."""
    name = f"{namespace}.events"
    asyncio.run(create_topics(kafka.address, [name], PARTITIONS, {"max.message.bytes": "2000000"}))
    return name


def test_every_known_type_has_one_of_the_input_topics() -> None:
    """The worker reads these by default, so what is sent elsewhere would be lost without a word."""
    assert set(TOPICS.values()) == set(INPUT_TOPICS.values())
    assert {topic_of(kind) for kind in KNOWN_TYPES} == set(INPUT_TOPICS.values())
    assert topic_of("email.opened") == "lead.events.email"
    assert topic_of("chat.opened") == "lead.events.web"


def test_a_line_goes_to_its_familys_topic_under_its_subject() -> None:
    """The key decides the owner, and the owner is found by the lead's id in UTF-8."""
    assert address(an_event("Zoë", "crm.won")) == Addressed("lead.events.crm", "Zoë".encode())
    assert address(an_event("a"), "elsewhere") == Addressed("elsewhere", b"a")
    assert address(b'{"subject":"a"}', "elsewhere") == Addressed("elsewhere", b"a")
    assert address(b'{"tick":"2026-03-02T10:00:00Z"}') is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"x", "not JSON"),
        (b'{"subject":"a"', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"type":"page.viewed"}', "no subject"),
        (b'{"type":"page.viewed","subject":""}', "no subject"),
        (b'{"type":"page.viewed","subject":7}', "no subject"),
        (b'{"subject":"a"}', "no type"),
        (b'{"subject":"a","type":7}', "type"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_raw_sends_it_all_the_same(line: bytes, words: str) -> None:
    """Whatever the bytes: `BadLine` or an address, never another exception."""
    with pytest.raises(BadLine, match=words):
        address(line)
    assert address_raw(line).topic == "lead.events.web"


SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": str(PARTITIONS)})


@pytest.mark.parametrize("raw", [False, True])
async def test_lines_go_to_their_topics_and_bad_ones_are_named(raw: bool) -> None:
    """On any log that takes records: nothing is sent silently, and nothing is lost silently."""
    log, refused, counts = MemoryLog(SETTINGS), list[str](), Counts()
    lines = [an_event("ann"), b"oops", b"", b'{"tick":"2026-03-02T10:00:00Z"}', an_event("bob", "email.opened")]
    async with open_sink(log, TOPICS.values()) as sink:
        sender = LineSender(sink, refused.append, LineOptions(raw=raw), counts)
        for number, line in enumerate(lines, start=1):
            await sender.send(f"file:{number}", line)
    web, email = log.committed_records("lead.events.web"), log.committed_records("lead.events.email")
    assert [(r.key, r.partition) for r in email] == [(b"bob", owner("bob", PARTITIONS))]
    assert [r.value for r in web if r.key] == [lines[0]]
    assert sorted(r.value or b"" for r in web if not r.key) == (sorted(lines[1:4]) if raw else [])
    assert counts == (Counts(sent=5) if raw else Counts(sent=2, bad=1, ticks=1))
    assert [words[:15] for words in refused] == ([] if raw else ["file:2: not JSO"])


async def test_an_import_that_is_repeated_sends_nothing_twice(tmp_path: Path) -> None:
    """A lead with more than 64 events would count them twice. A run that died sends the rest the next time."""
    lines = [an_event("ann", number=number) for number in range(200)]
    log = MemoryLog(SETTINGS)

    async def run(lines: list[bytes]) -> Counts:
        counts = Counts()
        with SentFile(tmp_path / "sent") as sent:
            async with open_sink(log, TOPICS.values()) as sink:
                sender = LineSender(sink, lambda _: None, LineOptions(sent=sent), counts)
                for line in lines:
                    await sender.send("file", line)
                await sender.finish()
        return counts

    assert await run(lines[:150]) == Counts(sent=150)
    assert await run(lines + lines) == Counts(sent=50, repeated=350)
    assert await run([an_event("bob", number=1)]) == Counts(sent=1), "one source and id of another lead is another event"
    sent = [record.value for record in log.committed_records("lead.events.web")]
    assert sorted(value or b"" for value in sent) == sorted([*lines, an_event("bob", number=1)])


async def test_what_the_log_did_not_take_is_sent_again(tmp_path: Path) -> None:
    """Events are noted after the log has them, never before."""
    log = MemoryLog(SETTINGS)
    with SentFile(tmp_path / "sent") as sent:
        async with open_sink(log, TOPICS.values()) as sink:
            sender = LineSender(sink, lambda _: None, LineOptions(sent=sent))
            log.silent = True
            with pytest.raises(Undelivered):
                await sender.send("file", an_event())
            log.silent = False
            again = LineSender(sink, lambda _: None, LineOptions(sent=sent))
            await again.send("file", an_event())
            assert (again.counts.sent, again.counts.repeated) == (1, 0)


def test_a_file_that_is_no_list_of_sent_events_is_named(tmp_path: Path) -> None:
    """Most likely the events themselves: they must not be overwritten."""
    (tmp_path / "events.jsonl").write_bytes(an_event() * 100)
    with pytest.raises(SentFileError, match=r"events\.jsonl: file is not a database"):
        SentFile(tmp_path / "events.jsonl")
    with pytest.raises(SentFileError, match="unable to open"):
        SentFile(tmp_path / "no" / "such")


async def test_events_without_a_time_and_of_the_future_are_counted() -> None:
    """A worker takes the time of sending for both, which a person should hear."""
    log = MemoryLog(SETTINGS)
    async with open_sink(log, TOPICS.values()) as sink:
        sender = LineSender(sink, lambda _: None)
        for line in (an_event(), an_event().replace(b"2026-03", b"2099-03"), an_event().replace(b'"time"', b'"at"')):
            await sender.send("file", line)
    assert sender.counts == Counts(sent=3, undated=1, ahead=1)


async def test_a_missing_topic_is_named_before_anything_is_sent() -> None:
    """All missing ones at once."""
    with pytest.raises(Undelivered, match="the log in memory has no topic a, b: create it"):
        await check_topics(MemoryLog(SETTINGS), ["b", "lead.events.web", "a"])


def test_the_command_sends_files_keyed_to_their_owners(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    """Each lead's events lie in the partition that owns the lead, in the order of the files, unchanged."""
    lines = [an_event(f"lead-{number % 7}", number=number) for number in range(200)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines[:100]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"\r\n".join(lines[100:]) + b"\n\n"))
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.gz")]
    result = CliRunner().invoke(produce, ["--kafka", kafka.address, "--topic", topic, *files])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == f"200 records sent to Kafka at {kafka.address}, 0 bad lines\n"
    records = read(kafka, topic)
    assert {r.partition for r in records} == {owner(r.key.decode(), PARTITIONS) for r in records if r.key}
    for lead in {f"lead-{number}" for number in range(7)}:
        assert [r.value for r in records if r.key == lead.encode()] == [line for line in lines if f'"{lead}"'.encode() in line]
        assert {r.partition for r in records if r.key == lead.encode()} == {owner(lead, PARTITIONS)}


def test_bad_lines_are_named_and_the_exit_code_is_one(kafka: Kafka, topic: str) -> None:
    """The good ones are sent; ticks are the worker's own business."""
    lines = [an_event(), b"oops", b'{"tick":"2026-03-02T10:00:00Z"}', b'{"type":"page.viewed"}', an_event(number=2)]
    result = CliRunner().invoke(produce, ["--kafka", kafka.address, "--topic", topic, "-"], input=b"\n".join(lines))
    assert result.exit_code == 1
    assert "stdin:2: not JSON" in result.stderr
    assert "stdin:4: no subject" in result.stderr
    assert "2 records sent" in result.stderr
    assert "2 bad lines, 1 ticks passed over" in result.stderr
    assert [r.value for r in read(kafka, topic)] == [lines[0], lines[4]]


def test_raw_sends_everything_as_it_is(kafka: Kafka, topic: str) -> None:
    """Poison, an empty value and a record over the worker's limit reach the topic, to be refused by the worker itself."""
    lines = [an_event(), b"oops", b"", b"[1]", b"x" * 950_000, b"y" * 600_000]  # longer than is read at once
    result = CliRunner().invoke(produce, ["--kafka", kafka.address, "--topic", topic, "--raw", "-"], input=b"\n".join(lines))
    assert result.exit_code == 0, result.stderr
    assert sorted(r.value or b"" for r in read(kafka, topic)) == sorted(lines)


def test_a_missing_topic_and_an_unreachable_broker_are_told_at_once(kafka: Kafka, namespace: str) -> None:
    """A client would wait for ever for a topic, so it is looked for first."""
    missing = f"{namespace}.missing"
    result = CliRunner().invoke(produce, ["--kafka", kafka.address, "--topic", missing, "-"], input=an_event())
    assert result.exit_code == 1
    assert f"has no topic {missing}: create it" in result.stderr
    result = CliRunner().invoke(produce, ["--kafka", "127.0.0.1:1", "-"], input=an_event())
    assert result.exit_code == 1
    assert "no Kafka broker answers" in result.stderr


async def test_a_record_that_kafka_refuses_is_an_error(kafka: Kafka, namespace: str) -> None:
    """Sent and refused must not look like sent: the block does not end well."""
    small = f"{namespace}.small"
    await create_topics(kafka.address, [small], 1, {"max.message.bytes": "1000"})
    noise = random.Random(1).randbytes(5_000)  # does not compress
    with pytest.raises(Undelivered, match=f"topic {small} refuses a record for its size"):
        async with open_sink(KafkaIntake(Settings.load({}, kafka=kafka.address)), [small]) as sink:
            await sink.send(small, b"k", noise)


@pytest.mark.parametrize("client", ["aiokafka", "librdkafka"])
def test_simulated_traffic_arrives_whole_by_either_client(kafka: Kafka, topic: str, client: str) -> None:
    """Aiokafka puts every lead where it belongs; librdkafka by CRC32 makes strays, which is what it is there for."""
    if client == "librdkafka":
        pytest.importorskip("confluent_kafka")
    options: list[Any] = ["--leads", "60", "--events", "3000", "--bad", "0.01", "--seed", "3"]
    plain = CliRunner().invoke(simulate, options)
    topics = ",".join(f"{family}={topic}" for family in TOPICS)
    result = CliRunner().invoke(simulate, [*options, "--kafka", kafka.address, "--topics", topics, "--client", client])
    assert result.exit_code == 0, result.stderr
    records = read(kafka, topic)
    assert sorted((r.value or b"").replace(b"\n", b" ") for r in records) == sorted(plain.stdout_bytes.split(b"\n")[:-1])
    at_home = sum(r.partition == owner(r.key.decode(), PARTITIONS) for r in records if r.key)
    assert at_home == 3000 if client == "aiokafka" else at_home < 2000


def test_librdkafka_not_installed_is_told(kafka: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an optional extra: who asks for it learns what to install."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    topics = ",".join(f"{family}={topic}" for family in TOPICS)
    options = ["--events", "1", "--kafka", kafka.address, "--topics", topics, "--client", "librdkafka"]
    result = CliRunner().invoke(simulate, options)
    assert result.exit_code == 1
    assert "pip install confluent-kafka" in result.stderr
