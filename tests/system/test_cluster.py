"""A Redis Cluster of real nodes: one slot a partition, slots that move and nodes that die, all of it under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.kit.services import Redis, RedisCluster, needed
from tests.kit.shell import leadpulse
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic
from tests.kit.waits import HANG_S, until
from worker.core.contract.partitioner import owner


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[RedisCluster]:
    """Three nodes with a third of the slots each, and one that has none yet."""
    with needed(lambda: RedisCluster(3, empty=1)) as service:
        yield service


@pytest.fixture
async def cluster(whole_cluster: RedisCluster) -> RedisCluster:
    """Return the cluster with every node up, and nothing counted yet."""
    await asyncio.to_thread(whole_cluster.start)
    for node in whole_cluster.nodes:
        whole_cluster.ask(node, "CONFIG", "RESETSTAT")
        whole_cluster.ask(node, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    return whole_cluster


def errors(cluster: RedisCluster) -> dict[str, int]:
    """Return how often the nodes have answered with each error, by its code."""
    found: dict[str, int] = {}
    for node in cluster.nodes:
        for code, count in re.findall(r"errorstat_(\w+):count=(\d+)", cluster.ask(node, "INFO", "errorstats")):
            found[code] = found.get(code, 0) + int(count)
    return found


def home(site: Site, cluster: RedisCluster, partition: int) -> tuple[int, Redis]:
    """Return the slot of *partition*, and the node that serves it."""
    slot = cluster.slot(site.key(partition, "position"))
    return slot, cluster.owner(slot)


async def load(site: Site, seed: int, number: int) -> None:
    """Send 200 events, every third time to other partitions than their leads'."""
    await site.send(site.sent(m, crc=number % 3 == 0) for m in traffic(seed + number, 100, 200, around_ms=now_ms() - 500))


@contextlib.asynccontextmanager
async def under_load(site: Site, seed: int) -> AsyncIterator[None]:
    """Send events every half a second while the block lasts."""
    ended = asyncio.Event()

    async def go_on() -> None:
        for number in itertools.count():
            await load(site, seed, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.5)
            if ended.is_set():
                return

    loading = asyncio.create_task(go_on())
    try:
        yield
    finally:
        ended.set()
        await loading


async def test_every_command_of_a_partition_goes_to_one_slot_of_the_right_node(
    make_site: MakeSite, cluster: RedisCluster
) -> None:
    """No batch is refused for its keys (CROSSSLOT) or sent round by another node (MOVED)."""
    site = await make_site(redis=cluster.url, partitions=6, clock="wall", max_batch=50)
    watched = [await asyncio.open_connection("127.0.0.1", node.port) for node in cluster.nodes]
    for _, writer in watched:
        writer.write(b"MONITOR\r\n")
    worker = site.worker()
    for number in range(3):
        await load(site, 100, number)
    await site.settled()
    await worker.stop()
    tag = re.compile(rf"\{{{re.escape(site.settings.namespace)}:\d+\}}:[^\"]*")
    calls = 0
    for node, (reader, writer) in zip(cluster.nodes, watched, strict=True):
        writer.close()
        for line in (await reader.read()).decode(errors="replace").splitlines():
            if '"COMMAND" "GETKEYS"' in line:  # the check at the start asks any node which words are keys: none is touched
                assert "_rights" in line, line
                continue
            slots = {cluster.slot(key) for key in tag.findall(line)}
            assert len(slots) <= 1, line
            assert all(cluster.owner(slot) is node for slot in slots), line
            calls += bool(slots) and '"FCALL' in line
    assert calls > 20
    assert len({home(site, cluster, p)[1].port for p in range(6)}) > 1, "all partitions on one node show nothing"
    assert not {"CROSSSLOT", "MOVED", "ASK"} & errors(cluster).keys()
    await site.verdict()


@pytest.mark.parametrize("to_empty", [False, True], ids=["a-node-at-work", "an-empty-node"])
async def test_a_slot_moved_under_load_loses_and_doubles_nothing(
    make_site: MakeSite, cluster: RedisCluster, to_empty: bool
) -> None:
    """While its keys are here and there the partition waits; on the new node the worker loads its functions by itself."""
    site = await make_site(redis=cluster.url, clock="wall", max_batch=20)
    worker = site.worker()
    await worker.ready(2)
    slot, source = home(site, cluster, 0)
    to = cluster.nodes[3] if to_empty else next(node for node in cluster.nodes[:3] if node is not source)
    cluster.ask(to, "FUNCTION", "FLUSH")
    async with under_load(site, 200):
        await until(lambda: int(cluster.ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)) > 20, "leads in the slot")
        # Between two keys it waits for so long that the worker meets the slot on its way, also where it is slow.
        moved = await asyncio.to_thread(cluster.migrate, slot, to, pause_s=0.1)
        assert moved > 20
    await site.settled()
    await worker.stop()
    assert cluster.owner(slot) is to
    assert "leadpulse" in str(cluster.ask(to, "FUNCTION", "LIST"))
    assert "CROSSSLOT" not in errors(cluster)
    assert "TRYAGAIN" in errors(cluster), "nobody met the slot while it was on its way"
    assert "unexpected" not in worker.said()
    assert "Traceback" not in worker.said()
    assert "beginning anew" not in worker.said()
    await site.verdict()


async def down(cluster: RedisCluster, node: Redis) -> None:
    """Wait until *node* knows that a part of the slots is served by nobody, and serves none itself."""
    deadline = time.monotonic() + HANG_S
    while "cluster_state:fail" not in (said := cluster.ask(node, "CLUSTER", "INFO")):
        assert time.monotonic() < deadline, said
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("full_coverage", ["yes", "no"])
async def test_a_node_killed_under_load_comes_back_and_nothing_is_lost(
    make_site: MakeSite, cluster: RedisCluster, full_coverage: str
) -> None:
    """Its partitions wait for it. The others go on, by Redis' default only until the cluster knows that a part is missing."""
    for node in cluster.nodes:
        cluster.ask(node, "CONFIG", "SET", "cluster-require-full-coverage", full_coverage)
    site = await make_site(redis=cluster.url, partitions=6, clock="wall", max_batch=20)
    worker = site.worker()
    await worker.ready(6)
    homes = [home(site, cluster, p)[1] for p in range(6)]
    victim = homes[0]
    spared = next(p for p in range(6) if homes[p] is not victim)

    def batch() -> int:
        return int(cluster.ask(homes[spared], "HGET", site.key(spared, "position"), "batch") or 0)

    async with under_load(site, 300):
        await until(lambda: batch() > 0, "a first batch")
        await asyncio.to_thread(victim.kill)
        if full_coverage == "yes":
            await down(cluster, homes[spared])
        else:
            await asyncio.sleep(3.5)  # the others know by then that it is away
            before = batch()
            await until(lambda: batch() > before, "the other partitions to go on")
        await asyncio.to_thread(cluster.start)
    await site.settled()
    await worker.stop()
    assert "unexpected" not in worker.said()
    assert "Traceback" not in worker.said()
    await site.verdict()


async def test_the_commands_read_a_cluster_as_they_read_one_server(make_site: MakeSite, cluster: RedisCluster) -> None:
    """`doctor` looks at every primary, `top` and `explain` at every partition, wherever in the cluster it is."""
    site = await make_site(redis=cluster.url, partitions=6)
    worker = site.worker()
    await site.send(site.sent(m) for m in traffic(400, 40, 200))
    await site.settled()
    await worker.stop()
    cluster.ask(cluster.nodes[1], "CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    found = await asyncio.to_thread(leadpulse, "doctor", env=site.environ)
    assert found.returncode == 0, found.stderr
    assert f"{cluster.url} answers and can hold state" in found.stderr
    assert "6 of 6 hold state" in found.stderr
    assert f"Redis {cluster.nodes[1].address}: maxmemory-policy is volatile-ttl" in found.stderr
    top = await asyncio.to_thread(leadpulse, "top", "--json", "-n", "1000", env=site.environ)
    leads = [json.loads(line)["lead_id"] for line in top.stdout.splitlines()]
    assert len(leads) > 20
    assert len({owner(lead, 6) for lead in leads}) == 6
    for lead in leads[:3]:
        shown = await asyncio.to_thread(leadpulse, "explain", lead, "--json", env=site.environ)
        assert json.loads(shown.stdout)["lead_id"] == lead
    alone = site.environ | {"LEADPULSE_REDIS": f"redis://{cluster.nodes[0].address}"}
    told = await asyncio.to_thread(leadpulse, "doctor", env=alone)
    assert told.returncode == 1
    assert "redis+cluster://" in told.stderr
    await site.verdict()
