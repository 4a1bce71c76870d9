"""Trace context from the event to what it brings about, on real Kafka and Redis."""

from __future__ import annotations

import json
from collections import Counter

from tests.kit.site import MakeSite
from tests.kit.traced import PARENT, traced
from tests.kit.traffic import TIES, Message, colleagues
from worker.core.contract.model import Headers


def surely_hot(like: Message) -> list[Message]:
    """Return what two colleagues do, all at the instant of *like*: whatever comes first, their account becomes hot by it."""
    said = []
    for lead in ("keen-1", "keen-2"):
        told = {"traits": {"company": {"domain": "keen.example"}, "decision_role": "sponsor"}}
        said.append(like | {"type": "profile.updated", "subject": lead, "data": told, "id": f"{lead}-is"})
        for n in range(8):
            page = {"url": "https://site.example/pricing"}
            said.append(like | {"type": "page.viewed", "subject": lead, "data": page, "id": f"{lead}-sees-{n}"})
    return said


async def test_an_output_carries_the_context_of_its_cause(make_site: MakeSite) -> None:
    """Through strays, merges of ids, accounts, a worker's death and a Redis that went back: the same header, and only there."""
    site = await make_site(partitions=3, max_batch=50)
    site.put_grid(TIES)
    contexts: dict[str, Headers] = {}
    ids: set[str] = set()

    def fresh(seed: int, count: int) -> list[Message]:
        """Return traffic without duplicates: strays overtake what is no stray, so which came first would not be known."""
        found = [m for m in colleagues(seed, count) if m["id"] not in ids]
        kept = {m["id"]: m for m in found}
        ids.update(kept)
        return list(kept.values())

    await site.send(traced(site, fresh(1, 600), contexts, seed=1))
    first = site.worker()
    await site.settled()
    old = await site.copy()
    await first.stop()
    await site.send(traced(site, fresh(2, 600), contexts, seed=2))
    victim = site.worker("after_apply:9")
    assert await victim.ended() == 137, victim.said()
    second = site.worker()
    await site.settled()
    await second.stop()
    await site.restore(old)
    heir = site.worker()
    last = fresh(3, 300)
    await site.send(traced(site, last, contexts, seed=3))
    keen = surely_hot(last[-1])
    context: Headers = (("traceparent", PARENT),)
    contexts.update((message["id"], context) for message in keen)
    await site.send(site.sent(message)._replace(headers=context) for message in keen)
    await site.settled()
    await heir.says("folding again")
    await heir.stop()
    verdict = await site.verdict()  # headers included, also those of messages between partitions
    assert verdict.strays > 20
    dead = site.settings.output_topic("lead.dead")
    seen: Counter[str] = Counter()
    for record in await site.outputs():
        if record.topic == dead:
            continue
        event = json.loads(record.value or b"")
        cause = event["data"]["cause"]
        told = tuple(header for header in record.headers if header[0] != "content-type")
        assert told == (() if cause is None else contexts[cause["event_id"]]), event
        how = "time" if cause is None else "traced" if told else "untraced"
        seen[how] += 1
        if told and event["data"].get("merged_into"):
            seen["merged"] += 1
        seen[event["type"]] += bool(told)
    assert min(seen[how] for how in ("time", "traced", "untraced", "lead.sql", "account.hot", "merged")) > 0, seen
