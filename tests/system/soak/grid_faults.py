"""Grids, tables and input topics that change while workers run."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from tests.kit.grids import changed
from tests.system.soak.run import Run, all_published, fault


@fault("grid changed while workers run", clock="wall", listed=20)
async def _grid(run: Run) -> None:
    limit = run.random.choice((5, 12, 20))
    run.site.put_grid(changed(run.grid, {"version": limit, "engagement.min": limit}))
    for worker in run.workers:
        worker.signal(signal.SIGHUP)


@fault(
    "grids one after the other before all leads of one are listed, a worker killed, Redis back amid them",
    clock="wall",
    listed=5,
)
async def _grids_in_a_row(run: Run) -> None:
    site = run.site
    await all_published(site)
    old, copy_at = await site.copy(), run.random.randint(3, 5)
    for version in range(2, 7):
        site.put_grid(changed(run.grid, {"version": version, "engagement.min": 3 * version}))
        for worker in run.workers:
            worker.signal(signal.SIGHUP)
        await run.some_time(1)
        if version == copy_at:
            old = await site.copy()
            victim = run.any_worker()
            victim.kill()
            run.drop(victim)
            (heir,) = await run.start()
            await heir.says("\n")  # it listens to signals now
    await run.some_time()
    await site.restore(old)


@fault("two workers with two grid files, the partitions moved to and fro", clock="wall")
async def _two_grids(run: Run) -> None:
    site = run.site
    other = site.folder / f"{site.settings.namespace}-other.yaml"
    text = changed(run.grid, {"engagement.min": run.random.choice((5, 12))})
    other.write_text(changed(text, {"version": 2}) if run.random.random() < 0.5 else text)
    site.know_grid(other.read_text())
    await _take_turns(run, {"grid": site.grid_file}, {"grid": other})
    for p in range(site.settings.partitions):
        grids = [cut.grid for cut in await site.cuts(p) if cut.requeued]
        assert len(grids) == len(set(grids)) <= 2, f"partition {p} was judged by {grids}, one after the other"


@fault("two workers with other tzdata, the partitions moved to and fro", clock="wall")
async def _two_tables(run: Run) -> None:
    site = run.site
    site.put_grid(changed(run.grid, {"version": 2, "timezone": "Europe/Paris"}))
    zones = site.other_zones(f"{site.settings.namespace}-zones")
    await _take_turns(run, {}, {"zones": zones})
    for p in range(site.settings.partitions):
        begun = [(cut.grid, cut.words) for cut in await site.cuts(p) if cut.requeued]
        assert len(begun) == len(set(begun)), f"partition {p} was judged again and again: {begun}"


async def _take_turns(run: Run, *settings: dict[str, Any]) -> None:
    """Let workers of all *settings* come and go, ended well or not, until each partition has moved between them."""
    for turn in range(6):
        for worker in list(run.workers):
            if run.random.random() < 0.5:
                worker.kill()
            else:
                await worker.stop()
            run.drop(worker)
        for given in run.random.sample(settings, run.random.randint(1, len(settings))) if turn < 4 else settings:
            await run.start(**given)
        await run.some_time(6)


@fault("input topics changed, worker by worker")
async def _inputs(run: Run) -> None:
    site = run.site
    site.change_inputs(site.web, site.crm, f"{site.settings.namespace}.social")
    await site.prepare()
    await asyncio.to_thread(site.allow_inputs)
    for worker in list(run.workers):
        await run.start()
        await run.some_time()
        await worker.leave("leadpulse topics change")
        run.drop(worker)
