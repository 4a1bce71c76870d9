"""The floor: consume, decode, write each lead of a batch once, commit. No scoring, nothing read, at least once."""

from __future__ import annotations

import asyncio

import msgspec
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from tests.benchmarks.rivals import common

BATCH = 4_000


class Event(msgspec.Struct):
    """An event of the log, whole."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, object]


async def main() -> None:
    """Run until told to end."""
    decode = msgspec.json.Decoder(Event).decode
    redis = Redis.from_url(common.REDIS)
    consumer = AIOKafkaConsumer(
        common.INPUT,
        bootstrap_servers=common.KAFKA,
        group_id=common.NAME,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=BATCH,
    )
    await consumer.start()
    prefix = f"{common.NAME}:"
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        writes: dict[str, bytes] = {}
        for records in fetched.values():
            common.first()
            for record in records:
                writes[prefix + decode(record.value).subject] = record.value
        if writes:
            await redis.mset(writes)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main())
