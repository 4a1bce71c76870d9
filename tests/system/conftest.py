"""Fixtures of the system tests: a site per test, its workers ended with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.collectors import Park, park_of
from tests.kit.services import Kafka, Redis, needed
from tests.kit.site import MakeSite, Site


@pytest.fixture
async def make_site(kafka: Kafka, redis_server: Redis, namespace: str, tmp_path: Path) -> AsyncIterator[MakeSite]:
    """Return a maker of sites on the run's servers, or on those given as `kafka` and `redis`."""
    sites: list[Site] = []

    async def make(**settings: Any) -> Site:
        given = {"kafka": kafka.address, "redis": redis_server.url, **settings}
        site = Site(given.pop("kafka"), given.pop("redis"), f"{namespace}-{len(sites)}", tmp_path, **given)
        sites.append(site)
        await site.prepare()
        return site

    yield make
    for site in sites:
        site.close()


@pytest.fixture(scope="module")
def collect_kafka() -> Iterator[Kafka]:
    """Start a broker for the tests of one module, since the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


@pytest.fixture
async def park(collect_kafka: Kafka, own_redis: Redis, tmp_path: Path) -> AsyncIterator[Park]:
    """Return a broker with new topics of the collector."""
    async with park_of(collect_kafka.address, own_redis.url, tmp_path) as made:
        yield made
