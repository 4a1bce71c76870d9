"""More partitions: the leads move, and nothing is read twice or passed over."""

from __future__ import annotations

import json
from collections import Counter

from tests.kit.ledgers import an_act
from tests.kit.repartitions import grown, repartition
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import Message, Sent, now_ms, traffic
from worker.adapters.kafka_clients import free_reader
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.core.contract.journal import stray_output
from worker.core.contract.model import Record
from worker.core.contract.partitioner import owner
from worker.core.insight.replay import replay_lines
from worker.core.scoring.state import unpack
from worker.ports import LogPartition


async def test_leads_move_to_more_partitions_and_nothing_is_lost_or_doubled(make_site: MakeSite) -> None:
    """Read to the middle, with strays on their way; what is unread, and what comes by the new number, goes on there.

    Without erasures, as they alone make a score depend on the order in which partitions are read.
    """
    old = await make_site(max_batch=50)
    said = [m for m in traffic(80, 120, 900, around_ms=now_ms() - 60_000, spread_s=50) if m["type"] != "lead.erased"]
    worker = old.worker()
    await worker.ready(2)
    await old.send(old.sent(m, crc=True) for m in said[:400])
    await old.settled()
    await worker.stop()
    await old.send(on_its_way(old, m) for m in said[400:500])
    await old.send(old.sent(m, crc=True) for m in said[500:700])
    new = await grown(old, 3)
    refused = old.worker()
    assert await refused.ended() == 1
    assert "leadpulse repartition" in refused.said()
    moved = repartition(new, old)
    assert moved["leads"] == len([s for s in (await old.states()).values() if unpack(s).alive])
    assert moved["strays"] == 100
    for p in range(2):
        stood, stands = await old.position(p), await new.position(p)
        assert [stands[f"next:{topic}"] for topic in (old.web, old.crm)] == [stood[f"next:{t}"] for t in (old.web, old.crm)]
    first = new.worker()
    await first.ready(3)
    await new.send(new.sent(m) for m in said[700:])
    await new.settled()
    await first.stop()
    await held_to_a_replay(new, said)


async def test_a_copy_is_refused_where_it_could_lose_or_double_something(make_site: MakeSite) -> None:
    """Each refusal names what mends it, and a copy that was cut short is none that a worker would take over."""
    old = await make_site()
    new = await grown(old, 2)
    assert "holds nothing" in refusal(new, old)
    worker = old.worker()
    await worker.ready(2)
    await old.send(old.sent(m) for m in traffic(81, 60, 300))
    await old.settled()
    assert "1 workers of" in refusal(new, old)
    await worker.stop()
    fewer = Site(old.settings.kafka, old.settings.redis.get_secret_value(), f"{new.settings.namespace}-few", old.folder)
    fewer.environ |= new.environ | {"LEADPULSE_PARTITIONS": "1", "LEADPULSE_NAMESPACE": fewer.settings.namespace}
    assert "Kafka cannot take partitions away" in refusal(fewer, old)
    async with old.redis() as redis:
        await redis.hincrby(old.key(0, "position"), "batch", 1)
        assert "start its workers once more" in refusal(new, old)
        await redis.hincrby(old.key(0, "position"), "batch", -1)
        repartition(new, old)
        assert "are not empty" in refusal(new, old)
        for topic in new.settings.topics:
            await redis.hdel(new.key(1, "position"), f"next:{topic}")
    cut_short = new.worker()
    assert await cut_short.ended() == 1
    assert "was cut short" in cut_short.said()


async def test_acts_move_with_their_leads_once_all_outputs_are_read(make_site: MakeSite) -> None:
    """The program that acts on the new namespace reads only its own outputs, so an unread one would be lost."""
    old = await make_site()
    worker = old.worker()
    await worker.ready(2)
    await old.send(old.sent(m) for m in traffic(83, 60, 300))
    await old.settled()
    await worker.stop()
    new = await grown(old, 3)
    client = connect(old.settings.redis.get_secret_value())
    topics = [old.settings.output_topic(kind) for kind in ("lead.mql", "lead.sql")]
    leads = [f"lead-{n}" for n in range(20)]
    for p in range(2):
        acts = [an_act(f"call|/s|{lead}", lead) for lead in leads if owner(lead, 2) == p]
        await RedisLedger(client, old.settings.namespace, p).take(acts, 1, {**dict.fromkeys(topics, 0), "#calls": 3})
    assert "outputs: run it until it has" in refusal(new, old)
    async with free_reader(old.settings, []) as reader:
        places = [LogPartition(topic, p) for topic in topics for p in range(2)]
        ends = await reader.ends(places)
    for p in range(2):
        position = {topic: ends[LogPartition(topic, p)] for topic in topics}
        await RedisLedger(client, old.settings.namespace, p).take([], 2, position)
    assert repartition(new, old)["acts"] == len(leads)
    for p in range(3):
        rows = await RedisLedger(client, new.settings.namespace, p).rows()
        assert sorted(row.lead_id for row in rows) == sorted(lead for lead in leads if owner(lead, 3) == p)
    await client.aclose()


def on_its_way(site: Site, message: Message) -> Sent:
    """Return *message* as a stray that nobody has taken from its owner's journal yet."""
    came = site.sent(message)
    record = Record(came.topic, came.partition, 0, now_ms(), came.key, came.value)
    stray = stray_output(site.settings.internal_topic, came.partition, record)
    return Sent(stray.topic, came.partition, stray.value, stray.key, stray.headers)


def refusal(new: Site, old: Site) -> str:
    """Return why the copy is refused."""
    done = new.command("repartition", "--from", old.settings.namespace)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


async def scores_in_redis(site: Site) -> dict[str, tuple[float, ...]]:
    """Return score, fit and engagement of each lead that there is, from whichever partition holds it."""
    states = await site.states()
    found = {}
    async with site.redis() as redis:
        for lead in [name for name, packed in states.items() if unpack(packed).alive]:
            keys = [site.key(p, f"lead:{lead}") for p in range(site.settings.partitions)]
            rows = [await redis.hmget(key, "score", "fit", "engagement") for key in keys]
            (row,) = [row for row in rows if row[0] is not None]
            found[lead] = tuple(float(value or "nan") for value in row)
    return found


async def held_to_a_replay(site: Site, said: list[Message]) -> None:
    """Scores do not depend on the order of arrival, so they are those of the same events replayed; each move went out once."""
    (grid,) = [scorer.grid for scorer in site.scorers.values()]
    replayed = replay_lines([json.dumps(m) for m in said], grid, 0)
    expected = {lead["lead_id"]: (lead["score"], lead["fit"], lead["engagement"]) for lead in replayed.leads}
    found = await scores_in_redis(site)
    assert found.keys() == expected.keys()
    for lead, scores in expected.items():
        assert all(abs(a - b) < 1e-6 for a, b in zip(found[lead], scores, strict=True)), (lead, found[lead], scores)
    dead = site.settings.output_topic("lead.dead")
    ids = Counter(json.loads(o.value or b"")["id"] for o in await site.outputs() if o.topic != dead)
    assert max(ids.values()) == 1
    sequences = {lead: unpack(packed).sequence for lead, packed in (await site.states()).items()}
    assert sum(sequences.values()) == len(ids), "every move of every lead was published, before or after"
