"""Batches and their owners: what the engine relies on holds for the memory twin as for Redis, alone and as a cluster."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.kit.batches import a_batch, a_write, everything
from tests.kit.stores import NEXT_OWNER, OWNER, RebuildableStore, with_cut
from worker.core.contract.model import Output
from worker.errors import Fenced, StoreRefused
from worker.ports import Applied, OrderStore, OutboxEntry, Position


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
