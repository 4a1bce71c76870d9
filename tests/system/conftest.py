"""Fixtures of the system tests: a site per test, its workers ended with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.services import Kafka, Redis, needed
from tests.system.kit import Site


class MakeSite(Protocol):
    """Makes a prepared site; keywords are settings."""

    async def __call__(self, **settings: Any) -> Site:
        """Return one whose topics exist."""
        ...


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker for these tests, which lets a dead worker's session end after 2 s instead of 6: most of them kill one."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


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
