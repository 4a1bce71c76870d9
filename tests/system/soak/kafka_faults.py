"""Faults of Kafka: brokers killed, topics deleted or made again, records refused or gone."""

from __future__ import annotations

import asyncio
import signal

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from tests.kit.replicas import ThreeBrokers
from tests.kit.site import Site
from tests.kit.topics import OTHER_RECORDS, REMADE, admin_of, make_again, stands, thin_out
from tests.kit.waits import until
from tests.system.soak.run import Run, all_published, fault, recovered


@fault("broker killed (-9) and started again", session_timeout=6)
async def _kill_broker(run: Run) -> None:
    await asyncio.to_thread(run.services.kafka.restart, clean=False)


@fault("broker restarted cleanly", session_timeout=6)
async def _restart_broker(run: Run) -> None:
    await asyncio.to_thread(run.services.kafka.restart, clean=True)


@fault("two of three brokers killed (-9): fewer copies than min.insync.replicas", servers=ThreeBrokers, session_timeout=6)
async def _below_min_isr(run: Run) -> None:
    victims = run.random.sample(run.servers.brokers, 2)
    for victim in victims:
        await asyncio.to_thread(victim.kill)
        await run.some_time(4)
    await until(lambda: _one_copy(run.site), "one copy is left of each partition")
    await run.some_time(4)
    for victim in run.random.sample(victims, 2):
        await asyncio.to_thread(victim.start)
        await run.some_time(4)


async def _one_copy(site: Site) -> bool:
    """Return whether no partition of the topics that *site* reads has more than one copy that is up to date."""
    try:
        async with admin_of(site) as admin:
            described = await admin.describe_topics(list(site.settings.topics))
    except KafkaError:  # it has asked a broker that is gone
        return False
    return all(len(partition["isr"]) <= 1 for topic in described for partition in topic["partitions"])


@fault("an output topic deleted under load, made again", tick_interval=0.3)
async def _no_topic(run: Run) -> None:
    topic = run.site.settings.output_topic("lead.mql")
    tps = [TopicPartition(topic, p) for p in range(run.site.settings.partitions)]
    while True:  # what an open transaction has in the topic is lost with it, by the operator's hand
        for worker in run.workers:
            worker.signal(signal.SIGSTOP)
        await asyncio.sleep(0.3)
        if not await _open_transactions(run.site, tps):
            break
        for worker in run.workers:
            worker.signal(signal.SIGCONT)
        await run.some_time()
    run.site.gone += await run.site.read(tps)
    async with admin_of(run.site) as admin:
        await admin.delete_topics([topic])
    for worker in run.workers:
        worker.signal(signal.SIGCONT)
    await run.all_end("leadpulse topics create")
    await run.site.prepare()
    await run.start()


async def _open_transactions(site: Site, tps: list[TopicPartition]) -> bool:
    async with site.consumer("read_uncommitted") as all_, site.consumer() as committed:
        return bool(await all_.end_offsets(tps) != await committed.end_offsets(tps))


@fault("an output topic refuses records for their size")
async def _refusing(run: Run) -> None:
    topic = run.site.settings.output_topic("lead.mql")
    for size in ("300", str(2 << 20)):
        async with admin_of(run.site) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": size})])
        if run.workers:
            await run.all_end("refuses a record for its size")
    await run.start()


@fault("retention deletes records before they are read; the loss is accepted")
async def _retention(run: Run) -> None:
    await run.stop()
    await run.burst()
    await run.burst()
    web = TopicPartition(run.site.web, run.random.randrange(run.site.settings.partitions))
    read = int((await run.site.position(web.partition))[f"next:{web.topic}"])
    async with run.site.consumer() as consumer:
        end = (await consumer.end_offsets([web]))[web]
    first_left = run.random.randint(read + 1, end)
    run.site.gone += [r for r in await run.site.read([web]) if r.offset < first_left]
    async with admin_of(run.site) as admin:
        await admin.delete_records({web: RecordsToDelete(first_left)})
    await run.start()
    await run.all_end("LEADPULSE_ACCEPT_LOSS")
    await run.start(accept_loss="true")


@fault("an input topic deleted, made again and longer than our offset; read from its start once that is accepted")
async def _made_again(run: Run) -> None:
    await run.stop()
    await make_again(run.site, run.site.web)
    web = TopicPartition(run.site.web, run.random.randrange(run.site.settings.partitions))
    read = int((await run.site.position(web.partition))[f"next:{web.topic}"])
    async with run.site.consumer() as consumer:
        while (await consumer.end_offsets([web]))[web] <= read:
            await run.burst()
    await run.start()
    await run.all_end(REMADE)
    await run.start(accept_loss="true")


@fault("records deleted in the middle, then Redis goes back; a newer copy of it restored")
async def _thinned_out(run: Run) -> None:
    site = run.site
    await all_published(site)
    old, begin = await site.copy(), await stands(site, site.web)
    await run.some_time(4)
    for _ in range(5):
        await run.burst()
    await recovered(site)
    await run.stop()
    newest, end = await site.copy(), await stands(site, site.web)
    await thin_out(site, site.web, begin, end)
    await site.restore(old)
    await run.start()
    await run.all_end(OTHER_RECORDS)
    await site.restore(newest)
    await run.start()
