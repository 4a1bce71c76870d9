"""What somebody with the right to it does to a site's topics: deletes them, makes them again, has Kafka thin them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from tests.system.kit import Sent, Site

REMADE = "was deleted and made again since it was read"
OTHER_RECORDS = "was folded of"


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


async def make_again(site: Site, topic: str) -> None:
    """Delete *topic* and make it again; the site keeps what was in it for its verdict."""
    site.made_again += await site.read([TopicPartition(topic, p) for p in range(site.settings.partitions)])
    await delete(site, topic)
    async with asyncio.timeout(120):
        while True:  # until the brokers have let go of the old one
            await site.prepare()
            async with site.consumer() as consumer:
                if topic in await consumer.topics():
                    return
            await asyncio.sleep(0.2)


async def set_policy(site: Site, topic: str, **configs: str) -> None:
    """Change the configuration of *topic*; `_` stands for a dot."""
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    async with admin_of(site) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changed)])


async def thin_out(site: Site, tp: TopicPartition, offsets: range) -> None:
    """Let Kafka compact *tp* until one of *offsets* at least is gone; the site keeps what is gone before their end."""
    before = {r.offset: r for r in await site.read([tp]) if r.offset < offsets.stop}
    policy = {"segment_ms": "100", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "100"}
    await set_policy(site, tp.topic, cleanup_policy="compact", **policy)
    async with asyncio.timeout(120):
        while set(offsets) & before.keys() <= await _offsets(site, tp):
            await site.send([Sent(tp.topic, tp.partition, b"{}", b"new")])  # the newest segment is left alone
            await asyncio.sleep(1)
    await set_policy(site, tp.topic, cleanup_policy="delete")
    await asyncio.sleep(1)  # a cleaning that has begun goes on to its end
    left = await _offsets(site, tp)
    site.deleted += [record for offset, record in before.items() if offset not in left]


async def _offsets(site: Site, tp: TopicPartition) -> set[int]:
    return {record.offset for record in await site.read([tp])}
