"""The mapper and its look-ups as part of the process: their clients, and how the mapper joins its group again."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.redis_inbound import RedisInbound
from worker.adapters.vendor_api import VendorApi
from worker.collector.collector import Collector
from worker.collector.lookups import Lookups, questions
from worker.collector.mapper import Mapper
from worker.errors import KafkaRefused, LeadPulseError
from worker.logs import fields
from worker.settings import CollectSettings

log = logging.getLogger(__name__)

_AGAIN_S: Final = 2.0


async def map_webhooks(settings: CollectSettings, collector: Collector, memory: RedisInbound) -> None:
    """Map until cancelled. Raises `KafkaRefused` when an operator must act."""
    await collector.checked.wait()
    async with VendorApi(collector.connections.targets, collector.environment) as api:
        asking = asyncio.create_task(Lookups(collector, memory, api.ask).run())
        try:
            await _map(settings, collector, memory)
        finally:
            asking.cancel()
            await asyncio.wait([asking])


async def _map(settings: CollectSettings, collector: Collector, memory: RedisInbound) -> None:
    while True:
        try:
            async with Admin(settings) as admin:
                await _joined(settings, collector, admin, memory)
        except KafkaRefused:
            raise
        except LeadPulseError as error:
            log.warning("the mapper joins again: %s", error.line(), extra=fields("mapper.joins_again"))
        await asyncio.sleep(_AGAIN_S)


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
        collector.news,
    )
    try:
        await mapper.run()
    finally:
        await group.close()
