"""Grids that change while workers run, and while they do not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import time

import pytest

from tests.kit.grids import GRID, changed
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic
from tests.kit.waits import HANG_S, until
from worker.core.scoring.state import unpack

GENEROUS = changed(GRID, {"version": 2, "engagement.min": 20})
"""Every lead is worth 20 at least, which is more than an mql needs."""


async def test_a_changed_grid_is_in_force_without_a_restart(make_site: MakeSite) -> None:
    """Leads that do nothing are judged again too; what does not parse is refused, and the grid before it goes on."""
    site = await make_site(clock="wall")
    await site.send(site.sent(m) for m in traffic(70, 60, 400, around_ms=now_ms() - 60_000, spread_s=20))
    workers = [site.worker(), site.worker()]
    await site.settled()
    site.put_grid(GENEROUS)
    for worker in workers:
        worker.signal(signal.SIGHUP)
        await worker.says("another grid is in force: system-test version 2")
    await judged_by(site, GENEROUS)
    site.grid_file.write_text(changed(GENEROUS, {"version": 3, "threshold": 5}))
    for worker in workers:
        worker.signal(signal.SIGHUP)
        await worker.says("refused; the grid in force stays: system-test version 2")
        assert "threshold" in worker.said()
    await site.send(site.sent(m) for m in traffic(71, 60, 300, around_ms=now_ms() - 1_000, spread_s=1))
    await site.settled()
    for worker in workers:
        await worker.stop()
    await site.verdict()
    dead = site.settings.output_topic("lead.dead")
    grids = [json.loads(o.value or b"")["data"].get("grid") for o in await site.outputs() if o.topic != dead]
    named = [(grid["version"], grid["sha256"]) for grid in grids if grid is not None]
    assert [version for version, _ in sorted(set(named))] == [1, 2], "each output says by which grid it was judged"
    assert named.count(max(named)) > 30


async def test_leads_are_judged_again_at_a_bounded_rate_while_events_go_on(make_site: MakeSite) -> None:
    """The rate is part of the batch that begins the grid, so a replay of the journal makes the same leads due."""
    site = await make_site(clock="wall", partitions=1, regrade_rate=2, listed=7)
    await site.send(site.sent(m) for m in traffic(72, 240, 600, around_ms=now_ms() - 60_000, spread_s=20))
    worker = site.worker()
    await site.settled()
    await ticked(site)  # the rate counts from the partition's clock
    site.put_grid(GENEROUS)
    worker.signal(signal.SIGHUP)
    await worker.says("all leads will be judged again")
    await site.send(site.sent(m) for m in traffic(73, 5, 20, around_ms=now_ms() - 1_000, spread_s=1))
    await site.settled()
    others = await not_judged_by(site, GENEROUS)
    assert others > 20, "events wait for no lead that is judged again, and it takes minutes"

    async def some_more_are() -> bool:
        return await not_judged_by(site, GENEROUS) < others - 5

    await until(some_more_are, "some more are judged")
    await site.settled()
    await worker.stop()
    await site.verdict()


@pytest.mark.parametrize("step", ["before_apply", "after_apply", "after_apply:4", "before_commit", "after_commit:2"])
async def test_a_worker_killed_while_it_begins_a_grid_leaves_nobody_unjudged(make_site: MakeSite, step: str) -> None:
    """The grid's text, the first leads made due and the offsets are one batch; the next owner goes on with the rest."""
    site = await make_site(clock="wall", partitions=1, listed=7)
    await site.send(site.sent(m) for m in traffic(74, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    first = site.worker()
    await site.settled()
    await first.stop()
    site.put_grid(GENEROUS)
    victim = site.worker(step)
    assert await victim.ended() == 137, victim.said()
    heir = site.worker()
    await judged_by(site, GENEROUS)
    await site.settled()
    await heir.stop()
    await site.verdict()


async def test_two_workers_with_two_files_judge_by_one_grid(make_site: MakeSite) -> None:
    """Partitions move to and fro between them; no lead is judged by the grid of before again."""
    site = await make_site(clock="wall", partitions=2)
    await site.send(site.sent(m) for m in traffic(79, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    first = site.worker()
    await site.settled()
    other_file = site.folder / "other.yaml"
    other_file.write_text(GENEROUS)
    site.know_grid(GENEROUS)
    second = site.worker(grid=other_file)
    await judged_by(site, GENEROUS)
    for _ in range(3):
        await first.stop()
        first = site.worker()
        await first.says("refused; the grid in force stays: system-test version 2")
        assert "its version 1 is lower than 2" in first.said()
        await site.send(site.sent(m) for m in traffic(69, 60, 60, around_ms=now_ms() - 1_000, spread_s=1))
        await site.settled()
        await second.stop()
        second = site.worker(grid=other_file)
        await second.ready(1)
    await site.settled()
    await first.stop()
    await second.stop()
    await site.verdict()
    for p in range(2):
        assert await runs_of_grids(site, p) == [named(GRID), named(GENEROUS)]


async def test_a_grid_comes_back_by_an_operators_word_alone(make_site: MakeSite) -> None:
    """The file of a rollback is refused, whether its version is lower or the same; `grid force` puts it in force."""
    site = await make_site(clock="wall", partitions=1)
    await site.send(site.sent(m) for m in traffic(66, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    worker = site.worker()
    await site.settled()
    edited = changed(GRID, {"engagement.min": 20})
    site.put_grid(edited)
    worker.signal(signal.SIGHUP)
    await judged_by(site, edited)
    site.put_grid(GRID)
    worker.signal(signal.SIGHUP)
    await worker.says("it was in force before")
    await site.settled()
    done = site.command("grid", "force", "--yes")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["number"], told["grid"]["sha256"], told["before"]) == (3, named(GRID), named(edited))
    worker.signal(signal.SIGHUP)
    await judged_by(site, GRID)
    await site.settled()
    await worker.stop()
    await site.verdict()
    assert await runs_of_grids(site, 0) == [named(GRID), named(edited), named(GRID)]
    assert json.loads(site.command("grid", "force", "--yes").stdout)["number"] == 3, "it is in force already"


@pytest.mark.parametrize("copy", ["older", "none"])
async def test_a_redis_that_went_back_does_not_take_the_grid_with_it(make_site: MakeSite, copy: str) -> None:
    """The journal knows which grids there were, and in which order: a worker with the old file judges by the new grid."""
    site = await make_site(clock="wall", partitions=1)
    await site.send(site.sent(m) for m in traffic(67, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    worker = site.worker()
    await site.settled()
    old = await site.copy() if copy == "older" else {}
    site.put_grid(GENEROUS)
    worker.signal(signal.SIGHUP)
    await judged_by(site, GENEROUS)
    await site.settled()
    await worker.stop()
    await site.restore(old)
    if not old:
        await site.allow_rebuild()
    site.put_grid(GRID)
    heir = site.worker()
    await heir.says("refused; the grid in force stays: system-test version 2")
    await site.send(site.sent(m) for m in traffic(68, 60, 60, around_ms=now_ms() - 1_000, spread_s=1))
    await site.settled()
    await heir.stop()
    await site.verdict()
    assert await runs_of_grids(site, 0) == [named(GRID), named(GENEROUS)]


async def test_two_workers_with_other_tables_judge_all_leads_once(make_site: MakeSite) -> None:
    """In a rolling upgrade partitions move to and fro; the newer tables judge every lead once, the older ones none."""
    site = await make_site(clock="wall", partitions=1)
    site.put_grid(changed(GRID, {"timezone": "Europe/Paris"}))
    newer = site.other_zones("newer")
    await site.send(site.sent(m) for m in traffic(65, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    for turn, zones in enumerate([None, newer, None, newer, None]):
        worker = site.worker() if zones is None else site.worker(zones=zones)
        await worker.ready(1)
        await site.send(site.sent(m) for m in traffic(50 + turn, 60, 60, around_ms=now_ms() - 1_000, spread_s=1))
        await site.settled()
        assert ("have replaced this worker's" in worker.said()) == (turn in (2, 4))
        await worker.stop()
    await site.verdict()
    cuts = await site.cuts(0)
    assert [cut.words.endswith("newer") for cut in cuts if cut.requeued] == [False, True]
    assert not cuts[-1].words.endswith("newer"), "each cut names the tables that folded it"


async def test_other_tables_judge_every_lead_again(make_site: MakeSite) -> None:
    """After an upgrade an address may be of another kind, and fit with it, though the grid is the same."""
    site = await make_site(clock="wall", partitions=1)
    await site.send(site.sent(m) for m in traffic(78, 30, 150, around_ms=now_ms() - 60_000, spread_s=20))
    first = site.worker()
    await site.settled()
    await first.stop()
    async with site.redis() as redis:
        await redis.hset(site.key(0, "position"), mapping={"words": "older lists", "begun": "older lists"})
    heir = site.worker()
    await heir.says("all leads will be judged again")
    await site.settled()
    await heir.stop()
    await site.verdict()


@pytest.mark.parametrize("copy", ["older", "none"])
async def test_batches_of_several_grids_are_folded_again_by_the_grid_of_each(make_site: MakeSite, copy: str) -> None:
    """The journal holds each grid's text, and so does Redis: whoever takes over needs none of the files."""
    site = await make_site(clock="wall", partitions=1, max_batch=40, listed=7)
    await site.send(site.sent(m) for m in traffic(75, 60, 300, around_ms=now_ms() - 60_000, spread_s=20))
    worker = site.worker()
    await site.settled()
    old = await site.copy() if copy == "older" else {}
    await site.send(site.sent(m) for m in traffic(76, 60, 200, around_ms=now_ms() - 1_000, spread_s=1))
    await site.settled()
    site.put_grid(GENEROUS)
    worker.signal(signal.SIGHUP)
    await judged_by(site, GENEROUS)
    await site.send(site.sent(m) for m in traffic(77, 60, 200, around_ms=now_ms() - 1_000, spread_s=1))
    await site.settled()
    await worker.stop()
    await site.restore(old)
    if not old:
        await site.allow_rebuild()
    third = changed(GENEROUS, {"version": 3, "engagement.min": 5})
    site.put_grid(third)
    heir = site.worker()
    await heir.says("folding again")
    await judged_by(site, third)
    await site.settled()
    await heir.stop()
    await site.verdict()


def named(grid: str) -> str:
    """Return the SHA-256 by which cuts name *grid*."""
    return hashlib.sha256(grid.encode()).hexdigest()


async def runs_of_grids(site: Site, partition: int) -> list[str]:
    """Return the grids that judged *partition*, one after the other."""
    found: list[str] = []
    for cut in await site.cuts(partition):
        if cut.batch and cut.grid != (found[-1] if found else ""):
            found.append(cut.grid)
    return found


async def ticked(site: Site) -> None:
    """Wait until partition 0 has had a tick of late."""
    deadline = time.monotonic() + HANG_S
    while int((await site.position(0)).get("clock", 0)) < now_ms() - 4_000:
        assert time.monotonic() < deadline, f"no tick\n{site.logs()}"
        await asyncio.sleep(0.1)


async def judged_by(site: Site, grid: str) -> None:
    """Wait until every lead was judged by *grid*."""

    async def all_are() -> bool:
        return bool(await site.states()) and await not_judged_by(site, grid) == 0  # a rebuild begins with none

    await until(all_are, "every lead is judged by the grid")


async def not_judged_by(site: Site, grid: str) -> int:
    """Return how many leads another grid than *grid* judged last."""
    tag = next(scorer.tag for scorer in site.scorers.values() if scorer.grid.source == grid.encode())
    states = [unpack(packed) for packed in (await site.states()).values()]
    if not states:  # an emptied store is about to be filled again
        return 1
    return sum(state.alive and state.grid != tag for state in states)
