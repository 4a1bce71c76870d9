"""`leadpulse act` keeps states of leads at a HubSpot that enforces its limits: none is lost, and none goes backwards."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path

from tests.kit.acts_live import SECRETS, ActSite
from tests.kit.online import site
from tests.kit.synced import SYNC, Publication, seed, story, wrong
from tests.kit.vendors.portal import Portal, mishaps
from tests.kit.waits import until

__all__ = ["site"]

LEADS = 2_000


async def test_each_lead_has_its_newest_state(site: dict[str, str], tmp_path: Path) -> None:
    """Two processes, one of which ends while another begins. Batches go wrong whole, for one lead, or without an answer.

    HubSpot's limit holds: none of our requests is over it.
    """
    async with Portal(token=SECRETS["CRM"]) as portal:
        portal.lag_s = 0.5
        portal.mishap = mishaps(5, limited=True)
        seed(portal, LEADS)
        connections = f"targets:\n  crm: {{kind: hubspot, token: '${{CRM}}', base_url: '{portal.url}'}}\n"
        acts = await asyncio.to_thread(ActSite, site, tmp_path, SYNC, connections)
        try:
            one, two = acts.start(), acts.start()
            await asyncio.to_thread(two.until, acts.all_read)
            published, told = Publication(acts), story(LEADS, random.Random(5))
            await asyncio.to_thread(published.publish, itertools.islice(told, LEADS))
            await until(lambda: portal.writes, "the first state")
            acts.start()
            assert await asyncio.to_thread(one.end) == 0
            await published.follow(told, portal, 50)

            async def all_written() -> bool:
                return not await published.waiting()

            await until(all_written, "all states written")
            # States that wait give their turn to newer ones. A state may be written twice where an answer was lost.
            assert any(portal.writes[lead] < count for lead, count in published.times.items())
            assert wrong(portal, published.newest) == []
            assert portal.over == 0
            assert portal.busiest() <= 70
            assert {207, 429, 502, 503} <= {request.status for request in portal.requests}
            assert all("Traceback" not in running.words for running, _ in acts.running)
        finally:
            acts.end()
