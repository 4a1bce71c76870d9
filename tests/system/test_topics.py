"""Topics that are not what they were: made again under their name, gone, compacted, with records deleted in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from tests.system.conftest import MakeSite
from tests.system.kit import Site, traffic

REMADE = "was deleted and made again since it was read"


@asynccontextmanager
async def admin_of(site: Site) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield an administrator of the site's Kafka."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete(site: Site, topic: str) -> None:
    """Delete *topic*, with what is in it."""
    async with admin_of(site) as admin:
        await admin.delete_topics([topic])


async def remake(site: Site, topic: str) -> None:
    """Delete *topic* and make it again, once the brokers have let go of the old one."""
    await delete(site, topic)
    async with asyncio.timeout(30):
        while True:
            await site.prepare()
            async with site.consumer() as consumer:
                if topic in await consumer.topics():
                    return
            await asyncio.sleep(0.2)


async def test_a_topic_made_again_and_longer_than_our_offset_stops_by_name_and_nothing_is_skipped(make_site: MakeSite) -> None:
    """By offsets alone it looks as if it went on. Once the loss is accepted, the new one is read from its start."""
    site = await make_site(partitions=1)
    first = site.worker()
    await site.send(site.sent(m) for m in traffic(1, 40, 100))
    await site.settled()
    await first.stop()
    tp = TopicPartition(site.web, 0)
    site.gone += await site.read([tp])
    await remake(site, site.web)
    new = [site.sent(m, topic=site.web) for m in traffic(2, 40, 300)]
    await site.send(new)
    refused = site.worker()
    assert await refused.ended() == 1
    assert REMADE in refused.said()
    assert site.web in refused.said()
    told = site.command("doctor")
    assert told.returncode == 1
    assert REMADE in told.stderr
    last = site.worker(accept_loss="true")
    await site.settled()
    await last.stop()
    assert int((await site.position(0))[f"next:{site.web}"]) == len(new)
    again = site.worker()  # the word is needed once
    await again.ready(1)
    await again.stop()
    async with site.redis() as redis:
        ids = {await redis.hget(site.key(0, "position"), f"id:{topic}") for topic in site.settings.topics}
    assert len(ids) == len(site.settings.topics)
    assert None not in ids
