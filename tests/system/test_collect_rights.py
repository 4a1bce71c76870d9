"""A collector with the least rights that the page grants, over encrypted connections, and no secret in what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import redis as plain_redis

from tests.kit.certificates import Certificates, certificates, guarded_redis
from tests.kit.collectors import Sender, id_of, park_of
from tests.kit.guarded import Guarded, by_the_protocol, documented, guarded_kafka
from tests.kit.services import Redis
from tests.kit.shell import leadpulse
from tests.kit.waits import until
from worker.adapters.redis_inbound import LOOKUPS, SEEN, SOURCES

__all__ = ["certificates", "guarded_redis"]

SECRET = "s3cret/of@kafka"
REDIS_SECRET = "s3cret-of-redis"


@pytest.fixture(scope="module")
def guarded(certificates: Certificates) -> Iterator[Guarded]:
    """A broker that knows the collector's user, and lets it do nothing yet."""
    with guarded_kafka(certificates, {"collector": SECRET}) as made:
        yield made


async def test_a_collector_does_its_work_with_the_least_rights(
    guarded: Guarded, guarded_redis: Redis, certificates: Certificates, tmp_path: Path
) -> None:
    """Webhooks, events, look-ups that wait, and the status of its sources. Every right of the page is needed for that."""
    for line in documented("sh", "collector"):
        by_the_protocol(guarded.kafka, line.split()[1:])
    (line,) = documented("redis", "collector")
    with plain_redis.Redis(port=guarded_redis.port) as client:
        client.execute_command(*line.replace("PASSWORD", REDIS_SECRET).split())
        client.delete(SEEN, LOOKUPS, SOURCES)
    at = f"127.0.0.1:{guarded_redis.settings['tls-port']}"
    park_redis = f"rediss://collector:{REDIS_SECRET}@{at}/0?ssl_ca_certs={certificates.authority}"
    async with park_of(guarded.kafka.address, park_redis, tmp_path) as park:
        park.environ |= {
            "LEADPULSE_KAFKA": guarded.address,
            "LEADPULSE_KAFKA_SECURITY": "SASL_SSL",
            "LEADPULSE_KAFKA_SASL": "SCRAM-SHA-512",
            "LEADPULSE_KAFKA_USER": "collector",
            "LEADPULSE_KAFKA_PASSWORD": SECRET,
            "LEADPULSE_KAFKA_CAFILE": str(certificates.authority),
        }
        collector = park.collector()
        await collector.ready()
        sender = Sender(park, collector.port)
        async with aiohttp.ClientSession() as session:
            await sender.send(session, [1, 2])
            await sender.send_raw(session, b"[7]", [])
        await park.mapped([id_of(1), id_of(2)])

        async def told() -> bool:
            done = await asyncio.to_thread(leadpulse, "connections", "status", "--json", env=park.environ)
            assert done.returncode == 0, done.stderr
            row = json.loads(done.stdout)
            return bool(row["last_event"] and row["dead"] == 1 and row["pending"] == 0)

        await until(told, "the status of the source")
        with plain_redis.Redis(port=guarded_redis.port) as client:
            assert client.zcard(SEEN) == 2
        said = collector.said()
        assert collector.end() == 0
        for lacking in ("without the ids", "look-ups wait", "is not kept", "beginning anew", "NOPERM"):
            assert lacking not in said, said
        for secret in (SECRET, REDIS_SECRET):
            assert secret not in said
