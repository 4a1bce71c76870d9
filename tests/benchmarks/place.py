"""Where a contestant runs: servers, logs, and the clock and meters of one run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis, RedisCluster
from tests.benchmarks.measure import cpu_s, peak_mb, tree
from tests.benchmarks.report import Result
from tests.kit.forks import Process
from tests.kit.site import Site

PARTITIONS: Final = 8


LOG, SHORT = "race", "race-short"


AS_DEPLOYED: Final = {"hash-max-listpack-value": "2048"}
"""What `docker-compose.yml` sets in Redis, beside what its service here sets by itself."""


LONGEST_S: Final = 1_200.0


Outputs = Counter[tuple[str, str]]
"""How often each lead has made each type of move."""


class Failed(Exception):
    """A contestant ended, or did not get through; the message says which and has the end of its log."""


@dataclass
class Place:
    """The servers, and what is the same for all runs."""

    kafka: Kafka
    redis: Redis | RedisCluster
    folder: Path
    warm_up: int
    wanted: Mapping[str, Outputs]
    """By the log's name, what the rivals' scoring publishes of it."""
    sizes: Mapping[str, int]
    runs: int = 0

    def site(self, log: Sequence[str], **settings: object) -> Site:
        """Return a new namespace over the topics *log*."""
        self.runs += 1
        told = {
            "partitions": PARTITIONS,
            "input_topics": ",".join(log),
            "clock": "wall",
            "tick_interval": 10,
            "publish_interval": 0.1,
            "session_timeout": 10,
            "metrics_port": 0,
        }
        return Site(self.kafka.address, self.redis.url, f"bench-{self.runs}", self.folder, **(told | settings))

    def servers_cpu_s(self) -> tuple[float, float]:
        """Return what broker and Redis have taken."""
        nodes = self.redis.nodes if isinstance(self.redis, RedisCluster) else [self.redis]
        return cpu_s([self.kafka.pid or 0]), cpu_s([node.pid or 0 for node in nodes])


@dataclass
class Watch:
    """Times and processor time of one run, between the first record and the last."""

    place: Place
    process: Process
    began_s: float = 0.0
    before: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """Note that the first record is in hand."""
        self.began_s = time.time()
        self.before = (cpu_s(tree(self.process.pid)), *self.place.servers_cpu_s())

    def end(self, name: str, events: int) -> Result:
        """Return what the run took until now."""
        seconds = time.time() - self.began_s
        after = (cpu_s(tree(self.process.pid)), *self.place.servers_cpu_s())
        cpu_us, kafka_us, redis_us = ((b - a) / events * 1e6 for a, b in zip(self.before, after, strict=True))
        return Result(name, events, seconds, cpu_us, kafka_us, redis_us, peak_mb(tree(self.process.pid)), 0, None)


def alive(name: str, process: Process, began_s: float, log: Path) -> None:
    """See that a contestant still runs, and has not been at it for too long.

    Raises:
        Failed: It has ended, or is not through.
    """
    ended = process.poll()
    if ended is not None or time.time() - began_s > LONGEST_S:
        why = f"not through after {LONGEST_S:.0f} s" if ended is None else f"ended with {ended}"
        raise Failed(f"{name}: {why}\n{log.read_text(errors='replace')[-3_000:]}")


def moves(values: Sequence[bytes]) -> Outputs:
    """Count the outputs by lead and type."""
    found: Outputs = Counter()
    for value in values:
        output = json.loads(value)
        found[output["subject"], output["type"]] += 1
    return found
