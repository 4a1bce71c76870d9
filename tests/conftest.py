"""Fixtures for every test: real Kafka and Redis, and a namespace of one's own on them."""

from __future__ import annotations

import uuid
import zoneinfo
from collections.abc import Iterator

import pytest

from ops.dev.kafka_broker import java
from ops.dev.redis_server import redis_server as redis_program
from tests.kit.examples import by_default
from tests.kit.services import Kafka, Redis, ServiceMissing, needed

zoneinfo.reset_tzpath(())
"""Tests compare with zones of the `tzdata` package, as the core has them, not with those of this machine."""

by_default()


def pytest_report_header() -> list[str]:
    """Say which servers the tests run against, so that a green run shows what it was green on."""
    header = []
    for name, find in (("java for kafka", java), ("redis", redis_program)):
        try:
            header.append(f"{name}: {find()}")
        except ServiceMissing as why:
            header.append(str(why))
    return header


LONGEST = ("core/test_compiled.py", "core/test_properties.py", "system/", "protocol/", "cli/")
"""Files and folders whose files take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first: several processes take them in turn, and the short ones at the end fill what is left."""

    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((n for n, name in enumerate(LONGEST) if f"/tests/{name}" in path), len(LONGEST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker for the whole run: topics are told apart by `namespace`. Do not stop it; see `own_kafka`.

    It lets a dead worker's session end after as little as 1 s instead of 6: many tests kill one.
    """
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000", "log.cleaner.backoff.ms": "500"})) as service:
        yield service


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One Redis for the whole run, nothing kept on disk; keys differ by `namespace`. Do not stop it: see `own_redis`."""
    with needed(lambda: Redis(keep=False)) as service:
        yield service


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """Start a broker for this test alone, to be killed, suspended, restarted."""
    with needed(Kafka) as service:
        yield service


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """Start a Redis for this test alone, with an append-only file, to be killed, suspended, restarted, emptied."""
    with needed(Redis) as service:
        yield service


@pytest.fixture
def namespace() -> str:
    """Return a namespace that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"
