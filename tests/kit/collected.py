"""A collector in this process: its application over a log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from worker.collector.application import ENDPOINTS, Routes, application
from worker.collector.collector import Collector
from worker.collector.collector import now_ms as real_ms
from worker.collector.metrics import CollectorMetrics
from worker.collector.promise import Promise
from worker.connections.file import parse_connections
from worker.core.contract.model import Output
from worker.errors import StoreUnavailable, Undelivered
from worker.intake.inbound import Inbound, decode_inbound
from worker.intake_ports import SourceNews, Wanted

NOW_MS = 1_770_000_000_000


class Log:
    """Keeps the records that were put into it. A test makes it refuse them, or stall."""

    def __init__(self) -> None:
        self.records: list[Output] = []
        self.refuses = False
        self.flows = asyncio.Event()
        self.flows.set()
        self.ready = True

    async def put(self, records: Sequence[Output]) -> None:
        """Keep *records* once the log flows."""
        await self.flows.wait()
        if self.refuses:
            raise Undelivered("the log refuses records")
        self.records += records

    async def connected(self) -> None:
        """Return at once."""

    def inbound(self) -> list[Inbound]:
        """Return the webhooks among the records."""
        return [decode_inbound(one.value or b"") for one in self.records if one.topic == "lead.inbound"]


class Memory:
    """Remembers in this process. A test makes it go away."""

    def __init__(self) -> None:
        self.marks: set[bytes] = set()
        self.wanted: dict[bytes, int] = {}
        self.kept: dict[str, bytes] = {}
        self.news: dict[str, SourceNews] = {}
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def known(self, marks: Sequence[bytes]) -> list[bool]:
        self._answer()
        return [mark in self.marks for mark in marks]

    async def mark(self, marks: Collection[bytes], now_ms: int) -> None:
        self._answer()
        self.marks |= set(marks)

    async def recall(self, keys: Sequence[str]) -> list[bytes | None]:
        self._answer()
        return [self.kept.get(key) for key in keys]

    async def keep(self, held: Mapping[str, bytes], kept_ms: int) -> None:
        self._answer()
        self.kept |= held

    async def schedule(self, wanted: Sequence[Wanted]) -> None:
        self._answer()
        for one in wanted:
            self.wanted.setdefault(one.held, one.due_ms)

    async def take_due(self, now_ms: int, limit: int, lease_ms: int) -> list[bytes]:
        return [held for held, due_ms in self.wanted.items() if due_ms <= now_ms][:limit]

    async def done(self, held: bytes) -> None:
        self.wanted.pop(held, None)

    async def put_off(self, held: bytes, due_ms: int) -> None:
        self.wanted[held] = due_ms

    async def questions(self) -> list[bytes]:
        self._answer()
        return list(self.wanted)

    async def replace(self, held: bytes, instead: bytes | None) -> None:
        due_ms = self.wanted.pop(held, None)
        if due_ms is not None and instead is not None:
            self.wanted.setdefault(instead, due_ms)

    async def waiting(self) -> int:
        return len(self.wanted)

    async def tell(self, news: Mapping[str, SourceNews]) -> None:
        self._answer()
        self.news |= news


class Fetched:
    """Stands for Amazon: what each address holds, and which were asked."""

    def __init__(self) -> None:
        self.holds: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def fetch(self, address: str) -> bytes:
        """Return what *address* holds. Raises `OSError` for another one."""
        self.asked.append(address)
        if address not in self.holds:
            raise OSError("nobody answers")
        return self.holds[address]


class Served:
    """A collector that answers."""

    def __init__(self, collector: Collector, client: TestClient[Any, Any], log: Log, amazon: Fetched) -> None:
        self.collector = collector
        self.client = client
        self.log = log
        self.amazon = amazon

    def counted(self, name: str, **labels: str) -> float:
        """Return a metric's value; 0 where it is not shown."""
        return self.collector.metrics.registry.get_sample_value(f"leadpulse_{name}", labels) or 0.0


@asynccontextmanager
async def served(
    connections: str,
    environment: Mapping[str, str] | None = None,
    *,
    most_bytes: int = 64_000_000,
    endpoints: Sequence[Routes] = ENDPOINTS,
    now_ms: int | None = NOW_MS,
) -> AsyncIterator[Served]:
    """Serve the collector of the file *connections*, whose secrets are in *environment*. *now_ms* `None`: real time."""
    log, amazon, metrics = Log(), Fetched(), CollectorMetrics(CollectorRegistry())
    promise = Promise(log, most_bytes, metrics)
    found = parse_connections(connections.encode(), "connections.yaml")
    clock = real_ms if now_ms is None else lambda: now_ms
    collector = Collector(found, environment or {}, promise, metrics, amazon.fetch, now_ms=clock)
    collector.checked.set()
    async with TestClient(TestServer(application(collector, endpoints))) as client:
        yield Served(collector, client, log, amazon)
