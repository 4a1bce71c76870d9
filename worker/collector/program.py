"""The process of `leadpulse collect`: it starts, takes events until a signal, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from worker.adapters.kafka_acks import KafkaAcks
from worker.adapters.kafka_sink import KafkaIntake
from worker.adapters.redis_inbound import RedisInbound
from worker.collector.application import ENDPOINTS, AccessLog, Routes, application, metrics_pages
from worker.collector.collector import Collector
from worker.collector.fetching import Fetcher
from worker.collector.mapping_program import map_webhooks
from worker.collector.metrics import CollectorMetrics
from worker.collector.promise import Promise
from worker.connections.file import read_connections
from worker.errors import SettingsError, Undelivered
from worker.logs import fields
from worker.settings import CollectSettings

log = logging.getLogger("leadpulse")

DRAIN_S: Final = 4.0
"""Time for requests on their way to be answered. A request is answered within 2.5 s."""

_ALLOCATIONS: Final = 10_000
"""Objects that a collection of the youngest waits for. A request leaves some hundred, and nearly all are freed with it."""

UNREADY_S: Final = 2.0
"""Time for which a collector that ends still takes requests, and is not ready: a balancer sends some until it has seen that."""

_LOOK_AGAIN_S: Final = 2.0


async def run(settings: CollectSettings, environment: Mapping[str, str], endpoints: Sequence[Routes] = ENDPOINTS) -> None:
    """Collect until SIGTERM or SIGINT. Raises `ConnectionsError`, `SettingsError`, and `Undelivered` without its topics."""
    connections = read_connections(settings.connections, environment)
    metrics = CollectorMetrics()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as opened:
        fetcher = await opened.enter_async_context(Fetcher())
        acks = await opened.enter_async_context(KafkaAcks(settings))
        promise = Promise(acks, settings.collect_queue, metrics)
        collector = Collector(
            connections, environment, promise, metrics, fetcher.fetch, settings.inbound_topic, proxies=settings.collect_proxies
        )
        await _serve(opened, metrics_pages(collector), settings.metrics_host, settings.metrics_port, "LEADPULSE_METRICS_PORT")
        if settings.collect_only != "map":
            app = application(collector, endpoints)
            at = await _serve(opened, app, settings.collect_host, settings.collect_port, "LEADPULSE_COLLECT_PORT")
            log.info("taking events on http://%s:%d", *at[:2], extra=fields("collector.served", host=at[0], port=at[1]))
        _collect_less()
        memory = RedisInbound(settings.memory, settings.seen_max)
        opened.push_async_callback(memory.close)
        tasks = [asyncio.create_task(_check_topics(settings, collector))]
        tasks.append(asyncio.create_task(collector.news.keep_writing(memory)))
        if settings.collect_only != "http":
            tasks.append(asyncio.create_task(map_webhooks(settings, collector, memory)))
        await _until(stop, tasks)
        collector.draining = True
        log.info("draining, for %g s at most", UNREADY_S + DRAIN_S, extra=fields("collector.draining"))
        if settings.collect_only != "map":
            await asyncio.sleep(UNREADY_S)


def _collect_less() -> None:
    """Let Python's garbage collector skip all present objects, and run less often: they stay until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for *stop*, or for a task that fails; cancel the tasks. Raises what a task raised."""
    stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    left: set[asyncio.Task[Any]] = {stopping, *tasks}
    try:
        while not stopping.done():
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def _serve(opened: contextlib.AsyncExitStack, app: web.Application, host: str, port: int, setting: str) -> Sequence[Any]:
    """Serve *app*, and return its address. Raises `SettingsError` if the address cannot be used."""
    runner = web.AppRunner(
        app, access_log_class=AccessLog, handle_signals=False, shutdown_timeout=DRAIN_S, keepalive_timeout=75
    )
    await runner.setup()
    opened.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        raise SettingsError(f"{host}:{port} cannot be served: {error.strerror}; set {setting}") from error
    address: Sequence[Any] = runner.addresses[0]
    return address


async def _check_topics(settings: CollectSettings, collector: Collector) -> None:
    """Wait until Kafka answers, and see whether the topics are there. Raises `Undelivered` for a missing one."""
    log_ = KafkaIntake(settings)
    while True:
        try:
            found = await log_.partitions(settings.needed_topics)
        except Undelivered as error:
            log.warning("%s", error, extra=fields("collector.waits_for_kafka"))
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        if missing := sorted(topic for topic, count in found.items() if not count):
            raise Undelivered(f"{log_.name} has no topic {', '.join(missing)}: create it with `leadpulse topics create`")
        await collector.promise.connected()
        collector.checked.set()
        log.info("ready", extra=fields("collector.ready"))
        return
