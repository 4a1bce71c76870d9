"""States and readable fields of leads, in every kind of store."""

from __future__ import annotations

import math

import msgspec
import pytest

from tests.kit.batches import a_batch, a_write
from tests.kit.stores import NEXT_OWNER, OWNER, RebuildableStore
from worker.core.contract.model import LeadWrite
from worker.errors import StaleStore


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


@pytest.mark.parametrize("size", [1, 2_000])
async def test_a_phase_is_readable_under_a_grid_with_phases_alone(store: RebuildableStore, size: int) -> None:
    """Empty stands for none. A grid without phases leaves no field behind that would be out of date."""
    await store.acquire(OWNER, 8)
    for number, phase in enumerate(["decision", "", None, "discovery", None], start=1):
        write = msgspec.structs.replace(a_write("a", b"s" * size), phase=phase)
        await store.apply(OWNER, a_batch(number, [write]))
        held = await store.lead("a")
        assert (held.get("phase"), held["state"]) == (None if phase is None else phase.encode(), b"s" * size)


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
