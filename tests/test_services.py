"""The servers that other tests trust: they come up, keep what they must over a restart, and never outlive the run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis import Redis as RedisClient
from redis.exceptions import TimeoutError as RedisTimeoutError

from ops.dev import kafka_broker
from ops.dev import redis_server as redis_program
from ops.dev.services import REPOSITORY
from tests.kit.services import Kafka, Redis, ServiceFailed, ServiceMissing, create_topics, missing
from tests.kit.waits import HANG_S


async def _committed(kafka: Kafka, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, auto_offset_reset="earliest", isolation_level="read_committed")
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        end = (await consumer.end_offsets([partition]))[partition]
        values = []
        while await consumer.position(partition) < end:
            fetched = await consumer.getmany(timeout_ms=500)
            values += [record.value for records in fetched.values() for record in records]
        return values
    finally:
        await consumer.stop()


async def _write_in_a_transaction(kafka: Kafka, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=f"writer-of-{topic}")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def test_kafka_runs_transactions_and_keeps_them_over_a_kill(own_kafka: Kafka) -> None:
    """What a broker has acknowledged is there after SIGKILL and a start, on the same port: fault tests rest on that."""
    await create_topics(own_kafka.address, ["kept"], 1)
    await _write_in_a_transaction(own_kafka, "kept", b"before")
    address = own_kafka.address
    await asyncio.to_thread(own_kafka.restart, clean=False)
    assert own_kafka.address == address
    await _write_in_a_transaction(own_kafka, "kept", b"after")
    assert await _committed(own_kafka, "kept") == [b"before", b"after"]


async def test_topics_have_the_partitions_asked_for_and_a_refusal_is_named(kafka: Kafka, namespace: str) -> None:
    """A second creation under one name must not pass for a topic with other partitions."""
    await create_topics(kafka.address, [namespace], 3, {"max.message.bytes": "2000000"})
    consumer = AIOKafkaConsumer(namespace, bootstrap_servers=kafka.address)
    await consumer.start()
    try:
        assert consumer.partitions_for_topic(namespace) == {0, 1, 2}
    finally:
        await consumer.stop()
    with pytest.raises(ServiceFailed, match=namespace):
        await create_topics(kafka.address, [namespace], 5)


def test_redis_refuses_to_evict_and_keeps_its_data_over_a_clean_restart(own_redis: Redis) -> None:
    """An evicted lead is a lost lead, and a restart must find the append-only file."""
    with RedisClient.from_url(own_redis.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("kept", "yes")
        own_redis.restart()
        assert client.get("kept") == b"yes"


def test_a_suspended_redis_holds_its_answers_until_it_is_resumed(own_redis: Redis) -> None:
    """SIGSTOP leaves connections open: the client sees silence, not a refusal."""
    with (
        RedisClient.from_url(own_redis.url, socket_timeout=0.3, retry=None) as hasty,
        RedisClient.from_url(own_redis.url) as client,
    ):
        client.ping()
        own_redis.suspend()
        with pytest.raises(RedisTimeoutError):
            hasty.ping()
        own_redis.resume()
        assert client.ping()


def test_a_server_that_cannot_start_says_why(redis_server: Redis) -> None:
    """The end of the server's own log is in the error, so that nobody has to look for it."""
    with pytest.raises(ServiceFailed, match="nonsense"), Redis({"nonsense": "1"}):
        pytest.fail("it started")


def _soon(holds: Callable[[], bool], within_s: float = HANG_S) -> bool:
    until = time.monotonic() + within_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_run_leaves_no_server_behind(redis_server: Redis, tmp_path: Path) -> None:
    """SIGKILL gives this process no chance to clean up; the watchdog ends what it started."""
    script = "from ops.dev.redis_server import Redis; import time; print(Redis().start().port, flush=True); time.sleep(3600)"
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline())
        assert _answers(port)
        run.kill()
    assert _soon(lambda: not _answers(port))
    assert _soon(lambda: list(tmp_path.glob("leadpulse-*")) == [])


def test_the_servers_by_hand_end_at_ctrl_c_with_their_folders(kafka: Kafka, redis_server: Redis, tmp_path: Path) -> None:
    """`make services` prints what the worker's settings want, and takes everything with it."""
    command = [sys.executable, "-m", "ops.dev"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        printed = [run.stdout.readline(), run.stdout.readline()]
        run.send_signal(signal.SIGINT)
        assert run.wait(HANG_S) == 0
    assert printed[0].startswith("export LEADPULSE_KAFKA=127.0.0.1:")
    assert printed[1].startswith("export LEADPULSE_REDIS=redis://127.0.0.1:")
    assert list(tmp_path.glob("leadpulse-*")) == []


def test_without_java_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A laptop with Python alone skips the tests on real Kafka, and its owner learns how to run them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    kafka_broker.java.cache_clear()
    try:
        with pytest.raises(ServiceMissing, match="apt install openjdk"):
            kafka_broker.java()
    finally:
        kafka_broker.java.cache_clear()


def test_ci_takes_no_other_server_for_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stand-in from PyPI serves laptops; what CI proves must hold for the Redis that is deployed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    redis_program.redis_server.cache_clear()
    try:
        with pytest.raises(ServiceMissing, match="apt install redis-server"):
            redis_program.redis_server()
    finally:
        redis_program.redis_server.cache_clear()


def test_a_missing_server_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guarantee that CI skipped would look proven."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no kafka"):
        missing("no kafka")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no kafka"):
        missing("no kafka")
