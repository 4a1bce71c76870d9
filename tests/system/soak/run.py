"""What one try of a fault has: its site, its workers, the load on them, and the faults by name."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka.structs import TopicPartition

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import HOST
from tests.kit.grids import WORDED
from tests.kit.proxy import LosesReplies, Network
from tests.kit.site import Site
from tests.kit.traffic import Sent, now_ms, people, worded
from tests.kit.waits import HANG_S, until
from tests.kit.workers import Worker

BURST = 60


EVERY_S = 0.1


LEADS = 150


@dataclass
class Run:
    """One try of one fault."""

    site: Site
    random: random.Random
    services: Services
    grid: str
    """The grid that it begins with. `WORDED`: events have what its words look at."""
    told: dict[str, Any]
    """Settings of the workers that are not the site's: where they find Kafka and Redis."""
    servers: Any = None
    """Those of this try alone, where its fault needs others than the shared ones."""
    sent: int = 0
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who holds it sends, and nobody else."""
    workers: list[Worker] = field(default_factory=list)

    async def start(self, count: int = 1, **settings: Any) -> list[Worker]:
        """Start *count* workers more, with *settings* of their own."""
        started = [self.site.worker(**self.told, **settings) for _ in range(count)]
        self.workers += started
        return started

    async def stop(self) -> None:
        """Stop all workers in good order."""
        for worker in list(self.workers):
            await worker.stop()
            self.drop(worker)

    async def all_end(self, words: str) -> None:
        """Wait until every worker has ended by itself, with exit code 1 and *words*."""
        for worker in list(self.workers):
            code = await worker.ended()
            assert code == 1, f"ended with {code}:\n{worker.said()}"
            assert words in worker.said(), f"did not say {words!r}:\n{worker.said()}"
            self.drop(worker)

    async def some_time(self, most_s: float = 1.5) -> None:
        """Wait for a random while: faults hit in the middle of things."""
        await asyncio.sleep(self.random.uniform(0.1, most_s))

    def any_worker(self) -> Worker:
        """Return one of those that run."""
        return self.random.choice(self.workers)

    def drop(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        self.workers.remove(worker)

    @contextlib.asynccontextmanager
    async def load(self, *, hot: bool = False, bad: bool = False) -> AsyncIterator[None]:
        """Send traffic while the block lasts: strays, late events, duplicates and visitors who become known among it."""
        ended = asyncio.Event()

        async def go_on() -> None:
            while not ended.is_set():
                async with self.sending:
                    await self.burst(hot=hot, bad=bad)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), EVERY_S)

        sending = asyncio.create_task(go_on())
        try:
            yield
        finally:
            ended.set()
            await sending

    async def burst(self, *, hot: bool = False, bad: bool = False, commit: bool | None = None, spread_s: float = 2.0) -> None:
        """Send some events; *hot*: nine of ten of one lead, *bad*: one of four that no worker can read.

        Their times are around now, *spread_s* from the first to the last.
        """
        seed = self.random.getrandbits(32)
        found = people(seed, LEADS, BURST, around_ms=now_ms() - int(spread_s * 500), spread_s=spread_s)
        if hot:
            found = [m if n % 10 else {**m, "subject": "lead-hot"} for n, m in enumerate(found, start=1)]
        if self.grid == WORDED:
            found = worded(seed, found)
        messages = [self.site.sent(m, crc=self.random.random() < 0.2) for m in found]
        if bad:
            messages += [Sent(self.site.web, 0, self.random.randbytes(30)) for _ in range(BURST // 4)]
        await self.send(messages, commit=commit)

    async def send(self, messages: Sequence[Sent], *, commit: bool | None = None) -> None:
        """Send *messages*, again where Kafka cannot be reached for a while."""
        deadline = time.monotonic() + HANG_S
        while True:
            try:
                await self.site.send(messages, commit=commit)
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        self.sent += len(messages)


@dataclass
class Services:
    """What the runs of a soak share."""

    kafka: Kafka
    redis: Redis
    replies: LosesReplies
    """Before Redis."""
    to_kafka: Network
    to_redis: Network

    def seen_through(self, proxy: str) -> dict[str, Any]:
        """Return the settings by which a worker reaches Kafka or Redis through *proxy*."""
        match proxy:
            case "to_kafka":
                return {"kafka": f"{HOST}:{self.to_kafka.port}"}
            case "to_redis" | "replies":
                return {"redis": f"redis://{HOST}:{getattr(self, proxy).port}/0"}
        return {}


Inject = Callable[[Run], Awaitable[None]]


FAULTS: dict[str, tuple[Inject, dict[str, Any]]] = {}


def fault(name: str, **settings: Any) -> Callable[[Inject], Inject]:
    """Name a fault; *settings* are those of its workers.

    `through` is the proxy that they are behind. `servers` makes servers for each try of it: see `tests/kit/replicas.py`.
    """

    def note(inject: Inject) -> Inject:
        FAULTS[name] = inject, settings
        return inject

    return note


async def _published(site: Site, partition: int) -> bool:
    return int((await site.position(partition)).get("published", 0)) > 0


async def all_published(site: Site) -> None:
    """Wait until a batch of each partition is published: a copy from before is an empty store, which workers refuse."""
    for partition in range(site.settings.partitions):
        await until(partial(_published, site, partition), f"a batch of partition {partition} published")


async def recovered(site: Site, timeout_s: float = HANG_S) -> None:
    """Wait until all that was sent until now is in the states."""
    async with site.consumer() as consumer:
        tps = [TopicPartition(topic, p) for topic in site.settings.input_topics for p in range(site.settings.partitions)]
        ends = await consumer.end_offsets(tps)
    deadline = time.monotonic() + timeout_s
    for tp, end in ends.items():
        while int((await site.position(tp.partition)).get(f"next:{tp.topic}", 0)) < end:
            assert time.monotonic() < deadline, f"{tp} not read to {end} in {timeout_s:g} s\n{site.logs()}"
            await asyncio.sleep(0.05)
