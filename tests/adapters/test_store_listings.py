"""Which leads are due, which are the hottest, and how many are in each stage, in every kind of store."""

from __future__ import annotations

import math
import random

import pytest

from tests.kit.batches import FAR_MS, a_batch, a_write, everything
from tests.kit.stores import NEXT_OWNER, OWNER, RebuildableStore
from worker.errors import StaleStore, StoreRefused
from worker.ports import LISTED, Applied, Due


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


async def test_a_rank_that_is_no_number_is_refused_whole(store: RebuildableStore) -> None:
    """Redis would refuse it in the middle of the batch; it must be found before the first write."""
    await store.acquire(OWNER, 8)
    before = await everything(store, ["a", "b"])
    with pytest.raises(StoreRefused, match="a rank is not a number"):
        await store.apply(OWNER, a_batch(1, [a_write("a"), a_write("b", rank=math.nan)]))
    assert await everything(store, ["a", "b"]) == before
