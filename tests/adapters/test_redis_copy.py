"""A partition copied while its worker writes, and put back: the copy is what one batch left, to the byte."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count

import pytest
import redis as plain

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.services import Redis
from worker.adapters import redis_copy
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_copy import PartitionCopy, Restore, Stood, leads_in
from worker.adapters.redis_scan import leads_of
from worker.adapters.redis_store import RedisStore
from worker.core.contract.model import LeadWrite
from worker.errors import CopyOver, Fenced, StoreRefused

OWNER = "7:1:first"
NEXT_OWNER = "7:2:second"
LEADS = [f"lead-{n}" for n in range(300)]


@pytest.fixture
async def client(redis_server: Redis) -> AsyncIterator[Client]:
    """A client of a real Redis."""
    client = connect(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def store(client: Client, namespace: str) -> RedisStore:
    """One partition that OWNER holds, with every lead written by batch 1."""
    store = RedisStore(client, namespace, 0)
    await store.acquire(OWNER, 8)
    await store.apply(
        OWNER, a_batch(1, [a_write(lead, b"1", due_ms=1, rank=1.0) for lead in LEADS], begins=b"grid: g", rate=1_000)
    )
    return store


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that batches come between them."""
    monkeypatch.setattr(redis_copy, "SLICE", 20)


def a_random_write(rnd: random.Random, lead: str, batch: int) -> LeadWrite:
    """Return a write of any kind: small and large states (in pieces), erased leads, leads that are removed."""
    kind = rnd.random()
    state = rnd.randbytes(rnd.choice((5, 200, 1_500, 3_000)))
    if kind < 0.05:
        return LeadWrite(lead, b"", "", "", "", "", "", "", None, None)
    if kind < 0.1:
        return LeadWrite(lead, state, "", "", "", "", "", "", None, None)
    due_ms = rnd.choice((None, 1_764_541_488_000 + batch))
    return a_write(lead, state, due_ms=due_ms, rank=rnd.choice((0.0, 1 / 3, 1e-9, float(batch))), score=repr(rnd.random()))


class Writer:
    """Applies batches as a worker does, and remembers what each of them left."""

    def __init__(self, client: Client, namespace: str, store: RedisStore, seed: int) -> None:
        self.client = client
        self.namespace = namespace
        self.store = store
        self.random = random.Random(seed)
        self.batch = 1
        self.left: dict[int, dict[str, LeadWrite]] = {}

    async def write(self) -> None:
        """Apply one more batch; now and then it begins another grid, which moves every lead's schedule, bit by bit."""
        self.batch += 1
        names = self.random.sample([*LEADS, *(f"new-{n}" for n in range(40))], self.random.randint(1, 40))
        writes = [a_random_write(self.random, name, self.batch) for name in names]
        begins = b"grid: %d" % self.batch if self.random.random() < 0.1 else None
        await self.store.apply(OWNER, a_batch(self.batch, writes, begins=begins, rate=10_000, clock_ms=self.batch))
        self.left[self.batch] = {write.lead: write async for _, write in leads_of(self.client, self.namespace)}


async def copied(
    client: Client, namespace: str, store: RedisStore, between: Callable[[], Awaitable[None]] | None = None
) -> tuple[list[LeadWrite], Stood]:
    """Return every row that a copy reads, in order, and where it stood."""
    copy = PartitionCopy(store)
    await copy.begin()
    rows: list[LeadWrite] = []
    async for page in leads_in(client, namespace):
        left = [lead for _, lead in page]
        while left:
            some = await copy.rows(left)
            rows += some
            del left[: len(some)]
            if between is not None:
                await between()
    for number in count():
        if between is not None and number % 3 == 0 and number < 15:
            await between()
        changed, stood = await copy.changed()
        rows += changed
        if stood is not None:
            return rows, stood
    raise AssertionError


def last(rows: Sequence[LeadWrite]) -> dict[str, LeadWrite]:
    """Return the last row of each lead that is held."""
    return {lead: row for lead, row in {row.lead: row for row in rows}.items() if row.state}


@pytest.mark.parametrize("seed", range(8))
async def test_a_copy_is_what_one_batch_left_though_others_are_applied_meanwhile(
    client: Client, namespace: str, store: RedisStore, seed: int
) -> None:
    """States in one piece and in several, ranks and schedule, erased and removed leads, leads that are new.

    Calls are atomic, so batches between every two of them are all that can happen.
    """
    writer = Writer(client, namespace, store, seed)
    rows, stood = await copied(client, namespace, store, writer.write)
    assert stood.batch > 10, "little was written meanwhile"
    assert last(rows) == writer.left[stood.batch]
    assert stood.position["batch"] == str(stood.batch)
    assert stood.grid.startswith(b"grid: ")
    assert "owner" not in stood.position


async def test_what_is_put_back_is_what_was_copied(
    client: Client, namespace: str, store: RedisStore, redis_server: Redis
) -> None:
    """Every key but the owner's name and the outbox, as `DUMP` gives it."""
    writer = Writer(client, namespace, store, 1)
    rows, stood = await copied(client, namespace, store, writer.write)
    keys = {row.lead for row in rows}
    before = await everything(store, sorted(keys))
    with plain.Redis(port=redis_server.port) as redis:
        redis.delete(*redis.keys(f"{{{namespace}:*"))
    target = Restore(client, namespace, 0)
    await target.begin()
    await target.rows(rows)
    await target.end(stood.position, stood.grid)
    with plain.Redis(port=redis_server.port) as redis:
        assert not redis.exists(f"{{{namespace}:0}}:outbox")
    after = await everything(store, sorted(keys))
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert after[0].owner == ""
    assert after[0] == type(after[0])(**{**{f: getattr(before[0], f) for f in before[0].__struct_fields__}, "owner": ""})
    assert (*after[1:4], *after[5:]) == (*before[1:4], *before[5:])
    await store.acquire(NEXT_OWNER, 8)
    await store.apply(NEXT_OWNER, a_batch(stood.batch + 1))


async def test_nobody_takes_a_partition_over_that_is_being_put_back(
    client: Client, namespace: str, store: RedisStore, redis_server: Redis
) -> None:
    """Half a checkpoint must never be gone on from; the second try leaves nothing of the first."""
    rows, stood = await copied(client, namespace, store)
    with plain.Redis(port=redis_server.port) as redis:
        redis.delete(*redis.keys(f"{{{namespace}:*"))
    first = Restore(client, namespace, 0)
    await first.begin()
    await first.rows([*rows, a_write("of the first try", due_ms=1, rank=1.0)])
    with pytest.raises(StoreRefused, match="run it again"):
        await store.acquire(NEXT_OWNER, 8)
    with pytest.raises(StoreRefused, match="RESTORING"):
        await store.allow_rebuild()
    second = Restore(client, namespace, 0)
    await second.begin()
    with pytest.raises(StoreRefused, match="another"):
        await first.rows(rows)
    with pytest.raises(StoreRefused, match="another"):
        await first.end(stood.position, stood.grid)
    await second.rows(rows)
    await second.end(stood.position, stood.grid)
    assert await store.lead("of the first try") == {}
    assert "of the first try" not in [lead for lead, _ in await store.top(1_000)]
    assert "of the first try" not in str(await store.due(2**50, 1_000))
    with pytest.raises(StoreRefused, match="HELD"):
        await Restore(client, namespace, 0).begin()
    await store.acquire(NEXT_OWNER, 8)


async def _another_owner(store: RedisStore, batch: int) -> None:
    await store.acquire(NEXT_OWNER, 8)


async def _gone(store: RedisStore, batch: int) -> None:
    commands = store._commands
    await commands.delete(store._position.replace("position", "checkpoint"))


async def _back_in_time(store: RedisStore, batch: int) -> None:
    """What a replica that lacked the last batch would hold, promoted."""
    commands = store._commands
    await commands.hset(store._position, "batch", str(batch - 3))


@pytest.mark.parametrize("fault", [_another_owner, _gone, _back_in_time])
@pytest.mark.parametrize("late", [False, True])
async def test_a_copy_ends_where_it_could_mix_two_pasts(
    client: Client, namespace: str, store: RedisStore, fault: Callable[[RedisStore, int], Awaitable[None]], late: bool
) -> None:
    """Another owner may stand upon a Redis that went back. A forgotten copy notes nothing."""
    writer = Writer(client, namespace, store, 2)
    await writer.write()
    copy = PartitionCopy(store)
    await copy.begin()
    if late:
        await copy.rows(LEADS)
        await writer.write()
    await fault(store, writer.batch + 1)
    with pytest.raises(CopyOver):
        await copy.changed() if late else await copy.rows(LEADS)


async def test_two_copies_of_a_partition_do_not_disturb_each_other(client: Client, namespace: str, store: RedisStore) -> None:
    """The second is refused while the first is at work, and finds nothing of it afterwards."""
    first, second = PartitionCopy(store), PartitionCopy(store)
    await first.begin()
    with pytest.raises(StoreRefused, match="COPYING"):
        await second.begin()
    await second.end()  # which leaves the first one's alone
    await store.apply(OWNER, a_batch(2, [a_write("a"), a_write("b")]))
    await first.end()
    await second.begin()
    changed, stood = await second.changed()
    assert (changed, stood is not None) == ([], True)


async def test_batches_note_nothing_when_nobody_copies(client: Client, namespace: str, store: RedisStore) -> None:
    """No key is left to grow for ever."""
    await store.apply(OWNER, a_batch(2, [a_write("a")]))
    copy = PartitionCopy(store)
    await copy.begin()
    await store.apply(OWNER, a_batch(3, [a_write("a")]))
    changed, stood = await copy.changed()
    assert [row.lead for row in changed] == ["a"]
    assert stood is not None
    await store.apply(OWNER, a_batch(4, [a_write("a")]))
    commands = store._commands
    tag = store._position.removesuffix("position")
    assert sorted(await commands.keys(tag.replace("[", "\\[") + "c*")) == []


async def test_an_empty_partition_is_not_copied(client: Client, namespace: str) -> None:
    """There is nothing to begin a rebuild at."""
    with pytest.raises(StoreRefused, match="EMPTY"):
        await PartitionCopy(RedisStore(client, namespace, 5)).begin()


async def test_a_foreign_key_under_a_copys_names_refuses_a_batch_whole(
    client: Client, namespace: str, store: RedisStore, redis_server: Redis
) -> None:
    """Nothing may fail between the first and the last write of a batch."""
    with plain.Redis(port=redis_server.port) as redis:
        redis.set(f"{{{namespace}:0}}:checkpoint", "token")
        redis.hset(f"{{{namespace}:0}}:changed", "a", "hash")
    before = await everything(store, ["a"])
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        await store.apply(OWNER, a_batch(2, [a_write("a", b"2")]))
    assert await everything(store, ["a"]) == before
    with pytest.raises(Fenced):
        await store.apply(NEXT_OWNER, a_batch(2))


async def test_a_slice_is_bounded_by_bytes_as_well(
    client: Client, namespace: str, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lead may hold 100 kB: five hundred of them are not read in one call, nor held at once."""
    monkeypatch.setattr(redis_copy, "SLICE_BYTES", 10_000)
    large = [f"large-{n}" for n in range(20)]
    await store.apply(OWNER, a_batch(2, [a_write(lead, b"x" * 4_000) for lead in large]))
    copy = PartitionCopy(store)
    await copy.begin()
    assert [row.lead for row in await copy.rows(large)] == large[:3]
    await store.apply(OWNER, a_batch(3, [a_write(lead, b"y" * 4_000) for lead in large]))
    changed, stood = await copy.changed()
    assert (len(changed), stood) == (3, None)
    while stood is None:
        more, stood = await copy.changed()
        changed += more
    assert {row.lead: row.state[:1] for row in changed} == dict.fromkeys(large, b"y")


async def test_what_an_older_versions_worker_writes_is_not_copied(client: Client, namespace: str, store: RedisStore) -> None:
    """In a rolling upgrade its functions note nothing, and a copy would mix its batches."""
    commands = store._commands
    await commands.hset(store._position, "owner", "7:2:of an older version")  # as its `acquire` does
    with pytest.raises(StoreRefused, match="UNNOTED"):
        await PartitionCopy(store).begin()
    await store.acquire("7:3:upgraded", 8)
    await PartitionCopy(store).begin()
