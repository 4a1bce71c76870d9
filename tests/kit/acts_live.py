"""`leadpulse act` as processes on a real broker and Redis, and a target on loopback that remembers all that it was sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.kit.hasty_act import LEASE
from tests.kit.services import free_port
from tests.kit.shell import Running, leadpulse
from tests.kit.site_redis import COPY, RESTORE
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.automation_ports import Row

SECRETS = {"HOOK": "whsec_c2VjcmV0LW9mLXRoZS1ob29r", "CRM": "token-of-the-crm-4711"}


class LiveTarget:
    """Takes webhooks, and creates of a CRM that are visible twice if they are sent twice."""

    def __init__(self) -> None:
        self.port = free_port()
        self.ids: Counter[str] = Counter()
        """`webhook-id` → requests."""
        self.came: dict[str, float] = {}
        """`webhook-id` → when it came first, as `time.time()`."""
        self.status = 200
        self.text = ""
        """What its answers say."""
        self.lag: Callable[[], float] = lambda: 0.0
        """For how long an answer takes."""
        self.headers: dict[str, str] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=4 << 20)
        app.add_routes([web.post("/hook", self._hook)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _hook(self, request: web.Request) -> web.Response:
        id_ = request.headers["webhook-id"]
        self.came.setdefault(id_, time.time())
        self.ids[id_] += 1
        await request.read()
        await asyncio.sleep(self.lag())
        return web.Response(status=self.status, text=self.text, headers=self.headers)


class ActSite:
    """One namespace with its topics, its files, and processes that act. With *lease_s* they are hasty."""

    def __init__(
        self, settings: Mapping[str, str], folder: Path, rules: str, connections: str, *, lease_s: float = 0.0, **environ: str
    ) -> None:
        self.folder = folder
        self._module = "tests.kit.hasty_act" if lease_s else "worker.cli"
        (folder / "automations.yaml").write_text(rules)
        (folder / "connections.yaml").write_text(connections)
        self.environ = {
            **settings, **SECRETS,
            "LEADPULSE_AUTOMATIONS": str(folder / "automations.yaml"),
            "LEADPULSE_CONNECTIONS": str(folder / "connections.yaml"),
            "LEADPULSE_SESSION_TIMEOUT": "6",
            LEASE: str(lease_s),
            **environ,
        }  # fmt: skip
        self.environ["LEADPULSE_OUTPUT_TOPICS"] += f",lead.acted={settings['LEADPULSE_NAMESPACE']}.acted"
        self.environ.pop("LEADPULSE_CLOCK")
        self.running: list[tuple[Running, int]] = []
        settings = {name: value for name, value in self.environ.items() if name.startswith("LEADPULSE_")}
        made = leadpulse("topics", "create", env=settings)
        for _ in range(10):  # a broker that has just started is fenced for a moment
            if made.returncode == 0:
                break
            time.sleep(1)
            made = leadpulse("topics", "create", env=settings)
        assert made.returncode == 0, made.stderr

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.environ["LEADPULSE_NAMESPACE"]

    @property
    def partitions(self) -> int:
        """Partitions of each topic."""
        return int(self.environ["LEADPULSE_PARTITIONS"])

    def start(self, *flags: str, **environ: str) -> Running:
        """Start a process."""
        port = free_port()
        env = {**self.environ, "LEADPULSE_METRICS_PORT": str(port), **environ}
        running = Running(["-m", self._module, "act", *flags], env, self.folder)
        self.running.append((running, port))
        return running

    def ready(self, running: Running) -> bool:
        """Return whether each of its partitions is read."""
        port = next(port for one, port in self.running if one is running)
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return bool(json.load(answer)["ready"])
        except OSError:
            return False

    def all_read(self) -> bool:
        """Return whether the processes together read every partition."""
        held: list[int] = []
        for running, port in self.running:
            if running.process.poll() is None:
                try:
                    with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                        held += json.load(answer)["reading"]
                except OSError:
                    return False
        return sorted(held) == list(range(self.partitions))

    def page(self, running: Running, name: str = "metrics") -> str:
        """Return a page of a process."""
        port = next(port for one, port in self.running if one is running)
        with urlopen(f"http://127.0.0.1:{port}/{name}", timeout=30) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        """Kill what still runs."""
        for running, _ in self.running:
            running.__exit__()

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Publisher]:
        """Open a producer of outputs."""
        producer = AIOKafkaProducer(bootstrap_servers=self.environ["LEADPULSE_KAFKA"], acks="all")
        await producer.start()
        try:
            yield Publisher(producer, self.namespace)
        finally:
            await producer.stop()

    async def copy(self) -> list[bytes]:
        """Return a copy of everything that Redis holds of the namespace, as of one moment."""
        async with self.redis() as client:
            held: list[bytes] = await client.eval(COPY, 0, f"{{{self.namespace}:*")
            return held

    async def restore(self, old: list[bytes]) -> None:
        """Put Redis back to the copy *old*, in one moment."""
        async with self.redis() as client:
            await client.eval(RESTORE, 0, f"{{{self.namespace}:*", *old)

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Any]:
        """Open a connection to Redis."""
        client = connect(self.environ["LEADPULSE_REDIS"])
        try:
            yield client
        finally:
            await client.aclose()

    @asynccontextmanager
    async def ledgers(self) -> AsyncIterator[list[RedisLedger]]:
        """Open the ledgers."""
        async with self.redis() as client:
            yield [RedisLedger(client, self.namespace, p) for p in range(self.partitions)]

    async def rows(self) -> list[Row]:
        """Return all acts of the ledgers."""
        async with self.ledgers() as ledgers:
            return [row for ledger in ledgers for row in await ledger.rows()]

    async def listed(self) -> list[dict[str, Any]]:
        """Return what `act list --json` prints."""
        done = await asyncio.to_thread(leadpulse, "act", "list", "--json", env=self.environ)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def acted(self) -> list[dict[str, Any]]:
        """Return the data of each `lead.acted` until now."""
        return [json.loads(value)["data"] for value in await self.values(f"{self.namespace}.acted")]

    async def values(self, topic: str) -> list[bytes]:
        """Return the values of all records of *topic* until now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.environ["LEADPULSE_KAFKA"], isolation_level="read_committed")
        await consumer.start()
        try:
            places = [TopicPartition(topic, p) for p in range(self.partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            found: list[bytes] = []
            for place, end in (await consumer.end_offsets(places)).items():
                while await consumer.position(place) < end:
                    for records in (await consumer.getmany(place, timeout_ms=500)).values():
                        found += [one.value for one in records]
            return found
        finally:
            await consumer.stop()

    async def states(self) -> Counter[str]:
        """Return how many acts stand where."""
        return Counter(row.state for row in await self.rows())


class Publisher:
    """Publishes outputs as the worker does."""

    def __init__(self, producer: AIOKafkaProducer, namespace: str) -> None:
        self._producer = producer
        self._namespace = namespace

    async def output(self, lead: str, seq: int = 1, type_: str = "lead.sql", later_s: float = 0.0, **data: Any) -> str:
        """Publish an output, *later_s* from now by its time, and return its id."""
        now = time.time() + later_s
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        event = {
            "specversion": "1.0", "type": type_, "source": f"/leadpulse/{self._namespace}", "id": f"{lead}:{seq}",
            "subject": lead, "time": at, "sequence": str(seq),
            "data": {"lead_id": lead, "from": "mql", "to": "sql", "score": 80.0, "traits": {}, "reasons": [], **data},
        }  # fmt: skip
        await self._producer.send_and_wait(
            f"{self._namespace}.out", json.dumps(event).encode(), key=lead.encode(), timestamp_ms=int(now * 1000)
        )
        return f"{lead}:{seq}"
