"""Faults of workers, Kafka and operators, each against the core folded over the recorded log."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from tests.kit.services import Kafka
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import Sent, now_ms, traffic
from tests.kit.waits import until
from worker.core.contract.journal import Tick, tick_output


@pytest.mark.parametrize("step", ["before_transaction:4", "before_commit:4"])
async def test_a_worker_that_wakes_up_after_another_took_over_does_no_harm(make_site: MakeSite, step: str) -> None:
    """Frozen in the middle of its work, it goes on where it was: neither its store token nor its producer is good any more.

    The batches that it was about to publish have been published by the other one, from the outbox.
    """
    site = await make_site(max_batch=20)
    await site.send(site.sent(m) for m in traffic(25, 100, 1_000))
    zombie = site.worker(f"{step}:stop")
    await zombie.frozen()
    heir = site.worker()
    await heir.ready(2)
    await asyncio.sleep(1)
    zombie.signal(signal.SIGCONT)  # before its transaction's deadline, which would end it too
    await site.send(site.sent(m) for m in traffic(27, 100, 300))
    await asyncio.sleep(2)
    await site.settled()
    await zombie.stop()
    await heir.stop()
    await site.verdict()


async def test_workers_come_and_go_under_load(make_site: MakeSite) -> None:
    """One, four, two: partitions move, nothing else does."""
    site = await make_site(partitions=4, clock="wall", max_batch=100)
    running = [site.worker()]

    async def load() -> None:
        for round_ in range(6):
            await site.send(site.sent(m, crc=round_ % 2 == 0) for m in traffic(40 + round_, 100, 300, around_ms=now_ms() - 500))
            await asyncio.sleep(1)

    loading = asyncio.create_task(load())
    await running[0].ready(4)
    running += [site.worker() for _ in range(3)]
    await asyncio.sleep(3)
    for worker in running[:2]:
        await worker.stop()
    await loading
    await site.settled()
    for worker in running[2:]:
        await worker.stop()
    await site.verdict()


async def test_kafka_killed_and_started_again_loses_nothing(make_site: MakeSite, own_kafka: Kafka) -> None:
    """Transactions in flight end one way or the other, and Kafka says which."""
    site = await make_site(kafka=own_kafka.address, session_timeout=6, max_batch=50)
    worker = site.worker()
    await worker.ready(2)
    await site.send(site.sent(m) for m in traffic(50, 100, 800))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_kafka.restart, clean=False)
    await site.send(site.sent(m) for m in traffic(51, 100, 300))
    await site.settled()
    await worker.stop()
    await site.verdict()


async def test_a_tick_from_a_clock_a_year_ahead_does_not_take_the_leads_with_it(make_site: MakeSite) -> None:
    """A tick is never taken later than the broker appended it."""
    site = await make_site(clock="events", partitions=1)
    await site.send(site.sent(m) for m in traffic(55, 30, 200, around_ms=now_ms() - 5_000, spread_s=2))
    ahead = tick_output(site.settings.internal_topic, 0, Tick(now_ms() + 365 * 86_400_000, {}))
    await site.send([Sent(ahead.topic, 0, ahead.value, None, ahead.headers)])
    worker = site.worker()
    await site.settled()
    await until(lambda: has_clock(site), "the tick is folded")
    await worker.stop()
    position = await site.position(0)
    assert int(position["clock"]) <= now_ms()
    verdict = await site.verdict()
    assert verdict.ticks > 0


async def has_clock(site: Site) -> bool:
    """Return whether partition 0 has folded a tick."""
    return "clock" in await site.position(0)


async def test_records_deleted_before_they_were_read_stop_the_worker_until_the_loss_is_accepted(make_site: MakeSite) -> None:
    """They are gone whoever decides; that somebody must know, is the point."""
    site = await make_site(partitions=1)
    await site.send(site.sent(m) for m in traffic(56, 30, 200))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    await site.send(site.sent(m) for m in traffic(57, 30, 200))
    web = TopicPartition(site.web, 0)
    async with site.consumer() as consumer:
        end = (await consumer.end_offsets([web]))[web]
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    await admin.delete_records({web: RecordsToDelete(end - 50)})
    await admin.close()
    refused = site.worker()
    assert await refused.ended() == 1
    assert "LEADPULSE_ACCEPT_LOSS" in refused.said()
    heir = site.worker(accept_loss="true")
    await site.settled()
    await heir.stop()
    assert "going on without records" in heir.said()
    position = await site.position(0)
    assert int(position[f"next:{site.web}"]) == end


async def test_a_missing_output_topic_stops_the_worker_by_name(make_site: MakeSite) -> None:
    """Kafka's clients would try for ever, and nobody would know."""
    site = await make_site(partitions=1)
    worker = site.worker()
    await worker.ready(1)
    topic = site.settings.output_topic("lead.dead")
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()
    await site.send([Sent(site.web, 0, b"not json")])
    assert await worker.ended() == 1
    assert topic in worker.said()
    assert "leadpulse topics create" in worker.said()
    await site.prepare()
    heir = site.worker()
    await site.settled()
    await heir.stop()
    await site.verdict()


async def test_an_output_refused_for_its_size_stops_the_worker_and_is_not_lost(make_site: MakeSite) -> None:
    """The transaction of a refused record must not commit: its batch waits in the outbox until the topic is mended."""
    site = await make_site(partitions=1)
    worker = site.worker()
    await worker.ready(1)
    topic = site.settings.output_topic("lead.dead")
    await max_message_bytes(site, topic, 1_000)
    await site.send([*(site.sent(m) for m in traffic(58, 20, 100)), Sent(site.web, 0, b"x" * 5_000)])
    assert await worker.ended() == 1
    assert f"{topic} refuses a record for its size" in worker.said()
    await max_message_bytes(site, topic, 2 << 20)
    heir = site.worker()
    await site.settled()
    await heir.stop()
    verdict = await site.verdict()
    assert verdict.dead.total() == 1


async def test_too_large_a_share_of_bad_records_stops_the_worker_before_it_is_applied(make_site: MakeSite) -> None:
    """A producer's bad deploy must not drain its topic into the dead letters."""
    site = await make_site(partitions=1, max_batch=1_000)
    await site.send([*(site.sent(m) for m in traffic(59, 20, 100)), *(Sent(site.web, 0, b"bad %d" % n) for n in range(600))])
    worker = site.worker()
    assert await worker.ended() == 1
    assert "LEADPULSE_MAX_BAD_SHARE" in worker.said()
    assert not [r for r in await site.outputs() if r.topic == site.settings.output_topic("lead.dead")]


async def test_what_cannot_work_is_refused_at_the_start(make_site: MakeSite) -> None:
    """Each with what is wrong; a worker must not join the group, and take partitions from others, only to fail."""
    site = await make_site()
    await site.send(site.sent(m) for m in traffic(60, 20, 100))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    refusals = [
        ("has 2 partitions, LEADPULSE_PARTITIONS says 3", site.worker(partitions=3)),
        ("state was made from the topics", site.worker(input_topics=site.web)),
        ("missing topics: nowhere", site.worker(input_topics=f"{site.web},nowhere")),
        ("cannot be read", site.worker(grid="/nowhere.yaml")),
        ("LEADPULSE_REDIS", site.worker(redis="redis://127.0.0.1:1/0")),
        ("no Kafka broker answers", site.worker(kafka="127.0.0.1:1")),
    ]
    for words, refused in refusals:
        assert await refused.ended() == 1, refused.said()
        assert words in refused.said(), refused.said()
        assert "Traceback" not in refused.said()


async def max_message_bytes(site: Site, topic: str, value: int) -> None:
    """Set the topic's largest record."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(value)})])
    await admin.close()


class Unwritable(str):
    """A header name that goes out as bytes which are no UTF-8, as clients in C may send it."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return what no decoder takes."""
        return b"caf\xe9"


@pytest.mark.parametrize("compression", [0, 1, 3], ids=["none", "gzip", "lz4"])
async def test_a_header_name_that_is_not_utf8_stops_nothing(make_site: MakeSite, compression: int) -> None:
    """The Kafka client's own reader ends there: whatever any producer wrote behind it would never be scored."""
    site = await make_site(partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka)
    await producer.start()
    batch = producer.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)  # the one in C takes no such name
    for number, message in enumerate(traffic(61, 30, 60)):
        headers = [(Unwritable(), b"x")] if number % 20 == 7 else []
        value = b"not json" if number == 27 else json.dumps(message).encode()
        batch.append(key=message["subject"].encode(), value=value, timestamp=None, headers=headers)
    batch.close()
    await (await producer.send_batch(batch, site.web, partition=0))
    await producer.stop()
    await site.send(site.sent(m) for m in traffic(62, 30, 100))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.dead.total() == 1
    (dead,) = [r for r in await site.outputs() if r.topic == site.settings.output_topic("lead.dead")]
    assert ("caf\\xe9", b"x") in dead.headers
    assert "not UTF-8" in worker.said()
