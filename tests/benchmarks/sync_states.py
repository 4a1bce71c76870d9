"""States of many leads kept at a CRM: `leadpulse act` against a mock HubSpot that enforces HubSpot's limits.

`python -m tests.benchmarks.sync_states [LEADS]`. Broker, Redis, the CRM and two processes share this machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import cpu_s, peak_mb
from tests.kit.acts_live import SECRETS, ActSite
from tests.kit.services import Kafka, Redis
from tests.kit.synced import SYNC, Publication, seed, story, wrong
from tests.kit.vendors.portal import Portal, mishaps
from worker.core.contract.output_types import OUTPUT_TYPES

PARTITIONS = 4
MISHAPS = 50
"""One of so many batches goes wrong."""

_LOOK_S = 1.0


def settings(kafka: Kafka, redis: Redis) -> dict[str, str]:
    """Return the settings of a namespace."""
    return {
        "LEADPULSE_KAFKA": kafka.address,
        "LEADPULSE_REDIS": redis.url,
        "LEADPULSE_NAMESPACE": "sync",
        "LEADPULSE_PARTITIONS": str(PARTITIONS),
        "LEADPULSE_INPUT_TOPICS": "sync.in",
        "LEADPULSE_OUTPUT_TOPICS": ",".join(f"{kind}=sync.out" for kind in OUTPUT_TYPES) + ",lead.dead=sync.dead",
        "LEADPULSE_CLOCK": "events",
        "LEADPULSE_DEVELOPMENT": "true",
    }


async def main(leads: int) -> int:
    """Print the figures as a line of JSON, and return the exit code."""
    with Kafka(heap="512m", lasting=True) as kafka, Redis(keep=True) as redis, tempfile.TemporaryDirectory() as temporary:
        async with Portal(token=SECRETS["CRM"]) as portal:
            portal.mishap = mishaps(MISHAPS)
            seed(portal, leads)
            connections = f"targets:\n  crm: {{kind: hubspot, token: '${{CRM}}', base_url: '{portal.url}'}}\n"
            site = await asyncio.to_thread(ActSite, settings(kafka, redis), Path(temporary), SYNC, connections)
            try:
                found = await measured(site, portal, leads)
            finally:
                site.end()
    print(json.dumps(found))  # noqa: T201
    return 1 if found["wrong"] or found["over_the_limit"] else 0


async def measured(site: ActSite, portal: Portal, leads: int) -> dict[str, Any]:
    """Publish outputs of *leads*, wait until all is written, and return the figures."""
    running = [site.start(), site.start()]
    await asyncio.to_thread(running[0].until, site.all_read)
    pids = [one.process.pid for one in running]
    before, began = cpu_s(pids), time.monotonic()
    published, told = Publication(site), story(leads, random.Random(5))
    await asyncio.to_thread(published.publish, itertools.islice(told, leads))
    await published.follow(told, portal, 100)
    told_s = time.monotonic() - began
    while left := await published.waiting():
        assert all(one.process.poll() is None for one in running), running[0].words[-3000:]
        print(f"{time.monotonic() - began:.0f} s: {left} left, {len(portal.requests)} requests", file=sys.stderr)  # noqa: T201
        await asyncio.sleep(_LOOK_S)
    took_s = time.monotonic() - began
    batches = portal.batches()
    statuses = Counter(str(one.status) for one in portal.requests)
    faults = wrong(portal, published.newest)
    return {
        "leads": leads,
        "outputs": published.outputs,
        "published_s": round(told_s, 1),
        "seconds": round(took_s, 1),
        "leads_per_s": round(leads / took_s),
        "requests": len(portal.requests),
        "batches": len(batches),
        "statuses": dict(sorted(statuses.items())),
        "writes": portal.writes.total(),
        "most_in_ten_seconds": portal.busiest(),
        "over_the_limit": portal.over,
        "memory_mb": [round(peak_mb([pid])) for pid in pids],
        "cpu_s": round(cpu_s(pids) - before, 1),
        "load": round(os.getloadavg()[0], 1),
        "refusals": dict(Counter(portal.refusals)),
        "wrong": faults[:5],
    }


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
