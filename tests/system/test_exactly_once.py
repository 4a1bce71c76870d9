"""The worker on real Kafka and Redis, held to the pure core folded single-threaded over the recorded log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import Sent, now_ms, traffic
from tests.kit.waits import until
from worker.core.contract.journal import Tick, tick_output


async def test_states_and_outputs_are_those_of_the_core_alone(make_site: MakeSite) -> None:
    """Whatever batches the worker made, folding the log again in the journal's order gives the same bytes."""
    site = await make_site()
    await site.send(site.sent(m) for m in traffic(1, 300, 5_000))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.transitions.total() > 100


STEPS = (
    "after_fence",
    "before_apply:3",
    "after_apply:3",
    "before_transaction:4",
    "in_transaction:4",
    "before_commit:4",
    "after_commit:4",
    "after_trim:4",
    "before_ready",
)
"""Each partition's first transaction carries nothing: the fourth of two partitions is one that does."""


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_at_any_step_loses_and_doubles_nothing(make_site: MakeSite, step: str) -> None:
    """Whoever takes over finds in Redis and Kafka how far the state and the output were."""
    site = await make_site(max_batch=100)
    await site.send(site.sent(m) for m in traffic(2, 100, 800))
    victim = site.worker(step)
    assert await victim.ended() == 137, victim.said()
    await site.send(site.sent(m) for m in traffic(3, 100, 400))
    heir = site.worker()
    await site.settled()
    await heir.stop()
    await site.verdict()


async def test_workers_killed_at_random_under_load_lose_and_double_nothing(make_site: MakeSite) -> None:
    """The same without choosing the moment, with ticks, several workers and traffic that goes on."""
    site = await make_site(partitions=4, clock="wall", max_batch=100)
    rnd = random.Random(4)
    workers = [site.worker(), site.worker()]
    for round_ in range(6):
        await site.send(site.sent(m) for m in traffic(10 + round_, 100, 500, around_ms=now_ms() - 2_000, spread_s=2))
        await asyncio.sleep(rnd.uniform(0.3, 1.5))
        victim = workers.pop(0)
        victim.kill()
        workers.append(site.worker())
    await site.settled()
    await site.cooled_more()
    for worker in workers:
        await worker.stop()
    verdict = await site.verdict()
    assert verdict.ticks > 0


async def test_time_alone_cools_leads_within_seconds(make_site: MakeSite) -> None:
    """Ticks are inputs: a lead cools at its own instant, with no event and no nightly job, and a replay sees the same."""
    site = await make_site(clock="wall")
    await site.send(site.sent(m) for m in traffic(5, 50, 600, around_ms=now_ms() - 4_000, spread_s=4))
    worker = site.worker()
    await site.settled()
    await site.cooled_more()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.ticks > 0


async def test_a_partition_at_rest_writes_nothing(make_site: MakeSite) -> None:
    """A tick that would say nothing is not written: else each one would be the reason for the next one's transaction."""
    site = await make_site(clock="wall", partitions=1)
    await site.send([site.sent(m) for m in traffic(6, 5, 20, around_ms=now_ms() - 600_000, spread_s=60)])
    worker = site.worker()
    await site.settled()
    journal = [TopicPartition(site.settings.internal_topic, 0)]
    async with site.consumer() as consumer:

        async def at_rest() -> bool:
            before = await consumer.end_offsets(journal)
            await asyncio.sleep(2)
            return bool(await consumer.end_offsets(journal) == before)

        await until(at_rest, "nothing is written for two seconds")
    await worker.stop()
    await site.verdict()


async def test_strays_of_another_partitioner_reach_their_owner_once(make_site: MakeSite) -> None:
    """Producers on librdkafka hash with CRC32: nothing is lost for it, and nothing is counted twice when a worker dies."""
    site = await make_site(partitions=4, max_batch=100)
    await site.send(site.sent(m, crc=True) for m in traffic(7, 200, 1_500))
    victim = site.worker("before_commit:3")
    assert await victim.ended() == 137
    heir = site.worker()
    await site.settled()
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.strays > 500


async def test_poison_records_go_to_the_dead_letters_and_the_partition_goes_on(make_site: MakeSite) -> None:
    """Of every kind, with the original bytes and headers that say where and why."""
    site = await make_site(partitions=1)
    good = [site.sent(m) for m in traffic(8, 50, 300)]
    poison = [
        Sent(site.web, 0, b"not json", b"k", (("x", b"y"),)),
        Sent(site.web, 0, b"", b"k"),
        Sent(site.web, 0, None, b"k"),
        Sent(site.web, 0, b"[1]"),
        Sent(site.web, 0, b"\xff\xfe", b"\xff"),
        Sent(site.web, 0, b'{"a":' * 5_000),
        Sent(site.web, 0, b'{"x": NaN}'),
        Sent(site.web, 0, json.dumps({**traffic(9, 1, 1)[0], "subject": ""}).encode()),
        Sent(site.web, 0, json.dumps({**traffic(9, 1, 1)[0], "data": {"a": "x" * 899_990}}).encode(), b"big"),
        Sent(site.web, 0, b"x" * 950_000, b"bigger"),
    ]
    too_many_traits = {**traffic(9, 1, 1)[0], "type": "profile.updated", "data": {"traits": {"note": "x" * 70_000}}}
    await site.send([*good[:100], *poison, site.sent(too_many_traits), *good[100:]])
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.dead.total() == len(poison), "all but the tombstone, and the event with too many traits"
    assert verdict.refused == 1
    dead = {r.key: r for r in await site.outputs() if r.topic == site.settings.output_topic("lead.dead")}
    assert (
        dead[b"bigger"].value
        == json.dumps(
            {"value": {"bytes": 950_000, "sha256": hashlib.sha256(b"x" * 950_000).hexdigest()}}, separators=(",", ":")
        ).encode()
    )
    told = dict(dead[b"k"].headers)
    assert told["__connect.errors.topic"] == site.web.encode()
    assert told["lp-reason"]


async def test_dead_letters_of_many_megabytes_go_out_in_parts(make_site: MakeSite) -> None:
    """A transaction holds 2 MB at most, or one batch; an open one blocks readers, so none may be large."""
    site = await make_site(partitions=1, publish_interval=0.3)
    good = [site.sent(m) for m in traffic(17, 20, 100)]
    await site.send([*good, *(Sent(site.web, 0, b"x" * 899_000 + b"%d" % n) for n in range(30)), *good])
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.dead.total() == 30


async def test_aborted_upstream_transactions_are_not_seen(make_site: MakeSite) -> None:
    """Their records never happened, and the offsets move past them and past the markers, to the end."""
    site = await make_site(partitions=1)
    await site.send((site.sent(m) for m in traffic(11, 30, 100)), commit=True)
    await site.send((site.sent(m) for m in traffic(12, 30, 100)), commit=False)
    await site.send((site.sent(m) for m in traffic(13, 30, 100)), commit=True)
    worker = site.worker()
    await site.settled()
    await worker.stop()
    await site.verdict()


async def test_sigterm_drains_within_ten_seconds_and_leaves_nothing_unpublished(make_site: MakeSite) -> None:
    """A rollout must not leave outputs waiting for the next owner."""
    site = await make_site(publish_interval=5, tick_interval=60, max_batch=50)
    await site.send(site.sent(m) for m in traffic(14, 200, 3_000))
    worker = site.worker()
    await worker.ready(2)
    await worker.stop()  # exit code 0: the test's worker gives itself ten seconds
    async with site.redis() as redis:
        for p in range(2):
            batch, published = await redis.hmget(site.key(p, "position"), "batch", "published")
            assert batch == published
            assert await redis.xlen(site.key(p, "outbox")) == 0
    heir = site.worker(publish_interval=0.05, tick_interval=0.3)
    await site.settled()
    await heir.stop()
    await site.verdict()


async def test_a_tick_waits_for_the_events_that_it_must_not_overtake(make_site: MakeSite) -> None:
    """It carries the offsets up to which its writer had read; a reader that is behind them judges nobody yet.

    Here an open transaction keeps them from the reader: they are in the log, and whether they ever happened is not decided.
    """
    site = await make_site(partitions=1)
    events = [site.sent(m) for m in traffic(15, 30, 300, around_ms=now_ms() - 60_000, spread_s=5) if m["type"] == "page.viewed"]
    tick = tick_output(site.settings.internal_topic, 0, Tick(now_ms(), {site.web: len(events)}))
    await site.send(events[:50])
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=f"{site.settings.namespace}.test")
    await producer.start()
    await producer.begin_transaction()
    for event in events[50:]:
        await producer.send_and_wait(event.topic, event.value, event.key, event.partition)
    await site.send([Sent(tick.topic, 0, tick.value, None, tick.headers)])
    worker = site.worker()
    await worker.ready(1)
    await asyncio.sleep(2)
    position = await site.position(0)
    assert (position[f"next:{site.web}"], position.get("clock")) == ("50", None)
    await producer.commit_transaction()
    await producer.stop()
    await site.settled()
    await until(lambda: judged_at(site, 1), "the tick is folded")
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.ticks == 1


async def judged_at(site: Site, at_ms: int) -> bool:
    """Return whether partition 0 has folded a tick of *at_ms* or later to its end."""
    return int((await site.position(0)).get("clock", 0)) >= at_ms


@pytest.mark.parametrize("step", ["before_apply:2", "after_apply:2"])
async def test_a_tick_with_many_due_leads_survives_a_death_between_its_slices(make_site: MakeSite, step: str) -> None:
    """Some hundred leads a batch: the tick's offset and the partition's clock move with the last, so the heir goes on in it."""
    site = await make_site(partitions=1, max_batch=400)
    day_ago = now_ms() - 86_400_000
    await site.send(
        site.sent({**m, "subject": f"lead-{n}", "type": "form.submitted", "data": {}})
        for n, m in enumerate(traffic(16, 1, 2_600, around_ms=day_ago))
    )
    first = site.worker()
    await site.settled()
    await first.stop()
    at_ms = now_ms()
    tick = tick_output(site.settings.internal_topic, 0, Tick(at_ms, {}))
    await site.send([Sent(tick.topic, 0, tick.value, None, tick.headers)])
    victim = site.worker(step)
    assert await victim.ended() == 137
    heir = site.worker()
    await until(lambda: judged_at(site, at_ms), "the whole tick is folded")
    await site.settled()
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.ticks >= 3


async def test_sigterm_while_a_worker_starts_ends_it_cleanly(make_site: MakeSite) -> None:
    """A rollout that is taken back stops workers that have not begun: no error, and nothing for anybody to look at."""
    site = await make_site()
    worker = site.worker()
    await worker.says("hash-max-listpack-value")  # the checks are done, the group is not joined yet
    await worker.stop()
    said = worker.said()
    assert "ERROR" not in said, said
