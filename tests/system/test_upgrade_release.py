"""The release before this fold, itself, followed by this one: on the Redis and the journal that it leaves, under load."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.kit.grids import WORDED, changed
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic, worded
from tests.kit.waits import until
from tests.kit.workers import Worker
from worker.core.scoring.state import FOLD_VERSION, STATE_VERSION

ROOT = Path(__file__).parents[2]
OLDER = "df75422"
"""The last commit of fold 6 and of state version 5."""

pytestmark = pytest.mark.skipif(FOLD_VERSION != 7, reason="another fold is followed by this one")


@pytest.fixture(scope="session")
def older_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the program as it was; skip where the history is not there."""
    folder = tmp_path_factory.mktemp("older")
    packed = subprocess.run(["git", "archive", OLDER], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history of the project is not here: {packed.stderr.decode()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return folder


def older(site: Site, home: Path) -> Worker:
    """Start a worker of the release before, which knows nothing of phases."""
    kind = type("OlderWorker", (Worker,), {"home": home})
    outputs = [route for route in site.environ["LEADPULSE_OUTPUT_TOPICS"].split(",") if not route.startswith("lead.phase=")]
    worker: Worker = kind(site, "", {"output_topics": ",".join(outputs)})
    site.workers.append(worker)
    return worker


async def versions(site: Site) -> set[int]:
    """Return the versions that packed the states."""
    return {msgspec.msgpack.decode(packed)[0] for packed in (await site.states()).values()}


async def some(site: Site, seed: int, count: int = 100) -> None:
    """Let leads do something now."""
    await site.send(site.sent(m) for m in traffic(seed, 60, count, around_ms=now_ms() - 1_000, spread_s=2))


async def touch_everybody(site: Site, seed: int) -> None:
    """Let every lead do something, and wait until it is taken."""
    last = {**traffic(seed, 1, 1, around_ms=now_ms())[0], "type": "page.viewed", "data": {"url": "/"}}
    await site.send([site.sent({**last, "subject": lead}) for lead in await site.states()])
    await site.settled()


async def test_the_release_before_is_followed_under_load(make_site: MakeSite, older_home: Path) -> None:
    """States and outputs are those of the log folded anew by this version: none is lost, doubled or different.

    The older states also meet a grid with all the words that are new.
    """
    site = await make_site(clock="wall", max_batch=50)
    before = older(site, older_home)
    await before.ready(1)
    await some(site, 701, 800)
    await site.settled()
    assert await versions(site) == {5}
    bursts = 0
    over = asyncio.Event()

    async def go_on() -> None:
        nonlocal bursts
        while not over.is_set():
            await some(site, 710 + bursts, 40)
            bursts += 1

    async def more_are_sent(most: int) -> bool:
        return bursts >= most

    load = asyncio.create_task(go_on())
    await until(partial(more_are_sent, 5), "events on the way to the older worker")
    before.kill()
    first = site.worker("before_commit:3")
    assert await first.ended() == 137
    heir = site.worker()
    await heir.ready(2)
    await until(partial(more_are_sent, bursts + 10), "events on the way to the newer worker")
    site.put_grid(changed(WORDED, {"version": 2}))
    heir.signal(signal.SIGHUP)
    await until(partial(more_are_sent, bursts + 10), "events on the way to the newer grid")
    over.set()
    await load
    await site.send(site.sent(m) for m in worded(703, traffic(703, 60, 300, around_ms=now_ms() - 1_000, spread_s=2)))
    await site.settled()
    await site.cooled_more()
    await touch_everybody(site, 702)
    await heir.stop()
    assert await versions(site) == {STATE_VERSION}
    verdict = await site.verdict()
    assert verdict.transitions.total() > 100
    told = {cut.grid for p in range(2) for cut in await site.cuts(p)}
    assert told >= set(site.scorers)


async def test_the_release_before_stops_at_the_states_of_this_one(make_site: MakeSite, older_home: Path) -> None:
    """Worker by worker, with both at once: where an older one stops, the newer ones go on."""
    site = await make_site(clock="wall", max_batch=50)
    before = older(site, older_home)
    await some(site, 721, 500)
    await site.settled()
    newer = site.worker()
    await newer.ready(1)
    await some(site, 722, 500)
    await site.settled()
    await newer.stop()  # the older one takes back what the newer one wrote
    await some(site, 723, 300)
    assert await before.ended() == 1
    assert f"version {STATE_VERSION}, this worker reads 5: run the one that wrote it" in before.said()
    heir = site.worker()
    await site.settled()
    await touch_everybody(site, 724)
    await heir.stop()
    await site.verdict()


async def test_a_redis_that_went_back_across_the_release_is_caught_up_by_it(make_site: MakeSite, older_home: Path) -> None:
    """This fold refuses what the other one judged, and goes on where a worker of the release before has caught up."""
    site = await make_site(partitions=1, max_batch=50)
    before = older(site, older_home)
    await some(site, 731, 200)
    await site.settled()
    copy, stood = await site.copy(), (await site.position(0))["batch"]
    await some(site, 732, 200)
    await site.settled()
    await before.stop()
    await site.restore(copy)
    newer = site.worker()
    assert await newer.ended() == 1
    assert f"fold 6 (here {FOLD_VERSION}): let a worker of that version take" in newer.said()
    assert (await site.position(0))["batch"] == stood
    again = older(site, older_home)
    await site.settled()
    await again.stop()
    heir = site.worker()
    await some(site, 733, 200)
    await site.settled()
    await touch_everybody(site, 734)
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.cuts > 6
