"""The mapper as part of the process: its clients, and how it begins anew after an error of the group."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.redis_inbound import RedisInbound
from worker.collector.collector import Collector
from worker.collector.mapper import Mapper
from worker.collector.mapping import Made
from worker.errors import KafkaRefused, LeadPulseError
from worker.logs import fields
from worker.ports import Wanted
from worker.settings import CollectSettings

log = logging.getLogger(__name__)

_AGAIN_S: Final = 2.0


class Question(msgspec.Struct, frozen=True):
    """A look-up as it waits in the memory."""

    source: str
    path: str
    about: dict[str, str]
    asked_ms: int
    """When it is due, or for a look-up at once, when the webhook came that asks it. It is given up a day later."""


def questions(source: str, made: Made) -> list[Wanted]:
    """Return the look-ups of *made* as the memory keeps them. The same webhook asks the same.

    Look-ups of several webhooks that are equal, and due at the same time, are one.
    """
    return [
        Wanted(msgspec.json.encode(Question(source, one.path, one.about, one.due_ms or made.received_ms)), one.due_ms)
        for one in made.lookups
    ]


async def map_webhooks(settings: CollectSettings, collector: Collector) -> None:
    """Map until cancelled. Raises `KafkaRefused` when an operator must act."""
    await collector.checked.wait()
    memory = RedisInbound(settings.memory, settings.seen_max)
    try:
        while True:
            try:
                async with Admin(settings) as admin:
                    await _joined(settings, collector, admin, memory)
            except KafkaRefused:
                raise
            except LeadPulseError as error:
                log.warning("the mapper joins again: %s", error.line(), extra=fields("mapper.joins_again"))
            await asyncio.sleep(_AGAIN_S)
    finally:
        await memory.close()


async def _joined(settings: CollectSettings, collector: Collector, admin: Admin, memory: RedisInbound) -> None:
    group = KafkaGroup(settings)
    mapper = Mapper(
        group,
        KafkaLog(settings, admin, group),
        memory,
        collector.connections.sources,
        collector.metrics,
        questions,
        collector.now_ms,
        settings.inbound_topic,
        settings.dead_topic,
    )
    try:
        await mapper.run()
    finally:
        await group.close()
