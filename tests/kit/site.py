"""A site: topics and keys of its own on the test run's servers, with its workers."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from tests.kit.grids import GRID
from tests.kit.shell import leadpulse
from tests.kit.site_kafka import NamespaceInKafka
from tests.kit.site_redis import NamespaceInRedis
from tests.kit.traffic import Message, Sent
from tests.kit.verdict import Verdict
from tests.kit.waits import HANG_S
from tests.kit.workers import Worker
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_topics import create_topics
from worker.core.contract.journal import Cut
from worker.core.contract.model import Record
from worker.core.contract.partitioner import owner
from worker.core.grid import tables
from worker.core.grid.models import parse_grid
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring import compiled_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import STAGES, unpack
from worker.ports import LISTED
from worker.settings import OUTPUT_TYPES, Settings

ROOT = Path(__file__).parents[2]


class Site(NamespaceInRedis, NamespaceInKafka):
    """One namespace on the test run's servers, with topics that no other test has."""

    def __init__(self, kafka: str, redis: str, namespace: str, folder: Path, **settings: Any) -> None:
        grid = folder / f"{namespace}.yaml"
        given: dict[str, Any] = {
            "kafka": kafka,
            "redis": redis,
            "grid": str(grid),
            "namespace": namespace,
            "input_topics": f"{namespace}.web,{namespace}.crm",
            "output_topics": ",".join(f"{kind}={namespace}.{kind}" for kind in OUTPUT_TYPES),
            "partitions": 2,
            "clock": "events",
            "tick_interval": 0.3,
            "publish_interval": 0.05,
            "session_timeout": 2,
            **settings,
        }
        self.environ = {f"LEADPULSE_{name.upper()}": str(value) for name, value in given.items()}
        super().__init__(Settings.load(self.environ))
        self.listed = int(given.get("listed", LISTED))
        """How many leads a batch of its workers makes due after the grid changed."""
        self.web, self.crm = f"{namespace}.web", f"{namespace}.crm"
        self.folder = folder
        self.scorers: dict[str, CompiledGrid] = {}
        """By the grid's sha256."""
        self.zones: dict[str, Path] = {}
        """Other `tzdata` packages, by the tables that cuts name."""
        self.grid_file = grid
        self.put_grid(GRID)
        self.workers: list[Worker] = []
        self.also: list[Site] = []
        """Other namespaces on its topics, to be closed with it."""
        self.made_again: list[Record] = []
        """Records of input topics that were deleted and made again since, while no worker ran."""
        self.topics_before: set[str] = set()
        """Input topics that are none any more."""

    def put_grid(self, text: str) -> None:
        """Write *text* as the grid that workers load from now on."""
        self.grid_file.write_text(text)
        self.know_grid(text)

    def know_grid(self, text: str) -> None:
        """Let `verdict` judge by the grid *text* where cuts name it."""
        grid = parse_grid(text, str(self.grid_file))
        self.scorers[grid.sha256] = CompiledGrid(grid, self.settings.source)

    def other_zones(self, name: str) -> Path:
        """Return the folder of another `tzdata` package, for `worker(zones=…)`: Paris has the time of Tokyo in it."""
        folder = self.folder / name
        shutil.copytree(str(files("tzdata")), folder)
        shutil.copy(folder / "zoneinfo" / "Asia" / "Tokyo", folder / "zoneinfo" / "Europe" / "Paris")
        self.zones[f"{TABLES_VERSION}+{name}"] = folder
        return folder

    def scorer_of(self, cut: Cut) -> CompiledGrid:
        """Return the grid that judged *cut*, with the tables of the worker that folded it."""
        if cut.words not in self.zones:
            return self.scorers[cut.grid]
        found = self.scorers.get(cut.grid + cut.words)
        if found is None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tables, "_TZDATA", self.zones[cut.words])
                patch.setattr(compiled_grid, "TABLES_VERSION", cut.words)
                tables.zone.cache_clear()
                found = self.scorers[cut.grid + cut.words] = CompiledGrid(self.scorers[cut.grid].grid, self.settings.source)
            tables.zone.cache_clear()
        return found

    def change_inputs(self, *topics: str) -> None:
        """Let workers that start from now on read *topics*."""
        self.topics_before |= set(self.settings.input_topics)
        self.environ["LEADPULSE_INPUT_TOPICS"] = ",".join(topics)
        self.settings = Settings.load(self.environ)

    def allow_inputs(self) -> dict[str, str]:
        """Say by `leadpulse topics change` that the inputs are others from now on; return what it says."""
        done = self.command("topics", "change")
        assert done.returncode == 0, done.stderr
        told: dict[str, str] = json.loads(done.stdout)
        return told

    async def prepare(self) -> None:
        """Make the topics."""
        async with Admin(self.settings) as admin:
            await create_topics(admin, self.settings)

    def worker(self, failpoint: str = "", **settings: Any) -> Worker:
        """Start a worker process, to die at *failpoint* if one is named."""
        worker = Worker(self, failpoint, settings)
        self.workers.append(worker)
        return worker

    def command(self, *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of leadpulse with the site's settings, and others."""
        return leadpulse(*words, env=self.environ | {f"LEADPULSE_{name.upper()}": str(held) for name, held in settings.items()})

    async def send(self, messages: Iterable[Sent], *, commit: bool | None = None) -> None:
        """Produce *messages*; in a transaction when *commit* says whether it is committed or aborted."""
        extra = {} if commit is None else {"transactional_id": f"{self.settings.namespace}.test"}
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka, max_request_size=4_000_000, linger_ms=5, **extra)
        try:
            await producer.start()
            if commit is not None:
                await producer.begin_transaction()
            deliveries = [
                await producer.send(m.topic, m.value, m.key, m.partition, m.timestamp_ms, list(m.headers)) for m in messages
            ]
            await asyncio.gather(*deliveries)
            if commit is not None:
                await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    def sent(self, message: Message, *, topic: str | None = None, crc: bool = False) -> Sent:
        """Return *message* as its producer writes it: by murmur2, or by CRC32 as librdkafka's clients do."""
        lead = message["subject"]
        count = self.settings.partitions
        place = zlib.crc32(lead.encode()) % count if crc else owner(lead, count)
        home = self.crm if message["type"].startswith(("crm.", "profile.")) else self.web
        return Sent(topic or home, place, json.dumps(message).encode(), lead.encode())

    async def settled(self, timeout_s: float = HANG_S, expect_batches: bool = True) -> None:
        """Wait until every input is read to its end, and everything applied is published."""
        deadline = time.monotonic() + timeout_s
        said = ""
        async with self.consumer() as consumer:
            while time.monotonic() < deadline:
                said = await self._unsettled(consumer)
                if not said:
                    return
                await asyncio.sleep(0.1)
        raise AssertionError(f"not settled after {timeout_s:g} s: {said}\n{self.logs()}")

    async def _unsettled(self, consumer: AIOKafkaConsumer) -> str:
        tps = [TopicPartition(topic, p) for topic in self.settings.input_topics for p in range(self.settings.partitions)]
        ends = await consumer.end_offsets(tps)
        for p in range(self.settings.partitions):
            position = await self.position(p)
            for topic in self.settings.input_topics:
                end = ends[TopicPartition(topic, p)]
                at = int(position.get(f"next:{topic}", 0))
                if at < end:
                    return f"{topic}[{p}] at {at} of {end}"
            if position.get("batch", "0") != position.get("published", "0"):
                return f"partition {p} published {position.get('published')} of {position.get('batch')}"
            journal = TopicPartition(self.settings.internal_topic, p)
            strays = [r for r in await self.read([journal]) if r.headers[0][1] in (b"stray", b"alias", b"message")]
            if strays and int(position.get(f"next:{journal.topic}", 0)) <= strays[-1].offset:
                return f"a stray waits in the journal of {p}"
        return ""

    async def cooled_more(self, timeout_s: float = HANG_S) -> None:
        """Wait until time alone has cooled another lead."""
        deadline = time.monotonic() + timeout_s
        before = await self._cooled()
        while await self._cooled() == before:
            assert time.monotonic() < deadline, f"nobody cooled in {timeout_s:g} s\n{self.logs()}"
            await asyncio.sleep(0.3)

    async def _cooled(self) -> int:
        topic = self.settings.output_topic("lead.cooled")
        return len(await self.read([TopicPartition(topic, p) for p in range(self.settings.partitions)]))

    async def _hold_counts(self, states: Mapping[str, bytes]) -> None:
        """Compare the counts of leads by stage with the leads."""
        told: Counter[str] = Counter()
        for p in range(self.settings.partitions):
            position = await self.position(p)
            told += Counter({name[6:]: int(held) for name, held in position.items() if name.startswith("leads:")})
        alive = (state for packed in states.values() if (state := unpack(packed)).alive)
        counted = Counter(STAGES[state.stage] for state in alive)
        assert told == counted, f"leads by stage: {dict(told)} are told, {dict(counted)} held"

    def logs(self) -> str:
        """Return what the workers said."""
        return "\n".join(f"--- worker {n} (exit {w.process.poll()})\n{w.said()}" for n, w in enumerate(self.workers))

    async def verdict(self) -> Verdict:
        """Fold the recorded log in the journal's order, single-threaded, and hold Redis and the outputs to it."""
        verdict = Verdict(self)
        for p in range(self.settings.partitions):
            tps = [TopicPartition(topic, p) for topic in sorted({*self.settings.topics, *self.topics_before})]
            verdict.fold(p, await self.read(tps))
        states = await self.states()
        verdict.hold_states(states)
        await self._hold_counts(states)
        verdict.hold_passed_on()
        verdict.hold_outputs(await self.outputs())
        return verdict

    def close(self) -> None:
        """End every worker that still runs."""
        for worker in self.workers:
            worker.kill()
        for site in self.also:
            site.close()


class MakeSite(Protocol):
    """Makes a prepared site; keywords are settings."""

    async def __call__(self, **settings: Any) -> Site:
        """Return one whose topics exist."""
        ...
