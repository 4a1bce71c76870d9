"""What is done to servers, workers and traffic, and the alerts that each fault must bring about."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.system.alerts.stage import INPUTS, PARTITIONS, Stage, admin_of


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let *work* go on until the block is left."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _flood(stage: Stage, value: bytes, rate: int) -> AsyncIterator[None]:
    """Send records of *value*, *rate* a second, beside the load."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=stage.kafka.address)
        await producer.start()
        try:
            number = 0
            while True:
                for _ in range(max(1, rate // 10)):
                    number += 1
                    await producer.send(INPUTS[0], value.replace(b"NUMBER", str(number).encode()), b"lead-%d" % (number % 500))
                await asyncio.sleep(0.1)
        finally:
            await producer.stop()

    async with _beside(send()):
        yield


@asynccontextmanager
async def redis_stopped(stage: Stage) -> AsyncIterator[None]:
    """Redis stopped (SIGTERM), then started again with its data."""
    await asyncio.to_thread(stage.store.stop)
    yield
    await asyncio.to_thread(stage.store.start)


@asynccontextmanager
async def worker_killed(stage: Stage) -> AsyncIterator[None]:
    """One of two workers killed (-9), then started again."""
    stage.workers[0].down(signal.SIGKILL)
    yield
    stage.workers[0].up()


@asynccontextmanager
async def all_workers_killed(stage: Stage) -> AsyncIterator[None]:
    """Both workers killed (-9), then started again."""
    for worker in stage.workers:
        worker.down(signal.SIGKILL)
    yield
    for worker in stage.workers:
        worker.up()


@asynccontextmanager
async def poison(stage: Stage) -> AsyncIterator[None]:
    """One of three records is no JSON."""
    async with _flood(stage, b'{"oops": NUMBER', 50):
        yield


@asynccontextmanager
async def poison_past_the_limit(stage: Stage) -> AsyncIterator[None]:
    """Nine of ten records are no JSON: the workers refuse. After the flood they start with LEADPULSE_MAX_BAD_SHARE=1."""
    async with _flood(stage, b'{"oops": NUMBER', 1_500):
        yield
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up(LEADPULSE_MAX_BAD_SHARE="1")
    await stage.until(stage.all_ready, 60, "the workers are ready with LEADPULSE_MAX_BAD_SHARE=1")


@asynccontextmanager
async def typo(stage: Stage) -> AsyncIterator[None]:
    """A producer writes `page.view`."""
    event = {"specversion": "1.0", "id": "NUMBER", "source": "/typo", "type": "page.view", "subject": "a", "data": {"url": "/"}}
    event["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    async with _flood(stage, json.dumps(event).encode(), 60):
        yield


@asynccontextmanager
async def redis_full(stage: Stage) -> AsyncIterator[None]:
    """`maxmemory` set to what Redis uses, then taken away."""
    stage.ask("CONFIG", "SET", "maxmemory", int(stage.ask("INFO", "memory")["used_memory"]))
    yield
    stage.ask("CONFIG", "SET", "maxmemory", 0)


@asynccontextmanager
async def broken_grid(stage: Stage) -> AsyncIterator[None]:
    """One worker's grid file with a mistake, then as before."""
    good = stage.workers[0].grid.read_text()
    stage.workers[0].grid.write_text(re.sub(r"enter: \d+", "enter: fifty", good, count=1))
    yield
    stage.workers[0].grid.write_text(good)


@asynccontextmanager
async def kafka_frozen(stage: Stage) -> AsyncIterator[None]:
    """The broker stopped in its tracks (SIGSTOP), then let go on."""
    stage.kafka.suspend()
    yield
    stage.kafka.resume()


@asynccontextmanager
async def kafka_slow(stage: Stage) -> AsyncIterator[None]:
    """The broker stopped for 0.7 s (SIGSTOP), again and again, with time for one answer between: so slow is each step."""

    async def pulse() -> None:
        try:
            while True:
                stage.kafka.suspend()
                await asyncio.sleep(0.7)
                stage.kafka.resume()
                await asyncio.sleep(0.015)
        finally:
            stage.kafka.resume()

    async with _beside(pulse()):
        yield


@asynccontextmanager
async def records_deleted(stage: Stage) -> AsyncIterator[None]:
    """Events deleted while no worker ran: they refuse; started with LEADPULSE_ACCEPT_LOSS=true; at the end without it again."""
    for worker in stage.workers:
        worker.down()
    await asyncio.sleep(5)
    tps = [TopicPartition(INPUTS[0], p) for p in range(PARTITIONS)]
    async with admin_of(stage.kafka) as admin:
        await admin.delete_records({tp: RecordsToDelete(-1) for tp in tps})
    for worker in stage.workers:
        worker.up()
    refused = "retention deleted records before they were read"
    told = [worker.log.stat().st_size for worker in stage.workers]
    await stage.until(
        lambda: any(refused in w.log.read_text(errors="replace")[at:] for w, at in zip(stage.workers, told, strict=True)),
        60,
        "a worker refuses",
    )
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up(LEADPULSE_ACCEPT_LOSS="true")
    yield
    for worker in stage.workers:
        worker.down()
    for worker in stage.workers:
        worker.up()


Fault = Callable[[Stage], contextlib.AbstractAsyncContextManager[None]]


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "poison, one record of three": (poison, ("LeadPulseDeadLetterFlood", "LeadPulseDeadLetters")),
    "an unknown type": (typo, ("LeadPulseUnknownEvents",)),
    "poison, nine records of ten": (poison_past_the_limit, ("LeadPulseWorkerRestarting",)),
    "a grid file with a mistake": (broken_grid, ("LeadPulseGridRefused",)),
    "Redis full": (redis_full, ("LeadPulseRedisFull", "LeadPulseRedisNearlyFull")),
    "Redis stopped": (
        redis_stopped,
        ("LeadPulseRedisNotAnswering", "LeadPulseEventsStuck", "LeadPulseScoresStale", "LeadPulseRetentionHeadroom"),
    ),
    "one worker killed": (worker_killed, ("LeadPulseWorkerDown",)),
    "both workers killed": (all_workers_killed, ("LeadPulseNoWorker", "LeadPulseWorkerDown")),
    "Kafka slow": (kafka_slow, ("LeadPulseOutboxStuck",)),
    "Kafka frozen": (kafka_frozen, ("LeadPulsePartitionWithoutOwner",)),
    "events deleted before they were read": (records_deleted, ("LeadPulseRecordsLost",)),
}
"""What is done, and the alerts that it must bring about; others may fire with them, and are in the table too."""


LOOK_BACK: Final = {"LeadPulseDeadLetters", "LeadPulseUnknownEvents", "LeadPulseWorkerRestarting"}
"""Alerts whose windows outlive by minutes what they fired for: another fault need not wait for them."""
