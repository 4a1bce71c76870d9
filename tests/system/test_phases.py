"""Buying phases on real servers: leads of an older version, a grid that brings phases, crashes, a Redis that goes back."""

from __future__ import annotations

import json

from tests.kit.grids import GRID, changed
from tests.kit.older_states import put_back
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic
from tests.kit.waits import until
from worker.core.scoring.phases import phase_name
from worker.core.scoring.state import unpack

PHASED = changed(
    GRID,
    {
        "version": 2,
        "phases": "{interest: {enter: 5, leave: 2}, decision: {enter: 20, leave: 12}}",
        "stages.mql.min_engagement": 8,
        "stages.mql.intent_within": "30d",
        "stages.sql.sla": '{within: 3s, hours: {days: mon-sun, from: "00:00", to: "24:00"}}',
    },
)


async def phases_of(site: Site) -> dict[str, tuple[str | None, str | None]]:
    """Return of each living lead the phase in its hash and the one in its state; no phase is an empty text in the hash."""
    scorer = site.scorers[max(site.scorers, key=lambda sha: site.scorers[sha].grid.version)]
    found: dict[str, tuple[str | None, str | None]] = {}
    async with site.redis() as redis:
        for lead, packed in (await site.states()).items():
            if unpack(packed).alive:
                hashes = [await redis.hget(site.key(p, f"lead:{lead}"), "phase") for p in range(site.settings.partitions)]
                held = next((held.decode() for held in hashes if held is not None), None)
                found[lead] = (held, phase_name(scorer, unpack(packed)) or "")
    return found


async def test_phases_come_with_a_grid_and_are_told_exactly_once(make_site: MakeSite) -> None:
    """The verdict folds the log by the core, and asks for each output once, in its lead's order."""
    site = await make_site(clock="wall", max_batch=50)
    await site.send(site.sent(m) for m in traffic(401, 60, 500, around_ms=now_ms() - 6_000, spread_s=5))
    older = site.worker()
    await site.settled()
    await older.stop()
    assert await put_back(site) > 40
    site.put_grid(PHASED)
    first = site.worker("before_commit:3")
    await site.send(site.sent(m) for m in traffic(402, 60, 300, around_ms=now_ms() - 2_000, spread_s=2))
    assert await first.ended() == 137
    second = site.worker()
    await site.settled()
    copy = await site.copy()
    await site.send(site.sent(m) for m in traffic(403, 60, 300, around_ms=now_ms() - 2_000, spread_s=2))
    await site.settled()
    await second.stop()
    await site.restore(copy)
    heir = site.worker()
    await heir.says("folding again")
    await site.settled()

    async def all_are_judged() -> bool:
        return all(held is not None for held, _ in (await phases_of(site)).values())

    await until(all_are_judged, "every lead is judged by the grid with phases")
    await site.cooled_more()
    await heir.stop()
    await site.verdict()
    assert all(held == packed for held, packed in (await phases_of(site)).values())
    topic = site.settings.output_topic("lead.phase")
    told = [json.loads(record.value or b"")["data"] for record in await site.outputs() if record.topic == topic]
    assert len(told) > 20
    entered = {move["to"] for move in told}
    assert {"interest", "decision"} <= entered <= {None, "interest", "decision"}
    assert all(move["phase"] == move["to"] != move["from"] for move in told)
