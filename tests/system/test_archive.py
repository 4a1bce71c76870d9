"""Archives of real topics: whatever is killed, stopped or away, each committed record is archived exactly once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.kit.archives import Place, bytes_of, event, places, rows
from tests.kit.online import ready, site, topics
from tests.kit.services import Kafka, adjacent_ports
from tests.kit.shell import Running, leadpulse
from tests.kit.waits import HANG_S
from worker.adapters.kafka_records import committed_records
from worker.adapters.stored_files import files_at
from worker.history.compact import compact
from worker.history.forget import Busy
from worker.ports import LogPartition
from worker.settings import ArchiveSettings

__all__ = ["site", "topics"]

RUN = ["-m", "worker.cli", "archive", "run"]


class Archiving:
    """Topics on a broker, an archive, and the processes that write it."""

    def __init__(self, site: dict[str, str], folder: Path) -> None:
        self.archive = folder / "archive"
        self.archive.mkdir()
        self.folder = folder
        self.env = site | {
            "LEADPULSE_ARCHIVE_TO": str(self.archive),
            "LEADPULSE_ARCHIVE_EVERY": "0.3",
            "LEADPULSE_ARCHIVE_FORGET_EVERY": "0.5",
            "LEADPULSE_SESSION_TIMEOUT": "1.5",
            "LEADPULSE_METRICS_PORT": "0",
        }
        self.settings = ArchiveSettings.load(self.env)
        self.input = self.settings.input_topics[0]
        self.output = self.settings.output_topic("lead.sql")
        self.processes: list[Running] = []

    def start(self, **more: str) -> Running:
        """Start a process."""
        self.processes.append(Running(RUN, self.env | more, self.folder))
        return self.processes[-1]

    def kill(self, running: Running) -> None:
        """Kill a process: it can do nothing more."""
        running.process.send_signal(signal.SIGCONT)
        running.process.kill()
        running.process.wait(HANG_S)
        self.processes.remove(running)

    async def read(self) -> list[Place]:
        """Return the places of all records that a consumer of committed records sees."""
        found: list[Place] = []
        for topic in self.settings.topics:
            for partition in range(2):
                with_topic = LogPartition(topic, partition)
                if topic not in (self.input, self.output, self.settings.internal_topic):
                    continue
                found += [(one.topic, one.partition, one.offset) async for one in committed_records(self.settings, with_topic)]
        return sorted(found)

    def archived(self) -> list[Place]:
        """Return the places of all archived records as readers get them. A file may go while it is read."""
        while True:
            try:
                return places(self.archive)
            except FileNotFoundError:
                continue

    async def up_to_date(self) -> None:
        """Wait until the archive has everything that a consumer reads by now, while more comes."""
        wanted = set(await self.read())
        async with asyncio.timeout(HANG_S):
            while not wanted <= set(await asyncio.to_thread(self.archived)):  # noqa: ASYNC110 (files)
                await asyncio.sleep(0.2)

    async def whole(self) -> None:
        """Wait until the archive has exactly what a consumer reads. Nothing is sent meanwhile."""
        wanted = await self.read()
        async with asyncio.timeout(HANG_S):
            while (found := await asyncio.to_thread(self.archived)) != wanted:
                assert set(found) <= set(wanted)
                assert len(found) == len(set(found))
                await asyncio.sleep(0.2)

    def check(self) -> dict[str, Any]:
        """Return the answer of `archive check`, which must find nothing."""
        done = leadpulse("archive", "check", "--json", env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report


@pytest.fixture
def archiving(topics: dict[str, str], tmp_path: Path) -> Iterator[Archiving]:
    """Return an empty archive of a namespace's topics."""
    made = Archiving(topics, tmp_path)
    yield made
    for running in list(made.processes):
        made.kill(running)


@asynccontextmanager
async def traffic(made: Archiving, seed: int, every_s: float = 0.02) -> AsyncIterator[dict[str, int]]:
    """Send events one by one, and outputs in transactions of which some are aborted, until the block ends."""
    chance, sent = random.Random(seed), {"events": 0, "outputs": 0}

    async def send() -> None:
        plain = AIOKafkaProducer(bootstrap_servers=made.settings.kafka, linger_ms=5)
        ours = AIOKafkaProducer(bootstrap_servers=made.settings.kafka, transactional_id=f"{made.settings.namespace}.test")
        await plain.start()
        await ours.start()
        try:
            while True:
                for _ in range(chance.randrange(1, 20)):
                    one = event(sent["events"], f"lead-{chance.randrange(50)}")
                    await plain.send(made.input, one.value, one.key, headers=list(one.headers))
                    sent["events"] += 1
                await ours.begin_transaction()
                for _ in range(chance.randrange(1, 5)):
                    one = event(sent["outputs"], f"lead-{chance.randrange(50)}", type="lead.sql", source="/leadpulse/x")
                    await ours.send(made.output, one.value, one.key)
                    sent["outputs"] += 1
                await (ours.abort_transaction() if chance.random() < 0.3 else ours.commit_transaction())
                await asyncio.sleep(every_s)
        finally:
            await plain.stop()
            await ours.stop()

    task = asyncio.create_task(send())
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.wait([task])


async def grows(made: Archiving, least: int = 1) -> None:
    """Wait until the archive has got more files."""
    before = set(made.archive.rglob("*.parquet"))
    async with asyncio.timeout(HANG_S):
        while len(set(made.archive.rglob("*.parquet")) - before) < least:
            assert all(one.process.poll() is None for one in made.processes), [one.words for one in made.processes]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_rebalances_stops_and_merges_lose_and_double_nothing(archiving: Archiving, seed: int) -> None:
    """Two processes at most, killed at random, one stopped past its session, while files are merged."""
    chance = random.Random(seed)
    archiving.start()
    async with traffic(archiving, seed) as sent:
        await grows(archiving)
        for act in ["join", "kill", "merge", "join", "stop", "kill", "join", "merge", "kill", "join"]:
            if act == "join":
                archiving.start()
            elif act == "kill":
                archiving.kill(chance.choice(archiving.processes))
                if not archiving.processes:
                    archiving.start()
            elif act == "merge":
                await asyncio.to_thread(merge, archiving.archive)
            else:
                stopped = archiving.processes[0]
                stopped.process.send_signal(signal.SIGSTOP)
                await grows(archiving, 2)
                stopped.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(chance.random())
            await grows(archiving, 2)
    assert min(sent.values()) > 100
    await archiving.whole()
    for running in archiving.processes:
        assert running.end() == 0, running.words
    await asyncio.to_thread(merge, archiving.archive)
    await archiving.whole()
    report = archiving.check()
    assert sum(one["records"] for one in report["partitions"]) == sum(one["in_kafka"] for one in report["partitions"])
    assert all(one["waits"] <= 6 for one in report["partitions"])  # the log may end with an aborted transaction


def merge(archive: Path) -> None:
    """Merge files, unless another merge is at it."""
    try:
        compact(files_at(str(archive)))
    except Busy:
        return


async def test_sigterm_writes_what_was_read(archiving: Archiving) -> None:
    """Within its time, and with exit code 0. The next process reads nothing twice."""
    running = archiving.start(LEADPULSE_ARCHIVE_EVERY="86400")
    async with traffic(archiving, 3) as sent:
        async with asyncio.timeout(HANG_S):
            while sent["events"] < 300 or "archive.takes" not in running.words:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    assert not list(archiving.archive.rglob("*.parquet"))
    assert running.end() == 0
    archiving.processes.remove(running)
    assert places(archiving.archive) == await archiving.read()
    archiving.start()
    async with traffic(archiving, 4):
        await grows(archiving, 2)
    await archiving.whole()
    assert len(rows(archiving.archive)) == len(archiving.archived())


async def test_a_broker_that_goes_and_comes_back(own_kafka: Kafka, namespace: str, tmp_path: Path) -> None:
    """The program joins again by itself."""
    env = {
        "LEADPULSE_KAFKA": own_kafka.address,
        "LEADPULSE_NAMESPACE": namespace,
        "LEADPULSE_PARTITIONS": "2",
        "LEADPULSE_INPUT_TOPICS": f"{namespace}.in",
        "LEADPULSE_OUTPUT_TOPICS": f"lead.sql={namespace}.out",
        "LEADPULSE_DEVELOPMENT": "true",
    }
    assert leadpulse("topics", "create", env=env).returncode == 0
    made = Archiving(env, tmp_path)
    made.env["LEADPULSE_SESSION_TIMEOUT"] = "6"
    made.settings = ArchiveSettings.load(made.env)
    running = made.start()
    try:
        async with traffic(made, 5):
            await grows(made, 2)
        own_kafka.kill()
        async with asyncio.timeout(HANG_S):
            while "archive.joins_again" not in running.words and "archive.waits_for_kafka" not in running.words:
                assert running.process.poll() is None, running.words
                await asyncio.sleep(0.2)
        own_kafka.start()
        async with traffic(made, 6):
            await grows(made, 2)
        await made.whole()
        made.check()
    finally:
        made.kill(running)


async def test_an_erased_person_leaves_every_file(archiving: Archiving, topics: dict[str, str], tmp_path: Path) -> None:
    """All ids of the person, and the address: events, outputs and journal of a real worker, by `leadpulse erase`."""
    port = adjacent_ports()
    site = topics | {"LEADPULSE_METRICS_PORT": str(port), "LEADPULSE_CLOCK": "wall", "LEADPULSE_TICK_INTERVAL": "0.5"}
    first, second = archiving.start(), archiving.start()
    names = [b"anna-0815-known", b"v-visitor-42", b"anna.unique@example.com"]
    with Running(["-m", "worker.cli", "run"], site, tmp_path) as worker:
        await asyncio.to_thread(worker.until, lambda: ready(site))
        events = [
            event(0, "v-visitor-42", data={"url": "/pricing"}),
            event(1, "anna-0815-known", type="profile.updated", data={"traits": {"email": "anna.unique@example.com"}}),
            event(2, "anna-0815-known", type="lead.identified", data={"anonymous_id": "v-visitor-42"}),
            event(3, "v-visitor-42", data={"url": "/pricing"}),
            event(4, "ben-4711-other", type="crm.lost", data={"reason": "ask anna.unique@example.com"}),
        ]
        producer = AIOKafkaProducer(bootstrap_servers=archiving.settings.kafka)
        await producer.start()
        for one in events:
            held = json.loads(one.value or b"")
            await producer.send_and_wait(archiving.input, json.dumps(held).encode(), one.key)
        await producer.stop()
        await archiving.up_to_date()
        before = bytes_of(archiving.archive)
        assert all(name in before for name in names)
        done = await asyncio.to_thread(leadpulse, "erase", "v-visitor-42", "--yes", env=site)
        assert done.returncode == 0, done.stderr
        async with asyncio.timeout(HANG_S):
            while any(name in bytes_of(archiving.archive) for name in names):  # noqa: ASYNC110
                await asyncio.sleep(0.3)
        assert worker.end() == 0
    await archiving.whole()
    await asyncio.sleep(1.5)
    held = bytes_of(archiving.archive)
    assert [name for name in names if name in held] == []
    assert b"ben-4711-other" in held
    for running in (first, second):
        assert running.end() == 0, running.words
    archiving.check()
