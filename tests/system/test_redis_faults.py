"""Redis that loses replies, goes back, is emptied, stalls or dies, each against the core folded over the recorded log."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.kit.proxy import LosesReplies
from tests.kit.services import Redis
from tests.kit.site import MakeSite
from tests.kit.traffic import now_ms, traffic
from worker.core.scoring.state import unpack


async def test_a_reply_lost_after_apply_counts_nothing_twice(make_site: MakeSite, redis_server: Redis) -> None:
    """The batch is in, but the worker cannot know: it repeats it, and the store answers that it is done already."""
    async with LosesReplies("127.0.0.1", redis_server.port, b"_apply") as proxy:
        site = await make_site(redis=f"redis://127.0.0.1:{proxy.port}/0", max_batch=100)
        await site.send(site.sent(m) for m in traffic(20, 100, 600))
        proxy.left = 5
        worker = site.worker()
        await site.settled()
        await worker.stop()
        await site.verdict()
        assert proxy.lost == 5
        assert "beginning anew" not in worker.said()


async def test_redis_restored_from_an_older_copy_is_brought_up_by_the_cuts(make_site: MakeSite) -> None:
    """The same batches are folded again, ticks among them, and nothing of them is sent twice."""
    site = await make_site(clock="wall", max_batch=50)
    await site.send(site.sent(m) for m in traffic(21, 100, 500, around_ms=now_ms() - 5_000, spread_s=5))
    worker = site.worker()
    await site.settled()
    old = await site.copy()
    await site.send(site.sent(m, crc=True) for m in traffic(22, 100, 500, around_ms=now_ms() - 2_000, spread_s=2))
    await site.settled()
    await site.cooled_more()
    worker.kill()
    await site.restore(old)
    heir = site.worker()
    await heir.says("folding again", 2)
    await site.settled()
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.ticks > 0


async def test_an_event_without_a_usable_timestamp_is_held_to_its_fetch_and_so_once_more(make_site: MakeSite) -> None:
    """Times of the year 9998 on records of 1970, strays among them: no lead goes there, nor in a refold years later."""
    site = await make_site(partitions=2, max_batch=20)
    messages = traffic(41, 20, 200)
    for message in messages[::3]:
        message["time"] = "9998-06-01T00:00:00Z"
    began_ms = now_ms()
    sent = [site.sent(m, crc=n % 4 == 0)._replace(timestamp_ms=5) for n, m in enumerate(messages)]
    worker = site.worker()
    await site.send(sent[:100])
    await site.settled()
    old = await site.copy()
    await site.send(sent[100:])
    await site.settled()
    await worker.stop()
    clocks = {unpack(packed).clock_ms for packed in (await site.states()).values()}
    assert began_ms < max(clocks) <= now_ms()
    await site.restore(old)
    worker = site.worker(clock_ahead_s=30 * 365 * 86_400)
    await site.settled()
    assert "folding again" in worker.said()
    await worker.stop()
    await site.verdict()


async def test_redis_that_goes_back_under_a_running_worker_is_noticed(make_site: MakeSite) -> None:
    """The next batch does not follow the one that Redis has: all in memory is dropped and the partition is loaded again."""
    site = await make_site(max_batch=50)
    worker = site.worker()
    await site.send(site.sent(m) for m in traffic(30, 60, 300))
    await site.settled()
    old = await site.copy()
    await site.send(site.sent(m) for m in traffic(31, 60, 600))
    await site.settled()
    await site.restore(old)
    await site.send(site.sent(m) for m in traffic(34, 60, 300))
    await site.settled()
    await worker.stop()
    assert "folding again" in worker.said()
    await site.verdict()


async def test_redis_that_goes_back_while_a_partition_is_taken_over_loses_no_output(make_site: MakeSite) -> None:
    """What the outbox held is gone with it: a transaction that says that all up to there is published must not be written."""
    site = await make_site(partitions=1, max_batch=50)
    first = site.worker()
    await site.send(site.sent(m) for m in traffic(35, 60, 300))
    await site.settled()
    await first.stop()
    old = await site.copy()
    await site.send(site.sent(m) for m in traffic(36, 60, 300))
    victim = site.worker("before_commit:2")  # its first is that of taking over; what it applied waits in the outbox
    assert await victim.ended() == 137
    heir = site.worker("after_acquire:1:stop")
    await heir.frozen()
    await site.restore(old)
    heir.signal(signal.SIGCONT)
    await site.settled()
    await heir.stop()
    assert "went back in time while it was taken over" in heir.said()
    await site.verdict()


@pytest.mark.parametrize(
    ("lost", "published", "all_of_it"),
    [(200, 10, False), (200, 10, True), (10, 200, True)],
    ids=["at that batch", "the truth went further", "the copy went further"],
)
async def test_a_copy_of_a_past_that_was_not_to_be_is_refused(
    make_site: MakeSite, lost: int, published: int, all_of_it: bool
) -> None:
    """Its batch has the number of one that was published, and other records: going on from it loses some and doubles some.

    *lost* and *published*: records in a batch of either past. *all_of_it*: the heir publishes all there is.
    """
    site = await make_site(partitions=1, max_batch=200)
    await site.send(site.sent(m) for m in traffic(37, 60, 300))
    first = site.worker()
    await site.settled()
    await first.stop()
    old = await site.copy()
    await site.send(site.sent(m) for m in traffic(38, 60, 30))
    victim = site.worker("before_commit:2", max_batch=lost, publish_interval=1)
    assert await victim.ended() == 137
    never = await site.copy()
    last = int((await site.position(0))["batch"])
    await site.restore(old)
    number = int((await site.position(0))["batch"]) + 1
    heir = site.worker(max_batch=published)
    await heir.ready(1)
    if all_of_it:
        await site.settled()
    await heir.stop()
    truth = int((await site.position(0))["published"])
    assert number <= min(last, truth), "the same number, given twice"
    assert (last > truth) == (lost < published)
    async with site.redis() as redis:
        await site.restore(never)
        refused = site.worker()
        assert await refused.ended() == 1
        assert "it belongs to an abandoned history of Redis" in refused.said()
        await redis.delete(*(await site.copy()))
    await site.allow_rebuild()
    again = site.worker()
    await site.settled()
    await again.stop()
    await site.verdict()


async def test_an_emptied_redis_is_refused_until_allowed_and_then_rebuilt(make_site: MakeSite) -> None:
    """It might be the wrong Redis. If it is not, the topics hold all that it takes."""
    site = await make_site(max_batch=50)
    await site.send(site.sent(m, crc=True) for m in traffic(23, 100, 800))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    await site.restore({})
    refused = site.worker()
    assert await refused.ended() == 1
    assert "leadpulse rebuild --partition" in refused.said()
    await site.allow_rebuild()
    heir = site.worker()
    await heir.ready(2)
    await site.send(site.sent(m) for m in traffic(24, 100, 200))
    await site.settled()
    await heir.stop()
    await site.verdict()


async def test_redis_stalled_killed_and_started_again_loses_nothing(make_site: MakeSite, own_redis: Redis) -> None:
    """The worker asks again until there is an answer; a second of state that a kill may lose is folded again."""
    site = await make_site(redis=own_redis.url, max_batch=50, partitions=2)
    worker = site.worker()
    await worker.ready(2)
    await site.send(site.sent(m) for m in traffic(52, 100, 600))
    own_redis.suspend()
    await asyncio.sleep(2)
    own_redis.resume()
    await site.send(site.sent(m) for m in traffic(53, 100, 600))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_redis.restart, clean=False)
    await site.settled()
    await worker.stop()
    await site.verdict()
