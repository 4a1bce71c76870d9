"""Visitors who become leads, on real Kafka and Redis: whichever partitions they live on, and whoever dies on the way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import TIES, colleagues, now_ms, people, traffic
from worker.core.scoring.state import unpack

STEPS = (
    "before_apply:4", "after_apply:4", "before_transaction:5", "in_transaction:5", "before_commit:5", "after_commit:5",
    "before_trim:5", "after_trim:5",
)  # fmt: skip


async def recounted(site: Site) -> None:
    """Hold everything to the core alone, and each account to what its leads say they told it."""
    await held(site)
    told: dict[str, dict[str, float]] = {}
    accounts: dict[str, dict[str, float]] = {}
    for lead, packed in (await site.states()).items():
        state = unpack(packed)
        identity = state.links
        if identity is None:
            continue
        if identity.member is not None and identity.member.score is not None:
            told.setdefault(identity.member.account, {})[lead] = identity.member.score
        if identity.account is not None and identity.account.members:
            accounts[lead] = {name: one.score or 0.0 for name, one in identity.account.members.items()}
    assert accounts == told != {}
    dead = site.settings.output_topic("lead.dead")
    kinds = Counter(json.loads(one.value or b"")["type"] for one in await site.outputs() if one.topic != dead)
    assert kinds["account.hot"] >= 1
    assert kinds["account.hot"] - kinds["account.cooled"] in (0, 1, 2)
    assert kinds["lead.duplicate"] >= 1


async def test_accounts_and_addresses_across_partitions_while_time_passes(make_site: MakeSite) -> None:
    """Two workers, strays, an older copy of Redis, ticks that cool: each lead counts once, where it is."""
    site = await make_site(partitions=3, max_batch=20, clock="wall")
    site.put_grid(TIES)
    workers = [site.worker(), site.worker()]
    await site.send(
        site.sent(m, crc=n % 5 == 0) for n, m in enumerate(colleagues(310, 400, around_ms=now_ms() - 9_000, spread_s=5))
    )
    await site.settled()
    old = await site.copy()
    await site.send(site.sent(m) for m in colleagues(311, 200, around_ms=now_ms() - 4_000, spread_s=3))
    await site.settled()
    for worker in workers:
        worker.kill()
    await site.restore(old)
    heir = site.worker()
    await heir.says("folding again", 1)
    await site.settled()
    await asyncio.sleep(3)
    await heir.stop()
    await recounted(site)


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_at_any_step_of_a_contribution_loses_and_doubles_nothing(make_site: MakeSite, step: str) -> None:
    """What an account holds is what its leads told, and what it published is told once."""
    site = await make_site(partitions=3, max_batch=20)
    site.put_grid(TIES)
    await site.send(site.sent(m) for m in colleagues(320, 250))
    victim = site.worker(step)
    assert await victim.ended() == 137, victim.said()
    await site.send(site.sent(m) for m in colleagues(321, 200))
    heir = site.worker()
    await site.settled()
    await site.send(site.sent(m) for m in colleagues(322, 60))
    await site.settled()
    await heir.stop()
    await recounted(site)


async def held(site: Site) -> None:
    """Wait until all is said between owners, and hold everything to the core alone."""
    await site.settled()
    verdict = await site.verdict()
    assert verdict.passed_on.total() > 50
    assert any(headers[0][1] == b"alias" for _, headers, _ in verdict.passed_on)
    waiting = [lead for lead, packed in (await site.states()).items() if (links := unpack(packed).links) and links.awaiting]
    assert not waiting, "a lead waits for ever"


async def test_visitors_become_leads_across_partitions(make_site: MakeSite) -> None:
    """What owners say to each other goes out and comes in once, in order; nobody waits for ever."""
    site = await make_site(partitions=3, max_batch=20)
    worker = site.worker()
    await site.send(site.sent(m, crc=n % 5 == 0) for n, m in enumerate(people(300, 40, 600)))
    await site.settled()
    await worker.stop()
    await held(site)


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_at_any_step_of_a_merge_loses_and_doubles_nothing(make_site: MakeSite, step: str) -> None:
    """A past is in its visitor's state, on its way, or in the lead's: in one of them, and nowhere else."""
    site = await make_site(partitions=3, max_batch=20)
    await site.send(site.sent(m) for m in people(301, 40, 300))
    victim = site.worker(step)
    assert await victim.ended() == 137, victim.said()
    await site.send(site.sent(m) for m in people(302, 40, 200))
    heir = site.worker()
    await site.settled()
    await site.send(site.sent(m) for m in traffic(305, 40, 100))
    await site.settled()
    await heir.stop()
    await held(site)


async def test_merges_survive_an_older_redis_and_ticks(make_site: MakeSite) -> None:
    """The same messages are folded again by the cuts, and said no second time."""
    site = await make_site(partitions=3, max_batch=20, clock="wall")
    worker = site.worker()
    await site.send(site.sent(m) for m in people(303, 40, 300, around_ms=now_ms() - 3_000))
    await site.settled()
    old = await site.copy()
    await site.send(site.sent(m) for m in people(304, 40, 300, around_ms=now_ms() - 1_000))
    await site.settled()
    await asyncio.sleep(1)
    worker.kill()
    await site.restore(old)
    heir = site.worker()
    await heir.says("folding again", 1)
    await site.settled()
    await heir.stop()
    await held(site)
