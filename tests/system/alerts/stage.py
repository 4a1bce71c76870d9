"""Servers, two workers and load, on which faults act."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import redis
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import HOST, REPOSITORY, free_port
from tests.system.alerts.watcher import Watcher

PARTITIONS: Final = 4


RETENTION_S: Final = 2_000
"""Of the input topics, divided by the factor as well."""


_AT_REST_S: Final = 2.0
"""Age of the oldest event that waits for a worker that has nothing to catch up with."""


INPUTS: Final = ("lead.events.web", "lead.events.email", "lead.events.webinar", "lead.events.profile", "lead.events.crm")


class Supervised:
    """A worker that is started again 2 s after its end, as an orchestrator does, until `down`."""

    def __init__(self, environ: Mapping[str, str], folder: Path, number: int) -> None:
        self.port = free_port()
        self.grid = folder / f"grid-{number}.yaml"
        self.grid.write_bytes((REPOSITORY / "grids/saas-b2b.yaml").read_bytes())
        self.settings = {"LEADPULSE_METRICS_PORT": str(self.port), "LEADPULSE_GRID": str(self.grid)}
        self._environ = dict(environ)
        self.log = folder / f"worker-{number}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False

    def up(self, **more: str) -> None:
        """Start it, with *more* settings for this time."""
        self._wanted = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "run"],
                cwd=REPOSITORY,
                env={**os.environ, **self._environ, **self.settings, **more},
                stdout=log,
                stderr=log,
            )

    def down(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, for as long as nobody calls `up`."""
        self._wanted = False
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def supervise(self) -> None:
        """Start it again whenever it has ended."""
        while True:
            await asyncio.sleep(2)
            if self._wanted and self._process is not None and self._process.poll() is not None:
                self.up()

    def ready(self) -> bool:
        """Return whether it says that it takes the events of all its partitions."""
        try:
            with urlopen(f"http://{HOST}:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def lag_s(self) -> float:
        """Return the age of the oldest event that waits for it; infinite when it does not say."""
        try:
            with urlopen(f"http://{HOST}:{self.port}/metrics", timeout=2) as answer:
                page = answer.read().decode()
        except OSError:
            return math.inf
        return max(map(float, re.findall(r"^leadpulse_lag_seconds\{.*\} (\S+)$", page, re.MULTILINE)), default=math.inf)


class Stage:
    """Servers, workers, load and the watcher; faults act on it."""

    def __init__(self, factor: float, kafka: Kafka, store: Redis, folder: Path) -> None:
        self.factor, self.kafka, self.store = factor, kafka, store
        self.environ = {
            "LEADPULSE_KAFKA": kafka.address,
            "LEADPULSE_REDIS": store.url,
            "LEADPULSE_PARTITIONS": str(PARTITIONS),
        }
        self.workers = [Supervised(self.environ, folder, number) for number in range(2)]
        self.watcher = Watcher([f"{HOST}:{worker.port}" for worker in self.workers], factor)
        self.folder = folder

    def command(self, *words: str) -> None:
        """Run a command of leadpulse."""
        line = [sys.executable, "-m", "worker.cli", *words]
        subprocess.run(line, cwd=REPOSITORY, env={**os.environ, **self.environ}, check=True, capture_output=True)

    async def prepare(self) -> None:
        """Make the topics, and let the inputs be kept for as long as the factor says."""
        self.command("topics", "create")
        async with admin_of(self.kafka) as admin:
            kept = {"retention.ms": str(round(RETENTION_S * 1000 / self.factor))}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, kept) for topic in INPUTS])

    def all_ready(self) -> bool:
        """Return whether both workers take events."""
        return all(worker.ready() for worker in self.workers)

    def at_rest(self) -> bool:
        """Return whether both workers take events, and have taken those that a fault before made wait."""
        return self.all_ready() and all(worker.lag_s() < _AT_REST_S for worker in self.workers)

    async def until(self, told: Callable[[], bool], within_s: float, what: str) -> float:
        """Wait until *told* is true; return how long it took."""
        began = time.monotonic()
        while not await asyncio.to_thread(told):
            if time.monotonic() - began > within_s:
                raise AssertionError(f"not within {within_s:.0f} s: {what}\n{self.said()}")
            await asyncio.sleep(0.25)
        return time.monotonic() - began

    def said(self) -> str:
        """Return the end of each worker's log."""
        return "\n".join(worker.log.read_text(errors="replace")[-1_500:] for worker in self.workers)

    def ask(self, *command: str | int) -> Any:
        """Return what Redis answers to *command*."""
        with redis.Redis(port=self.store.port, decode_responses=True) as client:
            return client.execute_command(*command)


@asynccontextmanager
async def admin_of(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client of the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@contextlib.contextmanager
def load(stage: Stage, rate: int) -> Iterator[None]:
    """Send made-up traffic, *rate* records a second."""
    words = [
        "simulate",
        "--kafka",
        stage.kafka.address,
        "--rate",
        str(rate),
        "--days",
        "3650",
        "--start",
        "now",
        "--leads",
        "2000",
    ]
    with (stage.folder / "load.log").open("wb") as log:
        sender = subprocess.Popen([sys.executable, "-m", "worker.cli", *words], cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()
