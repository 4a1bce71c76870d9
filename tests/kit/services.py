"""How tests get Kafka and Redis: real ones, or a skip that says why, or, in CI, a failure."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from ops.dev.kafka_broker import Kafka, create_topics
from ops.dev.prometheus_server import Prometheus
from ops.dev.redis_server import Redis, RedisCluster
from ops.dev.services import ServiceFailed, ServiceMissing, free_port

__all__ = [
    "Kafka",
    "Prometheus",
    "Redis",
    "RedisCluster",
    "ServiceFailed",
    "ServiceMissing",
    "adjacent_ports",
    "create_topics",
    "free_port",
    "missing",
    "needed",
]

_QUIET = range(20_000, 32_000)
"""Below the ports that the system gives to outgoing connections: nobody takes one of these by chance."""


def adjacent_ports() -> int:
    """Return the first of two ports next to each other that are both free."""
    while True:
        first = random.choice(_QUIET)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", first))
            other.bind(("127.0.0.1", first + 1))
            return first


S = TypeVar("S", Kafka, Prometheus, Redis, RedisCluster)


def missing(reason: str) -> NoReturn:
    """Skip the test with *reason*, or, with `CI` set, fail it: skips go unread there."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {reason}", pytrace=False)
    pytest.skip(reason)


def needed(make: Callable[[], S]) -> S:
    """Return what *make* makes (`Kafka`, `lambda: Redis({"maxmemory": "20mb"})`), started, if this machine can run it."""
    try:
        service = make()
    except ServiceMissing as error:
        why = str(error)
    else:
        try:
            return service.start()
        except ServiceFailed:
            service.close()
            raise
    missing(why)
