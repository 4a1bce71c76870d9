"""Traffic that is late, unreadable, huge, aborted, or nearly all of one lead."""

from __future__ import annotations

import asyncio
import itertools

from tests.kit.bombs import bomb, send_raw
from tests.kit.traffic import now_ms, people
from tests.system.soak.run import BURST, LEADS, Run, all_published, fault, recovered
from worker.core.scoring.calendar import rfc3339


@fault("upstream transactions aborted")
async def _abort(run: Run) -> None:
    for _ in range(3):
        await run.burst(commit=run.random.random() < 0.5)


@fault("a quarter of the records cannot be read")
async def _poison(run: Run) -> None:
    async with run.load(bad=True):
        await run.some_time(3)


@fault("a batch that unpacks to gigabytes", session_timeout=6)
async def _bomb(run: Run) -> None:
    for codec, records, megabytes in (("zstd", 20, 100), ("gzip", 5, 60), ("lz4", 2, 50)):
        place = run.random.randrange(run.site.settings.partitions)
        topic = run.random.choice(run.site.settings.input_topics)
        await send_raw(run.site, topic, place, await asyncio.to_thread(bomb, codec, records, megabytes))
        run.sent += records
        await run.some_time()


@fault("a batch passed over and times that run ahead, then Redis goes back, to a worker that may unpack more")
async def _passed_and_back(run: Run) -> None:
    site = run.site
    await all_published(site)
    old = await site.copy()
    for codec, records, megabytes in (("lz4", 2, 50), ("gzip", 3, 40)):
        topic, place = run.random.choice(site.settings.input_topics), run.random.randrange(site.settings.partitions)
        await send_raw(site, topic, place, await asyncio.to_thread(bomb, codec, records, megabytes))
        run.sent += records
        ahead = people(run.random.getrandbits(32), LEADS, BURST, around_ms=now_ms() + 3_000_000)
        await run.send([site.sent(m)._replace(timestamp_ms=now_ms() + 1_800_000) for m in ahead])
    await recovered(site)
    await run.stop()
    await site.restore(old)
    await run.start(max_unpacked=300_000_000)


@fault("events hours late, and hours ahead of the clock")
async def _disorder(run: Run) -> None:
    for _ in range(10):
        await run.burst(spread_s=run.random.uniform(1, 20) * 3_600)


@fault("a chain of long aliases")
async def _chain(run: Run) -> None:
    """Hand page views on along 25 ids which, written out in JSON, would take more than a record holds."""
    chain = [f"chain-{run.random.getrandbits(32)}-{n}-" + "\1" * 16_000 for n in range(26)]
    known = {"specversion": "1.0", "source": "/test", "time": rfc3339(now_ms())}
    for number, (visitor, lead) in enumerate(itertools.pairwise(chain)):
        who = {"id": f"who-{number}", "type": "lead.identified", "subject": lead, "data": {"anonymous_id": visitor}}
        await run.send([run.site.sent(known | who, crc=number % 2 == 0)])
    await run.some_time(3)
    for number in range(5):
        viewed = {"id": f"view-{number}", "type": "page.viewed", "subject": chain[0], "data": {"url": "/" + "x" * 500_000}}
        await run.send([run.site.sent(known | viewed, crc=number % 2 == 0)])


@fault("one lead has nine tenths of the traffic")
async def _hot(run: Run) -> None:
    async with run.load(hot=True):
        await run.some_time(3)
