"""Changes of a site's topics by an operator: deleted, made again, thinned out by Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from tests.kit.site import Site
from tests.kit.traffic import Sent

REMADE = "was deleted and recreated since it was read"
OTHER_RECORDS = "was folded from"


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


async def stands(site: Site, topic: str) -> list[int]:
    """Return the next offset of each partition of *topic*."""
    return [int((await site.position(p)).get(f"next:{topic}", 0)) for p in range(site.settings.partitions)]


async def thin_out(site: Site, topic: str, begin: Sequence[int], end: Sequence[int]) -> None:
    """Let Kafka compact *topic* until a record between *begin* and *end*, of any partition, is gone.

    The site keeps all before *end*, which was read, for its verdict.
    """
    tps = [TopicPartition(topic, p) for p in range(site.settings.partitions)]
    before = [r for r in await site.read(tps) if r.offset < end[r.partition]]
    between = {r[:3] for r in before if r.offset >= begin[r.partition]}
    policy = {"segment_ms": "100", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "100"}
    await set_policy(site, topic, cleanup_policy="compact", **policy)
    async with asyncio.timeout(120):
        while between <= {r[:3] for r in await site.read(tps)}:
            await site.send(Sent(topic, p, b"{}", b"new") for p in range(len(tps)))  # the newest segment is left alone
            await asyncio.sleep(1)
    await set_policy(site, topic, cleanup_policy="delete")
    await asyncio.sleep(1)  # a cleaning that has begun goes on to its end
    site.deleted += before
