"""An import of history: what happened before a given instant is kept, and nobody is called for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import traffic
from worker.core.scoring.calendar import rfc3339
from worker.settings import Settings

BASE_MS = 1_760_000_000_000
LIVE_MS = BASE_MS + 30_000
"""The traffic takes a minute. Its first half is history."""


def silence(site: Site, history: bool) -> None:
    """Let workers that start from now on announce nothing of the first half, and give its outputs a topic if *history*."""
    site.environ["LEADPULSE_SILENT_BEFORE"] = rfc3339(LIVE_MS)
    if history:
        site.environ["LEADPULSE_OUTPUT_TOPICS"] += f",lead.history={site.settings.namespace}.lead.history"
    site.settings = Settings.load(site.environ)


async def published(site: Site) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the events in the topic of `lead.history`, and those in the topics of their types."""
    told: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    topic = site.settings.output_topics.get("lead.history")
    for record in await site.outputs():
        if record.topic != site.settings.output_topic("lead.dead"):
            told[record.topic != topic].append(json.loads(record.value or b""))
    return told


@pytest.mark.parametrize("history", [True, False], ids=["to lead.history", "to nothing"])
async def test_history_is_imported_without_a_call_and_exactly_once(make_site: MakeSite, history: bool) -> None:
    """Over a crash and a Redis that went back: the verdict folds the log by the core, and asks for each output in its topic.

    A breach of a `lead.sql` that nobody heard of is not announced, although it comes after the import. Erasures are.
    """
    site = await make_site(max_batch=40)
    silence(site, history)
    await site.prepare()
    await site.send(site.sent(m) for m in traffic(301, 60, 600))
    first = site.worker("before_commit:3")
    assert await first.ended() == 137
    second = site.worker()
    await site.settled()
    copy = await site.copy()
    await site.send(site.sent(m) for m in traffic(302, 60, 600))
    await site.settled()
    await second.stop()
    await site.restore(copy)
    heir = site.worker()
    await heir.says("folding again")
    await site.settled()
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.transitions.total() > 50
    kept, announced = await published(site)
    early = [event for event in announced if event["time"] < rfc3339(LIVE_MS)]
    assert {event["type"] for event in early} <= {"lead.erased"}
    assert len(announced) - len(early) > 20
    assert bool(kept) == history
    assert all(event["time"] < rfc3339(LIVE_MS) or event["type"] == "lead.sla_breached" for event in kept)
    numbers = [int(event["sequence"]) for event in announced]
    assert max(numbers) > len(numbers) / 60, "outputs that nobody heard of have their numbers all the same"


async def test_the_present_goes_on_as_ever_after_an_import(make_site: MakeSite) -> None:
    """The setting stays: an event of today shows what time alone did in the past, and nobody is called for that either."""
    site = await make_site(partitions=1)
    silence(site, history=True)
    await site.prepare()
    await site.send(site.sent(m) for m in traffic(303, 20, 200, spread_s=20))
    importer = site.worker()
    await site.settled()
    await importer.stop()
    kept, announced = await published(site)
    assert len(kept) > 5
    assert {event["type"] for event in announced} <= {"lead.erased"}
    await site.send(site.sent(m) for m in traffic(304, 20, 200, around_ms=LIVE_MS + 60_000))
    live = site.worker()
    await site.settled()
    await live.stop()
    await site.verdict()
    before = len(kept)
    kept, announced = await published(site)
    assert len(kept) > before
    last = {event["subject"]: int(event["sequence"]) for event in kept}
    went_on = [event for event in announced if event["subject"] in last and event["time"] > rfc3339(LIVE_MS)]
    assert went_on
    assert all(int(event["sequence"]) > last[event["subject"]] for event in went_on)
