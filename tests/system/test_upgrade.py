"""A worker that follows an older one, on the Redis and the journal that the older one left."""

from __future__ import annotations

import msgspec

from tests.kit.older_states import put_back
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic
from worker.core.contract.marks import shown_mark
from worker.core.scoring.state import FOLD_VERSION, STATE_VERSION


def version(packed: bytes) -> int:
    """Return the version that packed a state."""
    found: int = msgspec.msgpack.decode(packed)[0]
    return found


async def touch_everybody(site: Site, seed: int) -> None:
    """Let every lead do something, and wait until it is taken."""
    last = {**traffic(seed, 1, 1, around_ms=now_ms())[0], "type": "page.viewed", "data": {"url": "/"}}
    await site.send([site.sent({**last, "subject": lead}) for lead in await site.states()])
    await site.settled()


async def test_states_of_version_1_are_gone_on_with_as_if_they_had_always_been_of_this_one(make_site: MakeSite) -> None:
    """Events, ticks and takings-over meet leads that an older worker left: the outcome is that of the log folded anew.

    A lead is written in the new layout when it is next touched, and not before: an upgrade touches nobody for its own sake.
    """
    site = await make_site(clock="wall")
    await site.send(site.sent(m) for m in traffic(90, 120, 1_500, around_ms=now_ms() - 6_000, spread_s=5))
    older = site.worker()
    await site.settled()
    await older.stop()
    assert await put_back(site) > 80
    assert {version(packed) for packed in (await site.states()).values()} == {1}
    first = site.worker("before_commit:3", max_batch=50)
    await site.send(site.sent(m) for m in traffic(91, 60, 300, around_ms=now_ms() - 2_000, spread_s=2))
    assert await first.ended() == 137
    assert {version(packed) for packed in (await site.states()).values()} == {1, STATE_VERSION}
    heir = site.worker()
    await site.settled()
    await site.cooled_more()
    await touch_everybody(site, 92)
    await heir.stop()
    assert {version(packed) for packed in (await site.states()).values()} == {STATE_VERSION}
    verdict = await site.verdict()
    assert verdict.transitions.total() > 100
    assert verdict.ticks > 0


async def test_an_older_worker_refuses_the_state_of_a_newer_one_and_changes_nothing(make_site: MakeSite) -> None:
    """In a fleet that is half upgraded: it ends in one line that names the lead and what to do, and the newer ones go on."""
    site = await make_site(partitions=1)
    await site.send(site.sent(m) for m in traffic(93, 20, 200))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    lead, packed = next(iter((await site.states()).items()))
    newer = msgspec.msgpack.encode([STATE_VERSION + 1, *msgspec.msgpack.decode(packed)[1:]])
    async with site.redis() as redis:
        await site.put_state(redis, 0, lead, newer)
        before = await site.position(0)
        await site.send([site.sent({**traffic(94, 1, 1)[0], "type": "form.submitted", "data": {}, "subject": lead})])
        older = site.worker()
        assert await older.ended() == 1
        (said,) = [line for line in older.said().splitlines() if line.startswith("STOPPED")]
        assert f"lead with mark {shown_mark(lead)}" in said
        assert f"version {STATE_VERSION + 1}, this worker reads {STATE_VERSION}: run the one that wrote it" in said
        anybody = {"owner": "", "notes": ""}
        assert {**await site.position(0), **anybody} == {**before, **anybody}
        await site.put_state(redis, 0, lead, packed)
    newer_one = site.worker()
    await site.settled()
    await newer_one.stop()
    await site.verdict()


async def test_a_redis_that_went_back_to_states_of_version_1_is_folded_again_from_them(make_site: MakeSite) -> None:
    """A copy from before the upgrade is a copy like any other, as long as the fold has not changed."""
    site = await make_site(partitions=1, max_batch=50)
    await site.send(site.sent(m) for m in traffic(98, 40, 300))
    older = site.worker()
    await site.settled()
    await older.stop()
    assert await put_back(site) > 30
    copy = await site.copy()
    newer = site.worker()
    await site.send(site.sent(m) for m in traffic(99, 40, 300))
    await touch_everybody(site, 100)
    await newer.stop()
    await site.restore(copy)
    assert {version(packed) for packed in (await site.states()).values()} == {1}
    heir = site.worker()
    await heir.says("folding again")
    await site.settled()
    await heir.stop()
    assert {version(packed) for packed in (await site.states()).values()} == {STATE_VERSION}
    await site.verdict()


async def test_a_redis_that_went_back_across_an_upgrade_is_caught_up_by_the_older_fold(make_site: MakeSite) -> None:
    """What an older fold judged only the same fold judges alike again, so the newer worker says so and folds none of it."""
    site = await make_site(partitions=1, max_batch=50)
    await site.send(site.sent(m) for m in traffic(95, 40, 300))
    before = site.worker(fold_version=FOLD_VERSION - 1)
    await site.settled()
    copy, stood = await site.copy(), (await site.position(0))["batch"]
    await site.send(site.sent(m) for m in traffic(96, 40, 300))
    await site.settled()
    await before.stop()
    await site.restore(copy)
    newer = site.worker()
    assert await newer.ended() == 1
    (said,) = [line for line in newer.said().splitlines() if line.startswith("STOPPED")]
    assert f"was folded with fold {FOLD_VERSION - 1} (here {FOLD_VERSION}): let a worker of that version take" in said
    assert (await site.position(0))["batch"] == stood
    again = site.worker(fold_version=FOLD_VERSION - 1)
    await site.settled()
    await again.stop()
    newer = site.worker()
    await site.send(site.sent(m) for m in traffic(97, 40, 300))
    await site.settled()
    await newer.stop()
    verdict = await site.verdict()
    assert verdict.cuts > 12
