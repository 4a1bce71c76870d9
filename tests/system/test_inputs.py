"""Other input topics: by a command, worker after worker, with nothing lost and nothing read twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import now_ms, traffic


async def test_input_topics_change_worker_by_worker_under_load(make_site: MakeSite) -> None:
    """Old and new workers run side by side for a while; a partition changes when a new one takes it over."""
    site = await make_site(partitions=4, clock="wall", max_batch=50)
    social = f"{site.settings.namespace}.social"
    old = [site.worker(), site.worker()]
    loading = asyncio.create_task(load(site, social))
    await asyncio.gather(*(worker.ready(1) for worker in old))
    site.change_inputs(site.web, site.crm, social)
    await site.prepare()
    refused = site.worker()
    assert await refused.ended() == 1
    assert "leadpulse topics change" in refused.said()
    assert site.allow_inputs() == {site.web: "kept", site.crm: "kept", social: "new"}
    new = [site.worker()]
    await new[0].ready(1)
    old[0].kill()
    new.append(site.worker())
    await asyncio.sleep(2)
    await old[1].leave("leadpulse topics change")  # one that is given a partition which has changed ends by itself
    await loading
    await site.settled()
    for worker in new:
        await worker.stop()
    position = await site.position(0)
    assert f"next:{social}" in position
    verdict = await site.verdict()
    assert verdict.ticks > 0
    assert site.allow_inputs() == {site.web: "kept", site.crm: "kept", social: "kept"}


@pytest.mark.parametrize("copy", ["older", "emptied"])
async def test_a_topic_that_goes_is_read_to_its_end_and_batches_of_both_lists_are_folded_again(
    make_site: MakeSite, copy: str
) -> None:
    """The journal's cuts say which topics there were; what the old ones held is read again from them."""
    site = await make_site(max_batch=50)
    first = site.worker()
    await site.send(site.sent(m, crc=True) for m in traffic(91, 60, 400))
    await site.settled()
    old = {} if copy == "emptied" else await site.copy()
    await site.send(site.sent(m) for m in traffic(92, 60, 200))
    await site.settled()
    await first.stop()
    await site.send(site.sent(m, topic=site.crm) for m in traffic(93, 60, 100))
    site.change_inputs(site.web)
    site.allow_inputs()
    refused = site.worker()
    assert await refused.ended() == 1
    assert f"{site.crm} (" in refused.said()
    assert "was not read to its end" in refused.said()
    site.change_inputs(site.web, site.crm)
    last = site.worker()
    await site.settled()
    await last.stop()
    site.change_inputs(site.web)
    await site.send(site.sent(m, topic=site.web) for m in traffic(94, 60, 200))
    heir = site.worker()
    await site.settled()
    await heir.stop()
    assert f"next:{site.crm}" not in await site.position(0)
    await site.verdict()
    await site.restore(old)
    if not old:
        await site.allow_rebuild()
    again = site.worker()
    if old:  # the copy does not remember the operator's word, and need not: the journal holds what came of it
        assert await again.ended() == 1
        assert "leadpulse topics change" in again.said()
        site.allow_inputs()
        again = site.worker()
    await again.says("folding again", 2)
    await site.settled()
    await again.stop()
    await site.verdict()


async def load(site: Site, social: str) -> None:
    """Send for some seconds; to the new topic too, once it is there."""
    for number in range(12):
        around = now_ms() - 500
        await site.send(site.sent(m, crc=number % 3 == 0) for m in traffic(100 + number, 80, 80, around_ms=around, spread_s=1))
        if social in site.settings.input_topics and number > 6:
            more = traffic(200 + number, 80, 40, around_ms=around, spread_s=1)
            await site.send(site.sent(m, topic=social) for m in more)
        await asyncio.sleep(0.5)
