"""Collector processes on a real broker, senders that repeat until they hear 200, and what Kafka holds in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from ops.dev.kafka_broker import create_topics
from tests.kit.services import free_port
from tests.kit.shell import ROOT
from tests.kit.signing import SendGridKey, hubspot
from tests.kit.waits import HANG_S, until
from worker.adapters.redis_client import connect
from worker.adapters.redis_inbound import LOOKUPS
from worker.core.contract.event_types import INPUT_TOPICS

PARTITIONS = 4
INBOUND = ("lead.inbound", "lead.inbound.dead")
EVENTS = tuple(INPUT_TOPICS.values())


class CollectorProcess:
    """One `leadpulse collect`."""

    def __init__(self, park: Park, only: str, port: int, environ: Mapping[str, str]) -> None:
        self.port = port
        self.metrics_port = free_port()
        self._environ = {
            **os.environ,
            **park.environ,
            "LEADPULSE_COLLECT_ONLY": only,
            "LEADPULSE_COLLECT_PORT": str(port),
            "LEADPULSE_METRICS_PORT": str(self.metrics_port),
            **environ,
        }
        self.log = park.folder / f"collector-{only}-{port}.log"
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self._began = len(self.log.read_text(errors="replace")) if self.log.exists() else 0
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "collect"], cwd=ROOT, env=self._environ, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again, on the same port."""
        self.process = self._started()

    def end(self) -> int:
        """End it by SIGTERM, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    async def ready(self) -> None:
        """Wait until a balancer would send to it."""
        async with aiohttp.ClientSession() as session:
            deadline = time.monotonic() + HANG_S
            while time.monotonic() < deadline:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                assert self.process.poll() is None, self.said()
                await asyncio.sleep(0.1)
        raise AssertionError(self.said())

    async def ready_by_log(self) -> None:
        """Wait until a mapper says that it has all partitions, in the life that it has now."""
        deadline = time.monotonic() + HANG_S
        while self.log.read_text(errors="replace")[self._began :].count("mapping from offset") < PARTITIONS:
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            await asyncio.sleep(0.1)

    async def within(self, seconds: str) -> tuple[float, float]:
        """Return how many webhooks it answered within *seconds*, a bucket of its histogram, and how many in all."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        start = 'leadpulse_collect_request_seconds_bucket{endpoint="inbound",le="'
        held = {
            line[len(start) :].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(start)
        }
        return held[seconds], held["+Inf"]

    def memory_mb(self, what: str = "VmHWM") -> float:
        """Return the most memory that it has held until now, or another line of its `/proc/PID/status`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)[0]) / 1024

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-4_000:]


class Park:
    """A broker with the collector's topics, collectors on it, and one source, `mailer`."""

    def __init__(self, kafka: str, redis: str, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.key = SendGridKey()
        self.collectors: list[CollectorProcess] = []
        file = folder / "connections.yaml"
        file.write_text('tokens: ["${TOKEN}"]\nsources:\n  mailer: {vendor: sendgrid, secrets: ["${KEY}"]}\n')
        self.environ = {
            "LEADPULSE_KAFKA": kafka,
            "LEADPULSE_REDIS": redis,
            "LEADPULSE_CONNECTIONS": str(file),
            "LEADPULSE_SESSION_TIMEOUT": "2",
            "KEY": self.key.public,
            "TOKEN": "t0ken",
        }

    async def prepare(self) -> None:
        """Create the topics, in place of those of a test before."""
        topics = {*INBOUND, *EVENTS}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:

            async def old() -> set[str]:
                return topics & set(await admin.list_topics())

            async def gone() -> bool:
                return not await old()

            if found := await old():
                await admin.delete_topics(list(found))
                await until(gone, "topics deleted")
        finally:
            await admin.close()
        await create_topics(self.kafka, [*INBOUND, *EVENTS], PARTITIONS, {"max.message.bytes": "2097152"})

    def collector(self, only: str = "all", **environ: str) -> CollectorProcess:
        """Start a collector."""
        made = CollectorProcess(self, only, free_port(), environ)
        self.collectors.append(made)
        return made

    def close(self) -> None:
        """End the collectors."""
        for one in self.collectors:
            if one.process.poll() is None:
                one.kill()

    def signed(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        """Return a webhook of SendGrid's, signed now."""
        signed = self.key.sign(int(time.time()) * 1000, body)
        return signed.body, signed.headers

    async def read(self, topics: Iterable[str]) -> list[Any]:
        """Return the committed records of *topics*."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            records: list[Any] = []
            deadline = time.monotonic() + HANG_S
            while True:
                left = [tp for tp in tps if await consumer.position(tp) < ends[tp]]
                if not left:
                    return records
                assert time.monotonic() < deadline, f"could not read {left}"
                for part in (await consumer.getmany(*left, timeout_ms=500)).values():
                    records += part
        finally:
            await consumer.stop()

    def configure(self, connections: str) -> None:
        """Write the file of connections that collectors read from now on."""
        Path(self.environ["LEADPULSE_CONNECTIONS"]).write_text(connections)

    async def drained(self) -> None:
        """Wait until the mappers have read every webhook, and no look-up waits."""
        redis = connect(self.environ["LEADPULSE_REDIS"], timeout_s=HANG_S, connect_timeout_s=HANG_S)
        try:
            await until(lambda: self._is_drained(redis), "all webhooks mapped")
        finally:
            await redis.aclose()

    async def _is_drained(self, redis: Any) -> bool:
        tps = [TopicPartition("lead.inbound", p) for p in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, group_id="leadpulse.inbound", enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(tps)
            # In this order: a look-up waits before its webhook is committed, and its answer is there before it is done.
            read = {tp: await consumer.committed(tp) or 0 for tp in tps}
            return not await redis.zcard(LOOKUPS) and read == await consumer.end_offsets(tps)
        finally:
            await consumer.stop()

    async def ids(self) -> Counter[str]:
        """Return how often the id of each event is in the input topics."""
        return Counter(json.loads(record.value)["id"] for record in await self.read(EVENTS))

    async def happened(self) -> Counter[tuple[str, str]]:
        """Return how often each type of event of each lead is in the input topics."""
        found = (json.loads(record.value) for record in await self.read(EVENTS))
        return Counter((event["type"], event["subject"]) for event in found)

    async def mapped(self, expected: Iterable[str]) -> Counter[str]:
        """Wait until all *expected* ids are there; return how often each is."""
        wanted, deadline = set(expected), time.monotonic() + 60
        while True:
            found = await self.ids()
            missing = wanted - set(found)
            if not missing:
                return found
            logs = "\n".join(one.said() for one in self.collectors)
            assert time.monotonic() < deadline, f"{len(missing)} are missing, such as {sorted(missing)[:3]}\n{logs}"
            await asyncio.sleep(0.5)


def opened(number: int, at: int) -> dict[str, Any]:
    """Return an event of SendGrid's."""
    event = {"event": "open", "email": f"p{number}@x.example", "timestamp": at, "sg_event_id": f"e{number}"}
    return event | {"sg_message_id": f"m{number}.1"}


def id_of(number: int) -> str:
    """Return the id of event *number* in Kafka."""
    return f"e{number}:email.opened"


class Sender:
    """A vendor: it sends each webhook again until it hears 200, with the same ids."""

    source = "mailer"
    again_s = 0.05
    """When it sends again. `Retry-After` says 5 s, and a hurried sender shows more in less time."""

    def __init__(self, park: Park, port: int) -> None:
        self.park = park
        self._address = f"http://127.0.0.1:{port}/in/{self.source}"
        self.answered: set[int] = set()
        self.statuses: Counter[int] = Counter()
        """How often each status came; 0: no answer."""
        self.slowest_s = 0.0

    def raw(self, numbers: Iterable[int]) -> bytes:
        """Return a webhook with an event for each of *numbers*."""
        return json.dumps([opened(number, 1_790_000_000) for number in numbers]).encode() + b"\r\n"

    def request(self, raw: bytes) -> tuple[bytes, dict[str, str]]:
        """Return *raw* as the vendor sends it, signed now."""
        return self.park.signed(raw)

    def expected(self) -> set[tuple[str, str]]:
        """Return type and lead of each event whose webhook was answered with 200."""
        return {("email.opened", f"email:p{number}@x.example") for number in self.answered}

    async def send(self, session: aiohttp.ClientSession, numbers: list[int], *, stop: asyncio.Event | None = None) -> None:
        """Send one webhook with an event for each of *numbers*, until it is answered with 200, or until *stop*."""
        await self.send_raw(session, self.raw(numbers), numbers, stop)

    async def send_raw(
        self, session: aiohttp.ClientSession, raw: bytes, numbers: Iterable[int], stop: asyncio.Event | None = None
    ) -> None:
        """Send *raw* until it is answered with 200, or until *stop*."""
        while stop is None or not stop.is_set():
            body, headers = self.request(raw)
            began = time.monotonic()
            try:
                async with session.post(self._address, data=body, headers=headers) as answer:
                    self.statuses[answer.status] += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    if answer.status == 200:
                        self.answered.update(numbers)
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.statuses[0] += 1
            await asyncio.sleep(self.again_s)

    async def load(self, numbers: Iterable[int], senders: int, stop: asyncio.Event, pause_s: float = 0.0) -> None:
        """Send webhooks of one event each, *senders* at a time, until *stop*. Each sender rests *pause_s* between two."""
        source = iter(numbers)

        async def one(session: aiohttp.ClientSession) -> None:
            while not stop.is_set():
                await self.send(session, [next(source)], stop=stop)
                await asyncio.sleep(pause_s)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(one(session) for _ in range(senders)))


class DealSender(Sender):
    """HubSpot: it tells that a deal was won, and its API tells whose it is."""

    source = "crm"
    secret = "s3cret-of-the-crm"

    def raw(self, numbers: Iterable[int]) -> bytes:
        """Return a webhook about the deals with these numbers."""
        held = {"subscriptionId": 25, "occurredAt": 1_790_000_000_000, "subscriptionType": "deal.propertyChange"}
        held |= {"propertyName": "dealstage", "propertyValue": "closedwon", "changeSource": "CRM_UI"}
        return json.dumps([held | {"eventId": number, "objectId": number} for number in numbers]).encode()

    def request(self, raw: bytes) -> tuple[bytes, dict[str, str]]:
        """Return *raw* as HubSpot sends it, signed now."""
        signed = hubspot(self.secret, time.time_ns() // 1_000_000, "/in/crm", raw)
        return signed.body, signed.headers

    def expected(self) -> set[tuple[str, str]]:
        """Return type and lead of each event whose webhook was answered with 200."""
        return {("crm.won", f"c{number}") for number in self.answered}


def whose_deal(path: str) -> dict[str, Any] | None:
    """Return what HubSpot's API answers about a deal: its contact; `None`, which is no answer, for some of the calls."""
    number = path.rpartition("/")[2]
    links = {"contacts": {"results": [{"id": f"c{number}"}]}}
    return None if random.random() < 0.1 else {"properties": {}, "associations": links}


@contextlib.asynccontextmanager
async def park_of(kafka: str, redis: str, folder: Path) -> AsyncIterator[Park]:
    """Prepare a park, and end its collectors."""
    park = Park(kafka, redis, folder)
    await park.prepare()
    try:
        yield park
    finally:
        park.close()
