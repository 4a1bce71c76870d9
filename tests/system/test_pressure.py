"""Too much at once, or too slow a Kafka or Redis: the worker keeps its group and its bounds, and catches up.

`pressure.py` (`make pressure`) has the same at full size, with the memory that it takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.kit.backlogs import HEAVY, backlog, drained, heavy, judged, members, memory_mb, undisturbed
from tests.kit.proxy import Network, proxied
from tests.kit.services import Kafka, Redis, needed
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms
from tests.kit.waits import HANG_S
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisStore
from worker.core.batch.plan import MOST_BYTES

DOSSIER = 62_000
SESSION_S = 6
"""How long the group misses no member. So long that a busy machine alone takes nobody's place, and no test lasts shorter."""


@pytest.fixture(scope="module")
def far_kafka() -> Iterator[tuple[Kafka, Network]]:
    """One broker for these tests, whose clients may come through a network."""
    networks = []

    def make() -> Kafka:
        kafka, network = proxied({"group.min.session.timeout.ms": "1000"})
        networks.append(network)
        return kafka

    with needed(make) as kafka:
        yield kafka, networks[0]


@pytest.fixture
async def far(far_kafka: tuple[Kafka, Network]) -> AsyncIterator[tuple[Kafka, Network]]:
    """Return the broker, and the network before it, which is good."""
    kafka, network = far_kafka
    async with network:
        network.mend()
        yield kafka, network


async def test_many_large_dossiers_at_once_go_out_over_a_slow_network(make_site: MakeSite, far: tuple[Kafka, Network]) -> None:
    """In one transaction they would not get through before its deadline, nor in the next one, for ever."""
    kafka, network = far
    site = await make_site(kafka=kafka.address, partitions=1)
    site.put_grid(HEAVY)
    worker = site.worker(kafka=f"127.0.0.1:{network.port}")
    await worker.ready(1)
    at_ms = now_ms() - 3_600_000
    await site.send(heavy(site, 80, "profile.updated", at_ms))
    await drained(site)
    network.delay_s = 0.06  # a MB/s
    before = await members(site)
    await site.send(heavy(site, 80, "demo.requested", at_ms + 1_000))
    await drained(site)
    network.mend()
    assert not undisturbed(worker, 1)
    assert await members(site) == before
    await worker.stop()
    assert (await site.verdict()).transitions.total() == 160


async def test_a_tick_cut_into_small_slices_is_folded_again_up_to_the_last_one_that_was_published(make_site: MakeSite) -> None:
    """Whoever has an empty store must judge no lead more than the slices did: what it would send is nobody's then."""
    site = await make_site(partitions=1, max_batch=1_000)
    site.put_grid(HEAVY)
    first = site.worker()
    await first.ready(1)
    at_ms = now_ms() - 3_600_000
    await site.send(heavy(site, 200, "profile.updated", at_ms))
    await drained(site)
    await site.send(heavy(site, 200, "demo.requested", at_ms + 1_000))
    await drained(site)
    assert memory_mb(first) < 150
    await first.stop()
    victim = site.worker("after_commit:4", clock="wall")
    assert await victim.ended() == 137
    assert await due(site), "it was to end in the middle of the tick"
    await site.restore({})
    await site.allow_rebuild()
    heir = site.worker(clock="wall")
    await heir.ready(1)  # it has filled the store again, and `due` with it
    await judged(site)
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.transitions.total() == 4 * 200
    assert verdict.ticks >= 2 * 200 * DOSSIER // (MOST_BYTES + 2 * DOSSIER)


async def due(site: Site) -> list[Any]:
    """Return the leads of partition 0 that time alone will move."""
    async with site.redis() as redis:
        found: list[Any] = await redis.zrange(site.key(0, "due"), 0, -1)
    return found


async def test_a_redis_that_stalls_in_a_backlog_costs_no_place_in_the_group(make_site: MakeSite, own_redis: Redis) -> None:
    """For longer than a session and a time-out last: heartbeats go on, and the backlog is taken when Redis answers again."""
    site = await make_site(redis=own_redis.url, session_timeout=SESSION_S)
    await site.send(backlog(site, 20_000, leads=2_000))
    worker = site.worker()
    await worker.ready(2)
    before = await members(site)
    await drained(site, 0.2)
    own_redis.suspend()
    await asyncio.sleep(2 * SESSION_S)
    own_redis.resume()
    await drained(site)
    assert not undisturbed(worker, 2)
    assert await members(site) == before
    assert memory_mb(worker) < 150
    await worker.stop()
    await site.verdict()


async def test_a_slow_network_to_kafka_costs_no_place_in_the_group(make_site: MakeSite, far: tuple[Kafka, Network]) -> None:
    """In a backlog of which one lead has nine tenths, and which is taken when the network is good again."""
    kafka, network = far
    site = await make_site(kafka=kafka.address, session_timeout=SESSION_S, clock="wall")
    await site.send(backlog(site, 20_000, leads=2_000, hot=0.9))
    worker = site.worker(kafka=f"127.0.0.1:{network.port}")
    await worker.ready(2)
    before = await members(site)
    await drained(site, 0.2)
    network.delay_s = 0.1
    await asyncio.sleep(SESSION_S + 2)
    network.mend()
    await drained(site)
    assert not undisturbed(worker, 2)
    assert await members(site) == before
    assert memory_mb(worker) < 150
    await worker.stop()
    await site.verdict()


async def test_a_full_outbox_pauses_the_worker_which_keeps_its_place(make_site: MakeSite, far: tuple[Kafka, Network]) -> None:
    """It takes no more than may wait to be published, and is seen to live for as long as that lasts."""
    most = 500
    kafka, network = far
    site = await make_site(kafka=kafka.address, partitions=1, session_timeout=SESSION_S, max_batch=100)
    site.put_grid(HEAVY)
    worker = site.worker(kafka=f"127.0.0.1:{network.port}", full_outputs=most)
    await worker.ready(1)
    before = await members(site)
    network.delay_s = 0.05
    await site.send(heavy(site, 3_000, "demo.requested", now_ms() - 3_600_000))
    waiting = await unpublished(site, most)
    assert max(waiting) <= most + 200
    assert sum(most <= count for count in waiting) > len(waiting) // 2, "it never had to wait"
    network.mend()
    await drained(site)
    assert not undisturbed(worker, 1)
    assert await members(site) == before
    await worker.stop()
    assert (await site.verdict()).transitions.total() == 6_000


async def unpublished(site: Site, most: int) -> list[int]:
    """Return how many outputs waited in the outbox of partition 0, again and again: for a session from *most* on."""
    client = connect(site.settings.redis.get_secret_value())
    store = RedisStore(client, site.settings.namespace, 0)
    found = [0]
    begin, end = time.monotonic(), time.monotonic() + HANG_S
    while time.monotonic() < end:
        found.append(sum(len(entry.outputs) for entry in await store.outbox(0)))
        if max(found) < most:
            found, begin = [found[-1]], time.monotonic()
        elif time.monotonic() > begin + SESSION_S + 2:
            break
        await asyncio.sleep(0.1)
    await client.aclose()
    return found


async def test_a_worker_stopped_in_the_middle_of_what_it_fetched_leaves_the_rest(
    make_site: MakeSite, far: tuple[Kafka, Network]
) -> None:
    """It waits for room in the outbox, and must not wait for all of it: ten seconds are what it has."""
    kafka, network = far
    site = await make_site(kafka=kafka.address, partitions=1)
    site.put_grid(HEAVY)
    first = site.worker()
    await first.ready(1)
    await site.send(heavy(site, 60, "profile.updated", now_ms()))
    await drained(site)
    await first.stop()
    victim = site.worker(kafka=f"127.0.0.1:{network.port}", full_outputs=20)
    await victim.ready(1)
    network.delay_s = 0.05
    await site.send(heavy(site, 60, "demo.requested", now_ms()))
    while not await site.outputs():
        assert victim.process.poll() is None, victim.said()
    await victim.stop()
    network.mend()
    assert 0 < len(await site.outputs()) < 120, "it was to be stopped in the middle"
    heir = site.worker()
    await drained(site)
    await heir.stop()
    assert (await site.verdict()).transitions.total() == 120
