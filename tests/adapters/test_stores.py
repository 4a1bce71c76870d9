"""One suite, several stores: what the engine relies on holds for the memory twin as for real Redis, alone and as a cluster."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.batches import FAR_MS, a_batch, a_write, everything
from tests.kit.examples import examples
from tests.kit.services import Redis, free_port, needed
from tests.kit.waits import HANG_S
from worker.adapters import memory as memory_store
from worker.adapters import redis_client
from worker.adapters.memory import MemoryOrder, MemoryStore, Snapshot
from worker.adapters.redis_check import memory
from worker.adapters.redis_client import connect
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.core.contract.model import LeadWrite, Output
from worker.errors import Fenced, StaleStore, StoreRefused, StoreUnavailable
from worker.ports import LISTED, Applied, Batch, Due, OrderStore, OutboxEntry, Position, Store

OWNER = "7:1:first"
NEXT_OWNER = "7:2:second"


class RebuildableStore(Store, Protocol):
    """What both adapters can beyond the port."""

    async def allow_rebuild(self) -> None: ...

    async def allow_inputs(self, topics: Sequence[str]) -> None: ...


@pytest.fixture(scope="session")
def cluster() -> Iterator[Redis]:
    """One Redis Cluster of a single node that serves every slot."""
    # Its bus would listen 10,000 ports above, which may be past the last one there is.
    bus = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with needed(lambda: Redis(bus, keep=False)) as server, redis.Redis(port=server.port) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.02)
        yield server


@pytest.fixture
def two_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a change of the grid make two leads due a batch: a few leads are then as many as a million."""
    few_at_once(monkeypatch)


def few_at_once(patch: pytest.MonkeyPatch) -> None:
    """Let both adapters list two leads at once."""
    name, source = redis_client.library(redis_client.SOURCE.split("\n", 2)[2].replace(f"LISTED = {LISTED}", "LISTED = 2"))
    assert name != redis_client.LIBRARY, "the library and the port differ in how many leads they list at once"
    patch.setattr(redis_client, "LIBRARY", name)
    patch.setattr(redis_client, "SOURCE", source)
    patch.setattr(memory_store, "LISTED", 2)


def url_of(request: pytest.FixtureRequest) -> str:
    """Return where the server of the fixture's kind of store is: `redis` or `cluster`."""
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_server").url
        return url
    return f"redis+cluster://{request.getfixturevalue('cluster').address}"


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[RebuildableStore]:
    """One empty partition, in each kind of store."""
    if request.param == "memory":
        yield MemoryStore()
        return
    client = connect(url_of(request))
    yield RedisStore(client, namespace, 3)
    await client.aclose()


async def test_an_empty_partition_says_so(store: RebuildableStore) -> None:
    """A first start and an emptied store look the same; the caller tells them apart by W in Kafka."""
    assert await store.position() == Position("", 0, {}, 0, 0, "", "", None)
    assert await store.load(["a", "b"]) == [None, None]
    assert await store.load([]) == []
    assert await store.outbox(0) == []
    assert (await store.due(2**50, 10)).leads == []
    assert await store.top(10) == []
    assert await store.lead("a") == {}


async def test_the_number_of_partitions_is_fixed_by_the_first_batch(store: RebuildableStore) -> None:
    """A mistaken start must not bind an empty partition; a state made under N belongs to that N for good."""
    assert (await store.acquire(OWNER, 8)).partitions == 8
    assert (await store.acquire(OWNER, 16)).partitions == 16
    await store.apply(OWNER, a_batch(1))
    assert (await store.acquire(OWNER, 8)).partitions == 16


async def test_a_batch_sent_again_is_applied_once(store: RebuildableStore) -> None:
    """A lost reply makes the worker repeat its last batch; the store says so and changes nothing."""
    await store.acquire(OWNER, 8)
    batch = a_batch(1, [a_write("a", b"one", due_ms=5, rank=1.5)])
    assert await store.apply(OWNER, batch) is Applied.DONE
    before = await everything(store, ["a", "b"])
    assert await store.apply(OWNER, batch) is Applied.ALREADY
    assert await store.apply(OWNER, a_batch(1, [a_write("b")])) is Applied.ALREADY
    assert await everything(store, ["a", "b"]) == before


@pytest.mark.parametrize("number", [1, 4, 5, 1_000_000])
async def test_a_batch_that_does_not_follow_the_stored_one_is_a_gap(store: RebuildableStore, number: int) -> None:
    """The store went back in time, or the caller did: neither may be papered over."""
    await store.acquire(OWNER, 8)
    for b in (1, 2):
        await store.apply(OWNER, a_batch(b))
    before = await everything(store, ["a"])
    assert await store.apply(OWNER, a_batch(number, [a_write("a")])) is Applied.GAP
    assert await everything(store, ["a"]) == before


async def test_only_the_owner_writes(store: RebuildableStore) -> None:
    """A zombie that wakes after a takeover must change nothing, not even by repeating what it had done before."""
    with pytest.raises(Fenced):
        await store.apply(OWNER, a_batch(1))
    with pytest.raises(Fenced):
        await store.trim(OWNER, 0)
    await store.acquire(OWNER, 8)
    first = a_batch(1, [a_write("a")])
    await store.apply(OWNER, first)
    assert (await store.acquire(NEXT_OWNER, 8)).owner == NEXT_OWNER
    before = await everything(store, ["a"])
    for batch in (first, a_batch(2, [a_write("a", b"zombie")])):
        with pytest.raises(Fenced, match=r"7:2:second"):
            await store.apply(OWNER, batch)
    with pytest.raises(Fenced):
        await store.trim(OWNER, 1)
    assert await everything(store, ["a"]) == before
    assert await store.apply(NEXT_OWNER, a_batch(2)) is Applied.DONE


async def test_a_lower_epoch_of_the_same_producer_cannot_take_over(store: RebuildableStore) -> None:
    """Kafka has fenced that epoch already; epochs are compared as numbers (9 < 10), other producer ids not at all."""
    await store.acquire("7:10:a", 8)
    with pytest.raises(Fenced, match=r"7:10:a"):
        await store.acquire("7:9:b", 8)
    assert (await store.position()).owner == "7:10:a"
    assert (await store.acquire("7:10:a", 8)).owner == "7:10:a"
    assert (await store.acquire("7:10:b", 8)).owner == "7:10:b"
    assert (await store.acquire("6:0:c", 8)).owner == "6:0:c"
    assert (await store.acquire("7:9:b", 8)).owner == "7:9:b"


@pytest.mark.parametrize("token", ["", "7", "7:1", "7:1:", "-1:0:x", "a:b:c"])
async def test_a_token_of_another_shape_is_refused(store: RebuildableStore, token: str) -> None:
    """A token without an epoch could never be fenced."""
    with pytest.raises(StoreRefused, match="producer-id:epoch:uuid"):
        await store.acquire(token, 8)


async def test_the_position_tells_where_the_last_batch_ended(store: RebuildableStore) -> None:
    """Offsets and instants come back to the digit, up to the largest that a double holds; what a batch leaves out stays."""
    await store.acquire(OWNER, 8)
    big = 2**53 - 1
    await store.apply(OWNER, a_batch(1, next={"web": big, "crm.a:b": 1}, clock_ms=big, strayed_ms=7, grid="g1"))
    expected = Position(OWNER, 1, {"web": big, "crm.a:b": 1}, 0, 8, "g1", "w", big, 7)
    assert await store.position() == expected
    await store.apply(OWNER, a_batch(2, next={"crm.a:b": 2}, grid="g2"))
    expected = Position(OWNER, 2, {"web": big, "crm.a:b": 2}, 0, 8, "g2", "w", big, 7)
    assert await store.position() == expected
    assert await store.acquire(NEXT_OWNER, 8) == Position(NEXT_OWNER, 2, expected.next, 0, 8, "g2", "w", big, 7)


async def test_the_position_counts_the_leads_of_each_stage(store: RebuildableStore) -> None:
    """Moved, erased, removed, new: the counts follow each batch, and no repeat of a batch counts twice."""
    await store.acquire(OWNER, 8)
    assert (await store.position()).leads == {}
    first = a_batch(1, [a_write("a"), a_write("b"), a_write("c", stage="sql"), a_write("erased", score="")])
    for _ in range(2):
        await store.apply(OWNER, first)
        assert (await store.position()).leads == {"contact": 2, "sql": 1}
    await store.apply(OWNER, a_batch(2, [a_write("a", stage="mql"), a_write("b", score=""), a_write("d", stage="excluded")]))
    assert (await store.position()).leads == {"mql": 1, "sql": 1, "excluded": 1}
    await store.apply(OWNER, a_batch(3, [a_write("a", b"", score=""), a_write("b"), a_write("c", stage="sql")], send=False))
    assert (await store.acquire(NEXT_OWNER, 8)).leads == {"contact": 1, "sql": 1, "excluded": 1}


async def test_due_leads_come_in_slices_earliest_first(store: RebuildableStore) -> None:
    """A tick is applied slice by slice: the order decides which leads make a batch, so it must be one and the same."""
    await store.acquire(OWNER, 8)
    day = 1_760_000_000_000
    writes = [a_write(lead, due_ms=day + at) for lead, at in {"é": 1, "z": 1, "b": 0, "a": 1, "later": 2}.items()]
    await store.apply(OWNER, a_batch(1, writes))
    assert (await store.due(day - 1, 10)).leads == []
    assert (await store.due(day + 1, 10)).leads == ["b", "a", "z", "é"]
    assert (await store.due(day + 1, 2)).leads == ["b", "a"]
    assert (await store.due(day + 1, 0)).leads == []
    await store.apply(OWNER, a_batch(2, [a_write("b", due_ms=None), a_write("a", due_ms=day + 3)]))
    assert (await store.due(day + 1, 2)).leads == ["z", "é"]
    await store.apply(OWNER, a_batch(3, [a_write("a", due_ms=day + 1)]))
    await store.apply(OWNER, a_batch(4, [a_write("z", due_ms=day + 8)]))
    await store.apply(OWNER, a_batch(5, [a_write("z", due_ms=day + 1)]))
    assert (await store.due(day + 9, 10)).leads == ["a", "z", "é", "later"]


async def test_the_top_is_read_by_falling_rank(store: RebuildableStore) -> None:
    """Pages follow one another without a lead lost or doubled; ranks come back to the last bit."""
    await store.acquire(OWNER, 8)
    ranks = {"a": 0.1 + 0.2, "b": 1e300, "c": -5.0, "d": 78.5, "e": 78.5, "f": math.inf, "g": None}
    await store.apply(OWNER, a_batch(1, [a_write(lead, rank=rank) for lead, rank in ranks.items()]))
    whole = [("f", math.inf), ("b", 1e300), ("e", 78.5), ("d", 78.5), ("a", 0.1 + 0.2), ("c", -5.0)]
    assert await store.top(100) == whole
    assert await store.top(2) + await store.top(2, 2) + await store.top(2, 4) == whole
    assert await store.top(0) == await store.top(0, 3) == await store.top(5, 100) == []
    await store.apply(OWNER, a_batch(2, [a_write("f", rank=None), a_write("c", rank=99.0)]))
    assert [lead for lead, _ in await store.top(3)] == ["b", "c", "e"]


async def test_a_new_grid_makes_every_lead_due_batch_by_batch(store: RebuildableStore) -> None:
    """Part of the batches: a store that loses its last second keeps no new grid without knowing whom it is to judge."""
    await store.acquire(OWNER, 8)
    leads = [f"lead-{i:04d}" for i in range(LISTED + 1_100)]
    writes = [a_write(lead, due_ms=None if i % 2 else FAR_MS, rank=-float(i)) for i, lead in enumerate(leads)]
    writes[1_000] = a_write(leads[1_000], due_ms=1_005, rank=-1_000.0)
    await store.apply(OWNER, a_batch(1, [*writes, a_write("erased", score="")], clock_ms=1_000))
    assert await store.due(1_004, 5_000) == Due([])
    assert await store.grid() is None
    batch = a_batch(2, grid="other", clock_ms=1_000, begins=b"grid: other", rate=50)
    assert await store.apply(OWNER, batch) is Applied.DONE
    assert await store.grid() == b"grid: other"
    ends_ms = 1_000 + len(leads) * 20
    position = await store.position()
    assert (position.requeued, position.regraded_ms) == (LISTED, ends_ms)
    assert await store.due(999, 5_000) == Due([])
    assert await store.due(1_000, 5_000) == Due(leads[:1]), "the hottest first"
    assert await store.due(1_040, 5_000) == Due([leads[0], leads[1_000], leads[1], leads[2]]), "who is due earlier stays so"
    assert not (await store.due(1_000 + LISTED * 20 - 1, 5_000)).unlisted
    assert (await store.due(1_000 + LISTED * 20, 5_000)).unlisted, "the next batch makes another lead due by then"
    number = 3
    while (position := await store.position()).requeued is not None:
        assert position.requeued == LISTED * (number - 2)
        await store.apply(OWNER, a_batch(number))
        await store.acquire(OWNER, 8)
        number += 1
    assert (position.requeued, position.regraded_ms) == (None, ends_ms)
    assert await store.due(ends_ms - 21, 5_000) == Due([leads[0], leads[1_000], *leads[1:1_000], *leads[1_001:-1]])
    await store.apply(OWNER, a_batch(number, [a_write(leads[0])]))
    assert await store.apply(OWNER, a_batch(number, begins=b"grid: third", rate=1)) is Applied.ALREADY
    assert await store.due(1_010, 5_000) == Due([leads[1_000]])
    assert await store.grid() == b"grid: other"


@pytest.mark.usefixtures("two_listed")
async def test_no_lead_is_passed_over_while_others_move(store: RebuildableStore) -> None:
    """Ranks change between two batches, also that of the lead at which the last one ended; many leads have the same."""
    await store.acquire(OWNER, 8)
    rnd, number = random.Random(3), 1
    long = "x" * 64
    leads = [f"{long}{n:02d}"[rnd.choice((0, 60)) :] for n in range(40)] + [long, long[:-1], "é", "e"]
    ranks = [0.0, -0.0, 1.0, 1.0 + 2**-52, math.inf, -math.inf]
    await store.apply(OWNER, a_batch(1, [a_write(lead, rank=rnd.choice(ranks)) for lead in leads]))
    for grid in (b"first", b"second"):
        unjudged = {lead for lead, _ in await store.top(100)}
        number += 1
        await store.apply(OWNER, a_batch(number, begins=grid, rate=1_000, clock_ms=number * 1_000))
        begun = await store.position()
        while (await store.position()).requeued is not None:
            number += 1
            at_the_cursor = (await store.top(100))[:: max(1, len(leads) // 3)]
            moved = {lead for lead, _ in rnd.sample(at_the_cursor, 2)} | set(rnd.sample(leads, 3))
            unjudged -= moved
            writes = [a_write(lead, rank=rnd.choice(ranks), due_ms=FAR_MS) for lead in moved]
            await store.apply(OWNER, a_batch(number, writes))
            if grid == b"first" and number == 9:
                break
        if grid == b"second":
            last_ms = (await store.position()).regraded_ms
            assert last_ms is not None
            assert begun.clock_ms is not None
            assert unjudged <= set((await store.due(last_ms, 100)).leads)
            assert last_ms - begun.clock_ms <= 2 * len(leads), "one lead a millisecond, each once, and no more than moved below"


@pytest.mark.usefixtures("two_listed")
@pytest.mark.parametrize("alike", [0, 1, 62, 63, 64, 65, 127, 128, 16_000])
async def test_leads_of_one_rank_whose_ids_are_alike_are_told_apart(store: RebuildableStore, alike: int) -> None:
    """The listing goes on behind an id that differs from the next one in its last byte, or is the beginning of it."""
    await store.acquire(OWNER, 8)
    leads = sorted(["x" * alike + end for end in ("a", "ab", "b", "é", "z", "zz")], key=str.encode, reverse=True)
    await store.apply(OWNER, a_batch(1, [a_write(lead, rank=1.0) for lead in leads]))
    for number in range(2, 6):
        await store.apply(OWNER, a_batch(number, begins=b"grid" if number == 2 else None, rate=1, clock_ms=0))
    assert (await store.position()).requeued is None
    assert (await store.due(5_000, 9)).leads == leads


@pytest.mark.usefixtures("two_listed")
async def test_a_change_of_the_grid_goes_on_from_an_older_copy_as_it_went_before(store: RebuildableStore) -> None:
    """Whoever folds the same batches again makes the same leads due at the same instants."""
    seen: list[object] = []
    for first in (1, 31):  # the second time in the place of what the first one left
        await store.acquire(f"7:{first}:x", 8)
        for step in range(30):
            moved = range(30) if step == 0 else {step * 7 % 30, step * 11 % 30}
            writes = [a_write(f"lead-{n:02d}", rank=float(n * step % 5), due_ms=FAR_MS) for n in moved]
            batch = a_batch(first + step, writes, begins=b"grid" if step == 3 else None, rate=100, send=False)
            assert await store.apply(f"7:{first}:x", batch) is Applied.DONE
        assert (await store.position()).requeued is None
        dues = [(await store.due(at_ms, 100)).leads for at_ms in range(0, 400, 10)]
        seen.append((dues, await store.top(100)))
    assert seen[0] == seen[1]


async def test_those_who_are_due_are_told_as_a_batch_left_them_or_not_at_all(store: RebuildableStore) -> None:
    """Between two calls the store may have gone back, or to another owner: its list would then make a batch of our number."""
    await store.acquire(OWNER, 8)
    assert await store.due(5, 9, OWNER, 0) == Due([])
    await store.apply(OWNER, a_batch(1, [a_write("a", due_ms=5)]))
    assert await store.due(5, 9, OWNER, 1) == Due(["a"])
    for token, batch in ((OWNER, 0), (OWNER, 2), (NEXT_OWNER, 1)):
        with pytest.raises(StaleStore):
            await store.due(5, 9, token, batch)
    await store.acquire(NEXT_OWNER, 8)
    with pytest.raises(StaleStore):
        await store.due(5, 9, OWNER, 1)
    assert await store.due(5, 9) == Due(["a"]), "whoever owns nothing reads what there is"


async def test_states_are_loaded_as_a_batch_left_them_or_not_at_all(store: RebuildableStore) -> None:
    """A batch folded upon what the store held for a moment, before it went back or forth, would be applied upon others."""
    await store.acquire(OWNER, 8)
    assert await store.load(["a"], OWNER, 0) == [None]
    await store.apply(OWNER, a_batch(1, [a_write("a", b"one")]))
    assert await store.load(["a", "b"], OWNER, 1) == [b"one", None]
    for token, batch in ((OWNER, 0), (OWNER, 2), (NEXT_OWNER, 1)):
        with pytest.raises(StaleStore):
            await store.load(["a"], token, batch)
    assert await store.load(["a"]) == [b"one"], "whoever owns nothing reads what there is"


async def test_no_more_states_are_loaded_than_a_batch_may_hold(store: RebuildableStore) -> None:
    """Five hundred leads of 60 kB are 30 MB; those past the limit are asked for once more, so one at least must come."""
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write(lead, lead.encode() * 10) for lead in "abc"]))
    for most, loaded in ((math.inf, 4), (31, 4), (30, 4), (29, 4), (20, 3), (11, 3), (10, 1), (1, 1)):
        assert await store.load(["a", "x", "b", "c"], OWNER, 1, most) == [b"a" * 10, None, b"b" * 10, b"c" * 10][:loaded]
    assert await store.load(["x", "y"], OWNER, 1, 1) == [None, None]


async def test_a_rank_that_is_no_number_is_refused_whole(store: RebuildableStore) -> None:
    """Redis would refuse it in the middle of the batch; it must be found before the first write."""
    await store.acquire(OWNER, 8)
    before = await everything(store, ["a", "b"])
    with pytest.raises(StoreRefused, match="a rank is not a number"):
        await store.apply(OWNER, a_batch(1, [a_write("a"), a_write("b", rank=math.nan)]))
    assert await everything(store, ["a", "b"]) == before


async def test_the_outbox_is_read_in_the_order_of_batches(store: RebuildableStore) -> None:
    """By number, not by text (9 before 10), over any number of pages, and as it was written to the byte."""
    await store.acquire(OWNER, 8)
    odd = Output("lead.dead", None, None, (("why", b"\x00\xff"), ("why", b"")), 7)
    for b in range(1, 253):
        await store.apply(OWNER, a_batch(b, outputs=(Output("lead.sql", b"k", b"%d" % b), odd), send=b != 200))
    entries = await store.outbox(0)
    assert [entry.cut.batch for entry in entries] == [b for b in range(1, 253) if b != 200]
    assert entries[41] == a_batch(42, outputs=(Output("lead.sql", b"k", b"42"), odd)).entry
    assert [entry.cut.batch for entry in await store.outbox(198)] == [199, *range(201, 253)]
    assert await store.outbox(252) == []


async def test_trimming_keeps_what_is_not_published(store: RebuildableStore) -> None:
    """What was published and the horizon never move back: a delayed repeat of an older call may come last."""
    await store.acquire(OWNER, 8)
    for b in range(1, 6):
        await store.apply(OWNER, a_batch(b))
    await store.trim(OWNER, 3, 1000)
    await store.trim(OWNER, 2, 900)
    assert [entry.cut.batch for entry in await store.outbox(0)] == [4, 5]
    position = await store.position()
    assert (position.published, position.horizon_ms, position.batch) == (3, 1000, 5)
    await store.trim(OWNER, 12)
    assert await store.outbox(0) == []
    position = await store.position()
    assert (position.published, position.horizon_ms, position.batch) == (12, 1000, 5)
    assert await store.apply(OWNER, a_batch(6, send=False)) is Applied.DONE


async def test_a_batch_of_thousands_of_leads_is_written_whole(store: RebuildableStore) -> None:
    """Lua's stack holds 8,000 values; one ZADD of 5,000 leads has 10,000."""
    await store.acquire(OWNER, 8)
    leads = [f"lead-{i:05d}" for i in range(5000)]
    writes = [a_write(lead, str(i).encode(), due_ms=i, rank=float(i)) for i, lead in enumerate(leads)]
    assert await store.apply(OWNER, a_batch(1, writes)) is Applied.DONE
    assert await store.load(leads) == [str(i).encode() for i in range(5000)]
    assert (await store.due(10_000, 10_000)).leads == leads
    assert [lead for lead, _ in await store.top(5000)] == leads[::-1]
    writes = [a_write(lead, due_ms=None, rank=None) for lead in leads]
    await store.apply(OWNER, a_batch(2, writes))
    assert (await store.due(10_000, 10_000)).leads == []
    assert await store.top(5000) == []


ODD_LEADS = [
    "{",
    "}",
    "{x}",
    "a:b",
    "lead:",
    "\n\r\n",
    "\x00",
    " ",
    "*",
    "é",
    "e\u0301",
    "日本",
    "🦊",
    "x" * 10_240,
    "-1",
    "1e400",
]


async def test_any_lead_id_is_kept_apart(store: RebuildableStore) -> None:
    """Ids are the producers': braces, colons, line ends and NUL mean nothing to the store."""
    await store.acquire(OWNER, 8)
    everybyte = bytes(range(256)) * 4
    writes = [a_write(lead, everybyte + lead.encode(), due_ms=1, rank=1.0) for lead in ODD_LEADS]
    await store.apply(OWNER, a_batch(1, writes))
    assert await store.load(ODD_LEADS) == [everybyte + lead.encode() for lead in ODD_LEADS]
    assert (await store.due(1, 100)).leads == sorted(ODD_LEADS)
    assert [lead for lead, _ in await store.top(100)] == sorted(ODD_LEADS, reverse=True)
    assert (await store.lead("\x00"))["stage"] == b"contact"


async def test_states_are_loaded_in_the_order_asked(store: RebuildableStore) -> None:
    """The caller pairs them with its leads by place; a lead asked for twice is answered twice."""
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write("a", b"A"), a_write("b", b"")]))
    assert await store.load(["b", "x", "a", "b"]) == [b"", None, b"A", b""]


async def test_a_lead_is_readable_as_it_is(store: RebuildableStore) -> None:
    """Other programs read the hash by its fields, which are the contract."""
    await store.acquire(OWNER, 8)
    write = LeadWrite("a", b"\x00", "78.5", "30", "48.5", "sql", "B1", "2026-01-01T00:00:00Z", 1, 1.0)
    await store.apply(OWNER, a_batch(1, [write]))
    assert await store.lead("a") == {
        "state": b"\x00",
        "score": b"78.5",
        "fit": b"30",
        "engagement": b"48.5",
        "stage": b"sql",
        "grade": b"B1",
        "updated_at": b"2026-01-01T00:00:00Z",
    }


SIZES = (0, 1, 2, 3, 62, 63, 64, 1_016, 1_017, 1_063, 1_064, 1_125, 1_126, 1_800, 1_801, 100_000)


@pytest.mark.parametrize("after", SIZES)
async def test_a_state_of_any_size_is_read_back_whatever_stood_there_before(store: RebuildableStore, after: int) -> None:
    """Redis may hold it in pieces; bytes that look like numbers are no numbers, and no piece of an earlier state stays."""
    await store.acquire(OWNER, 8)
    number = 0
    for before in SIZES:
        for size in (before, after):
            number += 1
            states = [b"7" * size, bytes(i * 31 % 251 for i in range(size))]
            await store.apply(OWNER, a_batch(number, [a_write("a", states[0]), a_write("b", states[1])]))
            assert await store.load(["a", "b"]) == states
            held = await store.lead("b")
            assert set(held) == {"state", "score", "fit", "engagement", "stage", "grade", "updated_at"}
            assert held["state"] == states[1]
        mark = b"m" * before
        await store.apply(OWNER, a_batch(number := number + 1, [a_write("a", mark, score="")]))
        assert await store.lead("a") == ({"state": mark} if mark else {})


async def test_of_an_erased_lead_only_its_mark_stays(store: RebuildableStore) -> None:
    """Erasure must leave no score, stage or date behind; a lead that comes back later is whole again."""
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write("a", b"much", due_ms=1, rank=1.0)]))
    erased = LeadWrite("a", b"mark", "", "", "", "", "", "", None, None)
    await store.apply(OWNER, a_batch(2, [erased]))
    assert await store.lead("a") == {"state": b"mark"}
    assert await store.load(["a"]) == [b"mark"]
    assert (await store.due(10, 10)).leads == []
    assert await store.top(10) == []
    await store.apply(OWNER, a_batch(3, [a_write("a", b"again")]))
    assert set(await store.lead("a")) == {"state", "score", "fit", "engagement", "stage", "grade", "updated_at"}


async def test_of_a_lead_of_which_nothing_is_to_be_held_not_even_the_key_stays(store: RebuildableStore) -> None:
    """A removed lead leaves nothing that names it."""
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write("a", b"much", due_ms=1, rank=1.0)]))
    await store.apply(OWNER, a_batch(2, [LeadWrite("a", b"", "", "", "", "", "", "", None, None)]))
    assert await store.lead("a") == {}
    assert await store.load(["a"]) == [None]
    assert (await store.due(10, 10)).leads == []
    assert await store.top(10) == []


async def test_a_rebuild_is_allowed_once_and_only_of_an_empty_partition(store: RebuildableStore) -> None:
    """The permission is for the loss that the operator saw: the first batch uses it up, a state in place refuses it."""
    await store.allow_rebuild()
    await store.allow_rebuild()
    assert (await store.position()).rebuild
    position = await store.acquire(OWNER, 8)
    assert position.rebuild
    assert position.partitions == 8
    await store.allow_rebuild()
    await store.apply(OWNER, a_batch(1, send=False))
    assert not (await store.position()).rebuild
    with pytest.raises(StoreRefused, match="up to batch 1"):
        await store.allow_rebuild()
    assert not (await store.position()).rebuild


async def test_other_inputs_are_allowed_of_a_state_in_place_and_the_offsets_of_those_that_go_are_forgotten(
    store: RebuildableStore,
) -> None:
    """The word stays: an owner that reads the topics of before is refused by what the position then says."""
    with pytest.raises(StoreRefused, match="first owner"):
        await store.allow_inputs(["web"])
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, next={"crm": 4, "web": 5}))
    await store.allow_inputs(["web", "social"])
    held = await store.position()
    assert held.inputs == ("social", "web")
    assert held.next == {"crm": 4, "web": 5}
    await store.apply(OWNER, msgspec.structs.replace(a_batch(2, next={"social": 0, "web": 5}), left=["crm"]))
    assert (await store.position()).next == {"social": 0, "web": 5}
    assert (await store.position()).inputs == ("social", "web")


async def test_the_position_keeps_the_ids_of_its_topics_and_forgets_those_that_go(store: RebuildableStore) -> None:
    """An older version writes none: what is there stays, so that a roll back and forth loses nothing."""
    await store.acquire(OWNER, 8)
    assert (await store.position()).ids == {}
    first = a_batch(1, next={"web": 5, "crm": 4})
    await store.apply(OWNER, with_cut(first, ids=("C", "W")))
    assert (await store.position()).ids == {"crm": "C", "web": "W"}
    await store.apply(OWNER, a_batch(2, next={"web": 6, "crm": 4}))
    assert (await store.position()).ids == {"crm": "C", "web": "W"}
    left = with_cut(a_batch(3, next={"social": 0, "web": 6}), ids=("1:2:a", "W"))
    await store.apply(OWNER, msgspec.structs.replace(left, left=["crm"]))
    assert (await store.position()).ids == {"social": "1:2:a", "web": "W"}
    (entry,) = await store.outbox(2)
    assert entry.cut.ids == ("1:2:a", "W")


def with_cut(batch: Batch, **changes: Any) -> Batch:
    """Return *batch* with its cut changed."""
    cut = msgspec.structs.replace(batch.entry.cut, **changes)
    return msgspec.structs.replace(batch, entry=msgspec.structs.replace(batch.entry, cut=cut))


async def test_owners_that_race_apply_every_batch_once(store: RebuildableStore) -> None:
    """Whoever interleaves, the stored batches are 1, 2, 3 … without a hole or a double, each by its owner of the moment."""
    done: list[tuple[int, str]] = []

    async def own(pid: int) -> None:
        for epoch in range(6):
            token = f"{pid}:{epoch}:x"
            batch = (await store.acquire(token, 8)).batch
            try:
                for _ in range(5):
                    batch += 1
                    await asyncio.sleep(0)
                    if await store.apply(token, a_batch(batch, [a_write("a", token.encode())])) is Applied.DONE:
                        done.append((batch, token))
            except Fenced:
                continue

    await asyncio.gather(*(own(pid) for pid in range(5)))
    last = (await store.position()).batch
    assert sorted(batch for batch, _ in done) == list(range(1, last + 1))
    assert [entry.cut.batch for entry in await store.outbox(0)] == list(range(1, last + 1))
    assert await store.load(["a"]) == [max(done)[1].encode()]


LEADS = ["a", "b", "{c}", "é"]
TOKENS = ["1:1:x", "1:2:y", "1:10:z", "2:0:x"]
writes = st.builds(
    a_write,
    st.sampled_from(LEADS),
    st.binary(max_size=8),
    due_ms=st.none() | st.integers(0, 5),
    rank=st.none() | st.floats(-3, 3) | st.sampled_from([0.0, 1.0]),
    score=st.sampled_from(["1", ""]),
)
batches = st.builds(
    a_batch,
    st.integers(-1, 1),
    st.lists(writes, max_size=4, unique_by=lambda write: write.lead),
    next=st.dictionaries(st.sampled_from(["web", "crm"]), st.integers(0, 2**40)),
    clock_ms=st.none() | st.integers(0, 2**40),
    strayed_ms=st.none() | st.integers(0, 2**40),
    send=st.booleans(),
    begins=st.none() | st.just(b"grid: g"),
    rate=st.integers(1, 3_000),
    outputs=st.just(()) | st.just((Output("lead.sql", b"k", b"v"),)),
)
tokens = st.sampled_from(TOKENS)
steps = st.lists(
    st.tuples(st.just("acquire"), tokens, st.integers(1, 3))
    | st.tuples(st.just("apply"), tokens, batches)
    | st.tuples(st.just("apply as owner"), batches)
    | st.tuples(st.just("trim"), tokens, st.integers(0, 9), st.none() | st.integers(0, 9))
    | st.tuples(st.just("trim as owner"), st.integers(0, 9), st.none() | st.integers(0, 9))
    | st.tuples(st.just("allow_rebuild"))
    | st.tuples(st.just("due"), st.integers(-1, 6), st.integers(0, 4))
    | st.tuples(st.just("due"), st.integers(-1, 6), st.integers(0, 4), tokens, st.integers(0, 3))
    | st.tuples(st.just("top"), st.integers(0, 4), st.integers(0, 4)),
    max_size=25,
)


async def answer(store: RebuildableStore, step: tuple[Any, ...], at: Position) -> object:
    """Do *step*, whose batch numbers count from the next one of *at*, and return the answer or the kind of error."""
    name, *arguments = step
    if name.endswith(" as owner"):
        name, arguments = name.removesuffix(" as owner"), [at.owner, *arguments]
    if name == "apply":
        token, batch = arguments
        cut = batch.entry.cut
        moved = a_batch(
            at.batch + 1 + cut.batch,
            batch.writes,
            next=cut.next,
            clock_ms=batch.clock_ms,
            strayed_ms=batch.strayed_ms,
            send=batch.send,
            begins=batch.grid,
            rate=cut.requeued,
            outputs=batch.entry.outputs,
        )
        arguments = [token, moved]
    call: Callable[..., Awaitable[object]] = getattr(store, name)
    try:
        return await call(*arguments)
    except (StaleStore, Fenced, StoreRefused) as error:
        return type(error)


@settings(examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_memory_answers_as_redis_does(redis_server: Redis, plan: list[tuple[Any, ...]]) -> None:
    """Whatever owners do in whatever order: same answers, same errors, same state. This lets other tests trust the twin."""

    async def compare() -> None:
        client = connect(redis_server.url)
        memory, real = MemoryStore(), RedisStore(client, "twin", 0)
        try:
            for step in plan:
                at = await memory.position()
                assert await answer(memory, step, at) == await answer(real, step, at), step
                assert await everything(memory, LEADS) == await everything(real, LEADS), step
        finally:
            await client.delete(*await client.keys("{twin:0}:*") or ["none"])
            await client.aclose()

    with pytest.MonkeyPatch.context() as patch:
        few_at_once(patch)
        asyncio.run(compare())


async def test_memory_goes_back_in_time() -> None:
    """Tests of a restored Redis rest on it: the next batch is a gap, and what came after the copy is gone everywhere."""
    store = MemoryStore()
    await store.acquire(OWNER, 8)
    await store.apply(OWNER, a_batch(1, [a_write("a", b"1", due_ms=1, rank=1.0)]))
    copy, before = store.snapshot(), await everything(store, ["a", "b"])
    await store.apply(OWNER, a_batch(2, [a_write("a", b"2", due_ms=2, rank=2.0), a_write("b", b"2", due_ms=0)]))
    await store.trim(OWNER, 1)
    assert (await store.due(5, 5)).leads == ["b", "a"]
    store.restore(copy)
    assert await everything(store, ["a", "b"]) == before
    assert store.held() == ["a"]
    assert await store.apply(OWNER, a_batch(3)) is Applied.GAP
    store.restore(Snapshot())
    assert await store.position() == Position("", 0, {}, 0, 0, "", "", None)


async def test_a_cluster_client_that_closes_its_connections_makes_the_others_wait(cluster: Redis, namespace: str) -> None:
    """One partition's error closes the connections of all; who was just connecting asks again."""
    client = connect(f"redis+cluster://{cluster.address}")
    stores = [RedisStore(client, namespace, partition) for partition in range(20)]
    waited, until = 0, time.monotonic() + HANG_S

    async def ask(store: RedisStore) -> None:
        nonlocal waited
        while waited < 20 and time.monotonic() < until:
            try:
                await store.position()
                await store.load(["a"])
            except StoreUnavailable:
                waited += 1

    async def watch() -> None:
        while waited < 20 and time.monotonic() < until:
            await memory(client)

    async def close() -> None:
        while waited < 20 and time.monotonic() < until:
            await client.aclose()
            await asyncio.sleep(0.001)

    try:
        await asyncio.gather(close(), *(ask(store) for store in stores), *(watch() for _ in range(5)))
    finally:
        await client.aclose()
    assert waited >= 20


@pytest.fixture(params=["memory", "redis", "cluster"])
async def order(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[OrderStore]:
    """One namespace without an order of grids, in each kind of store."""
    if request.param == "memory":
        yield MemoryOrder()
        return
    client = connect(url_of(request))
    yield RedisOrder(client, namespace)
    await client.aclose()


async def test_an_order_is_swapped_only_for_the_one_that_was_read(order: OrderStore) -> None:
    """Two workers with two grids put theirs in force one after the other, each knowing of the other's."""
    assert (await order.order(), await order.text()) == (None, None)
    assert await order.swap(None, b"one", b"\xff text")
    assert not await order.swap(None, b"two", b"other")
    assert not await order.swap(b"two", b"three", b"other")
    assert (await order.order(), await order.text()) == (b"one", b"\xff text")
    assert await order.swap(b"one", b"two", None)
    assert (await order.order(), await order.text()) == (b"two", b"\xff text")
    won = await asyncio.gather(*(order.swap(b"two", b"%d" % n, b"text %d" % n) for n in range(8)))
    assert won.count(True) == 1
    assert (await order.order(), await order.text()) == (b"%d" % won.index(True), b"text %d" % won.index(True))


async def test_a_batch_that_begins_a_grid_leaves_its_number_and_tables(store: RebuildableStore) -> None:
    """Others leave both as they are: a later owner sees by which tables every lead was judged."""
    await store.acquire(OWNER, 8)
    begins = a_batch(1)
    cut = msgspec.structs.replace(begins.entry.cut, requeued=10, order=7, words="tables")
    await store.apply(OWNER, msgspec.structs.replace(begins, entry=OutboxEntry(cut, ()), grid=b"grid: g"))
    await store.apply(OWNER, a_batch(2))
    at = await store.position()
    assert (at.batch, at.order, at.begun) == (2, 7, "tables")
    assert at.words != "tables"
