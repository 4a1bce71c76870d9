"""What the system tests are made of: a site (topics and keys of its own), traffic, workers, and the oracle's verdict."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import GroupIdNotFound, KafkaConnectionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.cli.shell import leadpulse
from tests.forks import Files, Forked, Process
from tests.waits import HANG_S
from worker.adapters.checkpoint_files import files_at
from worker.adapters.fetched import Checks
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import to_record
from worker.adapters.kafka_topics import create_topics
from worker.adapters.redis_client import connect
from worker.adapters.redis_scan import is_piece, lead_fields
from worker.adapters.redis_store import RedisStore
from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.journal import Cut, Cuts, OwnerMessage, Stray, decode_entry, message_output, stray_output
from worker.core.contract.model import Event, Item, Record, Rejected, Unread
from worker.core.contract.partitioner import owner
from worker.core.contract.trace_context import context
from worker.core.contract.unread import as_passed
from worker.core.grid import tables
from worker.core.grid.models import parse_grid
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring import compiled_grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import STAGES, unpack
from worker.engine.batch_builder import traced
from worker.engine.kept import kept
from worker.ports import LISTED
from worker.settings import OUTPUT_TYPES, Settings

ROOT = Path(__file__).parents[2]

GRID = """\
grid: system-test
version: 1
timezone: UTC
pages: {pricing: ["/pricing*"]}
fit:
  rules:
    - {id: business-email, points: 5, where: {email_kind: business}}
engagement:
  min: -50
  max: 80
  half_life: 5s
  rules:
    - {id: pricing-page, points: 8, on: page.viewed, where: {page_type: pricing}, intent: true}
    - {id: form, points: 15, on: form.submitted, cap: 30}
    - {id: email-open, points: 1, on: email.opened, once_per: message_id, cap: 5}
    - {id: no-show, points: -10, on: [webinar.no_show, crm.no_show]}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {2: 5}}
exclusions:
  - {id: unsubscribed, on: [email.unsubscribed]}
stages:
  mql: {enter: 15, leave: 10}
  sql: {enter: 30, leave: 20, intent_within: 30d, sla: 3s}
grades: {fit: {A: 5, B: 0}, engagement: {1: 20, 2: 0}}
"""

# A key that came between a scan and a copy would be missing from it, or would outlive what was put in its place.
COPY = """\
local held = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  held[#held + 1] = key
  held[#held + 1] = redis.call('DUMP', key)
end
return held
"""
RESTORE = """\
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
for n = 2, #ARGV, 2 do redis.call('RESTORE', ARGV[n], 0, ARGV[n + 1]) end
"""

Message = dict[str, Any]


class Sent(NamedTuple):
    """One record to produce."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    """`None`: now."""


class Site:
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
        self.settings = Settings.load(self.environ)
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
        self.gone: list[Record] = []
        """Records that were in Kafka once, and that `read` still returns: retention or an operator deleted them."""
        self.deleted: list[Record] = []
        """The same, of a topic that Kafka thinned out: all that was read of it, gone or not."""
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

    async def position(self, partition: int) -> dict[str, str]:
        """Return the position of *partition*, as Redis holds it."""
        async with self.redis() as redis:
            held: dict[Any, Any] = await redis.hgetall(self.key(partition, "position"))
        return {name.decode(): value.decode() for name, value in held.items()}

    def key(self, partition: int, name: str) -> str:
        """Return the Redis key *name* of *partition*."""
        return f"{{{self.settings.namespace}:{partition}}}:{name}"

    def redis(self) -> Any:
        """Return a client of this site's Redis, alone or a cluster."""
        return connect(self.settings.redis.get_secret_value())

    @contextlib.asynccontextmanager
    async def consumer(self, isolation: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
        """Yield a consumer outside of any group."""
        consumer = await self._connected(isolation)
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _connected(self, isolation: str) -> AIOKafkaConsumer:
        """Return a consumer, once there is a broker: one that was just killed may be away for seconds."""
        deadline = time.monotonic() + HANG_S
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.settings.kafka,
                group_id=None,
                isolation_level=isolation,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                max_partition_fetch_bytes=4_000_000,
                check_crcs=Checks(crcs=True, most=self.settings.max_unpacked),
            )
            try:
                await consumer.start()
            except KafkaConnectionError:
                await consumer.stop()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
            else:
                return consumer

    async def read(self, tps: Sequence[TopicPartition]) -> list[Record]:
        """Return all committed records of *tps*, in order of topic, partition, offset; those of `gone` come first in theirs.

        Those of `deleted` are in their place.
        """
        gone = [r for r in self.gone if TopicPartition(r.topic, r.partition) in tps]
        records: list[Record] = []
        async with self.consumer("read_uncommitted") as consumer:  # a commit is answered before its markers are written
            ends = await consumer.end_offsets(list(tps))
        async with self.consumer() as consumer:
            consumer.assign(list(tps))
            await consumer.seek_to_beginning(*tps)
            while True:
                left = [tp for tp in tps if await consumer.position(tp) < ends[tp]]
                if not left:
                    break
                for raws in (await consumer.getmany(*left, timeout_ms=200)).values():
                    records += map(to_record, raws)
        deleted = {r[:3]: r for r in self.deleted if TopicPartition(r.topic, r.partition) in tps}
        records = [*deleted.values(), *(r for r in records if r[:3] not in deleted)]
        return sorted([*gone, *sorted(records, key=lambda r: r[:3])], key=lambda r: r[:2])

    async def cuts(self, partition: int) -> list[Cut]:
        """Return the cuts in the journal of *partition*, in order."""
        journal = await self.read([TopicPartition(self.settings.internal_topic, partition)])
        return [cut for record in journal for cut in getattr(decode_entry(record), "cuts", ())]

    async def outputs(self) -> list[Record]:
        """Return everything that consumers of the outputs see."""
        async with Admin(self.settings) as admin:
            counts = await admin.partitions(self.settings.outputs)
        return await self.read([TopicPartition(topic, p) for topic, n in counts.items() for p in range(n)])

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

    async def states(self) -> dict[str, bytes]:
        """Return every lead's packed state, as Redis holds it."""
        found: dict[str, bytes] = {}
        async with self.redis() as redis:
            for p in range(self.settings.partitions):
                prefix = self.key(p, "lead:")
                async for key in redis.scan_iter(match=prefix.replace("{", "\\{").replace("[", "\\[") + "*", count=1_000):
                    fields = lead_fields(await redis.hgetall(key))
                    found[key.decode().removeprefix(prefix)] = fields["state"]
        return found

    async def put_state(self, redis: Any, partition: int, lead: str, packed: bytes) -> None:
        """Put *packed* in the place of a lead's state, and leave all else of it alone."""
        key = self.key(partition, f"lead:{lead}")
        held: dict[bytes, bytes] = await redis.hgetall(key)
        pieces = [name for name in held if is_piece(name)]
        if pieces:
            await redis.hdel(key, *pieces)
        await redis.hset(key, "state", packed)

    async def copy(self) -> dict[bytes, bytes]:
        """Return a copy of everything that Redis holds of the namespace, as of one moment."""
        async with self.redis() as redis:
            held: list[bytes] = await redis.eval(COPY, 0, f"{{{self.settings.namespace}:*")
        return dict(zip(held[::2], held[1::2], strict=True))

    async def restore(self, old: dict[bytes, bytes]) -> None:
        """Put Redis back to the copy *old*, in one moment."""
        async with self.redis() as redis:
            await redis.eval(RESTORE, 0, f"{{{self.settings.namespace}:*", *itertools.chain.from_iterable(old.items()))

    async def forget_offsets(self, timeout_s: float = HANG_S) -> None:
        """Delete the workers' group with its offsets, once it is empty. Kafka itself does so after some days."""
        group = self.settings.group
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka)
        deadline = time.monotonic() + timeout_s
        try:
            await client.start()
            while True:
                coordinator = await client.find_coordinator(group)
                response: Any = await client._send_request(DeleteGroupsRequest([group]), coordinator)
                code = response.results[0][1]
                if code in (0, GroupIdNotFound.errno):
                    return
                assert time.monotonic() < deadline, f"group {group} cannot be deleted: {for_code(code)}"
                await asyncio.sleep(0.2)
        finally:
            await client.close()

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit *offsets* under the workers' group, which must be empty, as another program may."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka, group_id=self.settings.group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            consumer.assign(list(offsets))
            await consumer.commit(dict(offsets))
        finally:
            await consumer.stop()

    async def _hold_counts(self, states: Mapping[str, bytes]) -> None:
        """Compare the counts of leads by stage with the leads."""
        told: Counter[str] = Counter()
        for p in range(self.settings.partitions):
            position = await self.position(p)
            told += Counter({name[6:]: int(held) for name, held in position.items() if name.startswith("leads:")})
        alive = (state for packed in states.values() if (state := unpack(packed)).alive)
        counted = Counter(STAGES[state.stage] for state in alive)
        assert told == counted, f"leads by stage: {dict(told)} are told, {dict(counted)} held"

    async def allow_rebuild(self) -> None:
        """Say what `leadpulse rebuild` says of every partition."""
        client = connect(self.settings.redis.get_secret_value())
        for p in range(self.settings.partitions):
            await RedisStore(client, self.settings.namespace, p).allow_rebuild()
        await client.aclose()

    async def forget_log_before_checkpoints(self, folder: Path) -> None:
        """Delete what the newest checkpoint of each partition does not need of inputs and journal, as retention would."""
        files = files_at(str(folder))
        needed: dict[TopicPartition, int] = {}
        for p in range(self.settings.partitions):
            manifest = kept(files, self.settings.namespace, p)[0].manifest
            needed |= {TopicPartition(topic, p): offset for topic, offset in manifest.next.items()}
        await self._forget(needed)

    async def forget_log(self) -> None:
        """Delete everything from inputs and journal, as retention would."""
        tps = [TopicPartition(topic, p) for topic in self.settings.topics for p in range(self.settings.partitions)]
        async with self.consumer() as consumer:
            await self._forget(await consumer.end_offsets(tps))

    async def _forget(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets; `read` still returns them."""
        self.gone += [r for r in await self.read(list(before)) if r.offset < before[TopicPartition(r.topic, r.partition)]]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka)
        await admin.start()
        try:
            await admin.delete_records({tp: RecordsToDelete(offset) for tp, offset in before.items() if offset})
        finally:
            await admin.close()

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
        leads = states.keys() | verdict.states.keys()
        differ = sorted(lead for lead in leads if states.get(lead) != verdict.states.get(lead))
        if differ:
            shown = "\n".join(
                f"{lead}\n  held:   {_readable(states.get(lead))}\n  folded: {_readable(verdict.states.get(lead))}"
                for lead in differ[:5]
            )
            said = f"{len(differ)} of {len(leads)} states differ: {differ[:5]}\n{shown}\n{self.logs()}"
            raise Wrong(said, states=len(differ))
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


class Worker:
    """A worker process."""

    program: tuple[str, ...] = ("tests.system.worker",)
    home: Path = ROOT
    """Where the program is: here, or in a folder with another form of it."""

    def __init__(self, site: Site, failpoint: str, settings: Mapping[str, Any], **besides: str) -> None:
        self.log = site.folder / f"worker-{len(site.workers)}.log"
        environ = {**os.environ, **site.environ, "LEADPULSE_FAILPOINT": failpoint}
        environ |= {f"LEADPULSE_{name.upper()}": str(value) for name, value in settings.items()}
        environ |= besides
        self.log.write_bytes(b"")  # a soak gives the name again, and a forked worker appends
        self.process: Process
        if (self.program, self.home) == (Worker.program, ROOT):
            self.process = Forked(self.program[0], environ=environ, files=Files(self.log, self.log))
            return
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.program], cwd=self.home, env=environ, stdout=log, stderr=log
            )

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")[-6_000:]

    async def ready(self, partitions: int, timeout_s: float = HANG_S) -> None:
        """Wait until it took over *partitions* partitions."""
        await self.says("ready at batch", partitions, timeout_s)

    async def says(self, words: str, times: int = 1, timeout_s: float = HANG_S) -> None:
        """Wait until its log holds *words* so often."""
        deadline = time.monotonic() + timeout_s
        while self.log.read_text(errors="replace").count(words) < times:
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"worker did not say {words!r} {times} times:\n{self.said()}"
            await asyncio.sleep(0.05)

    async def frozen(self, timeout_s: float = HANG_S) -> None:
        """Wait until it is stopped (SIGSTOP), by itself or by us."""
        deadline = time.monotonic() + timeout_s
        while not self._is_stopped():
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"worker did not freeze:\n{self.said()}"
            await asyncio.sleep(0.05)

    def _is_stopped(self) -> bool:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    async def ended(self, timeout_s: float = HANG_S) -> int:
        """Wait for its end; return the exit code."""
        try:
            return await asyncio.to_thread(self.process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # its program then says where its tasks are
            await asyncio.to_thread(self.process.wait, HANG_S)
            raise AssertionError(f"worker did not end within {timeout_s:g} s:\n{self.said()}") from None

    async def stop(self, timeout_s: float = HANG_S) -> None:
        """SIGTERM, once it listens to signals (it says nothing before), and expect a clean end."""
        await self.says("\n")
        self.process.send_signal(signal.SIGTERM)
        code = await self.ended(timeout_s)
        assert code == 0, f"exit {code}:\n{self.said()}"

    async def leave(self, words: str) -> None:
        """SIGTERM, and expect a clean end; or that it has ended by itself, saying *words*, or was about to end so."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        code = await self.ended()
        assert code == 0 or (code in (1, -signal.SIGTERM) and words in self.said()), f"exit {code}:\n{self.said()}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(HANG_S)


class Wrong(AssertionError):
    """What the workers did is not what the core alone makes of the log."""

    def __init__(self, said: str, *, states: int = 0, lost: int = 0, doubled: int = 0) -> None:
        super().__init__(said)
        self.states = states
        """States that differ."""
        self.lost = lost
        """Outputs and dead letters that nobody can see."""
        self.doubled = doubled
        """And those that are seen too often, or should not be seen at all."""


@dataclass(frozen=True)
class Requeue:
    """A change of the grid, after which each batch makes some more leads due."""

    from_ms: int
    rate: int
    listed: int = 0
    last: tuple[float, bytes] = (math.inf, b"\xff")
    """Rank and lead of the last one listed."""

    def onward(self, ranks: Mapping[str, float], due: dict[str, int], count: int) -> Requeue | None:
        """Make the next *count* of *ranks* due in *due*; return what is left to do."""
        below = sorted((place, lead) for lead, rank in ranks.items() if (place := (rank, lead.encode())) < self.last)
        some = below[-count:][::-1]
        for number, (_, lead) in enumerate(some, start=self.listed):
            again_ms = self.from_ms + number * 1_000 // self.rate
            due[lead] = min(again_ms, due.get(lead, again_ms))
        return replace(self, listed=self.listed + len(some), last=some[-1][0]) if len(some) == count else None


class Verdict:
    """What the core makes of the recorded log when nothing goes wrong."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.states: dict[str, bytes] = {}
        self.transitions: Counter[tuple[str, bytes | None, bytes | None, Any]] = Counter()
        self.in_order: dict[bytes, list[int]] = {}
        self.dead: Counter[tuple[str, int, int]] = Counter()
        self.unread: list[tuple[str, int, int]] = []
        """Places of records whose batch was not read."""
        self.strays = 0
        self.passed_on: Counter[tuple[int, Any, bytes | None]] = Counter()
        """What owners of ids say to each other and forward under aliases: by partition of the journal, headers, value."""
        self.was_passed_on: Counter[tuple[int, Any, bytes | None]] = Counter()
        self.refused = 0
        self.ticks = 0
        self.cuts = 0

    def fold(self, partition: int, records: Sequence[Record]) -> None:
        """Fold partition *partition*: *records* are all of its topics'."""
        settings = self.site.settings
        internal = settings.internal_topic
        cuts: list[Cut] = []
        forwarded: Counter[tuple[str, int, int, bytes | None]] = Counter()
        for record in records:
            if record.topic == internal:
                match decode_entry(record):
                    case Cuts(found):
                        cuts += found
                    case Stray(original, ""):
                        forwarded[*original[:3], original.value] += 1
                    case Stray() | OwnerMessage():
                        self.was_passed_on[record.partition, record.headers, record.value] += 1
        twice = forwarded.total() - len(forwarded)
        if twice:
            raise Wrong(f"{twice} strays were forwarded twice\n{self.site.logs()}", doubled=twice)
        self.strays += forwarded.total()
        while len(cuts) > 1 and cuts[1].batch == 0:  # an owner that ended before its first batch begins again
            del cuts[0]
        assert [cut.batch for cut in cuts] == list(range(len(cuts))), f"cuts of {partition}: {[cut.batch for cut in cuts]}"
        self.cuts += len(cuts)
        states: dict[str, bytes | None] = {}
        due: dict[str, int] = {}
        ranks: dict[str, float] = {}
        clock_ms: int | None = None
        requeue: Requeue | None = None
        at = cuts[0].next
        older = [r for r in self.site.made_again if r.partition == partition]
        made_again = {r.topic for r in older}
        now = sorted([*older, *(r for r in records if r.topic not in made_again)], key=lambda r: r[:3])
        for cut in cuts[1:]:
            scorer = self.site.scorer_of(cut)
            if cut.lost and any(cut.next.get(topic, 0) < at.get(topic, 0) for topic in made_again):
                now = list(records)
            batch = [] if cut.lost else [r for r in now if r.topic in at and at[r.topic] <= r.offset < cut.next[r.topic]]
            batch = as_passed(batch, partition, cut.passed) if cut.passed else batch
            at = cut.next
            if cut.requeued:
                requeue = Requeue(clock_ms or 0, cut.requeued)
            requeue = requeue and requeue.onward(ranks, due, self.site.listed)
            sources: list[Record] = []
            if cut.tick_ms is None:
                items, sources = self._items(partition, batch, cut.fetched_ms)
                plan = plan_events(scorer, {item.lead: states.get(item.lead) for item in items}, items, clock_ms)
                self.refused += len(plan.refused)
                for place, _, _ in plan.refused:
                    self.dead[sources[place][:3]] += 1
                for place, item in plan.passed_on:
                    self._passed_on(item, sources[place])
            else:
                assert not [r for r in batch if r.topic != internal], "a tick's batch holds records"
                leads = sorted(
                    (lead for lead, at_ms in due.items() if at_ms <= cut.tick_ms), key=lambda x: (due[x], x.encode())
                )
                plan = plan_tick(scorer, {lead: states[lead] for lead in leads[: cut.judged or 1_000]}, cut.tick_ms, clock_ms)
                clock_ms = cut.tick_ms if cut.tick_done else clock_ms
                self.ticks += 1
                for _, item in plan.passed_on:
                    self._passed_on(item, None)
            for write in plan.writes:
                states[write.lead] = write.state or None
                due.pop(write.lead, None)
                ranks.pop(write.lead, None)
                if write.rank is not None:
                    ranks[write.lead] = write.rank
                if write.due_ms is not None:
                    due[write.lead] = write.due_ms
            for output in traced(plan, sources):
                self.transitions[settings.output_topic(output.topic), output.key, output.value, output.headers] += 1
        ends = {topic: max((r.offset + 1 for r in records if r.topic == topic), default=0) for topic in settings.input_topics}
        assert all(at[topic] >= end for topic, end in ends.items()), f"read up to {at} of {ends}"
        self.states |= {lead: state for lead, state in states.items() if state is not None}

    def _passed_on(self, item: Item, source: Record | None) -> None:
        """Note what is for another id's owner."""
        internal, home = self.site.settings.internal_topic, owner(item.lead, self.site.settings.partitions)
        if isinstance(item, Event):
            assert source is not None
            passed = stray_output(internal, home, source, item.lead, item.visited)
        else:
            passed = message_output(internal, home, item, () if source is None else context(source))
        self.passed_on[home, passed.headers, passed.value] += 1

    def _items(self, partition: int, batch: Sequence[Record], fetched_ms: int | None) -> tuple[list[Item], list[Record]]:
        """Return what a batch, fetched at *fetched_ms* where that matters, folds, each with its own record."""
        items: list[Item] = []
        sources: list[Record] = []
        for record in batch:
            if type(record) is Unread:
                self.dead[record[:3]] += 1
                self.unread.append(record[:3])
                continue
            forwarded, source, lead = record.topic == self.site.settings.internal_topic, record, ""
            visited: tuple[int, ...] = ()
            if forwarded:
                match decode_entry(record):
                    case Stray(source, lead, visited):
                        pass
                    case OwnerMessage(message):
                        items.append(message)
                        sources.append(record)
                        continue
                    case _:
                        continue
            match decode(source, fetched_ms):
                case Event() as event:
                    if forwarded or owner(event.lead, self.site.settings.partitions) == partition:
                        items.append(msgspec.structs.replace(event, lead=lead, visited=visited) if lead else event)
                        sources.append(source)
                case Rejected():
                    self.dead[source[:3]] += 1
        return items, sources

    def hold_passed_on(self) -> None:
        """Compare what is said between owners, as multisets."""
        lacking, extra = self.passed_on - self.was_passed_on, self.was_passed_on - self.passed_on
        if lacking or extra:
            said = f"{lacking.total()} messages lost, {extra.total()} too many: {[*lacking, *extra][:3]}\n{self.site.logs()}"
            raise Wrong(said, lost=lacking.total(), doubled=extra.total())

    def hold_outputs(self, outputs: Sequence[Record]) -> None:
        """Compare as multisets; each lead's own outputs must also be in its order."""
        dead_topic = self.site.settings.output_topic("lead.dead")
        dead: Counter[tuple[str, int, int]] = Counter()
        seen: Counter[tuple[str, bytes | None, bytes | None, Any]] = Counter()
        orders: dict[tuple[str, bytes | None], list[int]] = {}
        for record in outputs:
            if record.topic == dead_topic:
                told = dict(record.headers)
                where = (
                    told["__connect.errors.topic"].decode(),
                    told["__connect.errors.partition"],
                    told["__connect.errors.offset"],
                )
                dead[where[0], int(where[1]), int(where[2])] += 1
            else:
                seen[record.topic, record.key, record.value, record.headers] += 1
                sequence = int(json.loads(record.value or b"")["sequence"])
                orders.setdefault((record.topic, record.key), []).append(sequence)
        extra, lacking = seen - self.transitions, self.transitions - seen
        lost, doubled = lacking.total() + (self.dead - dead).total(), extra.total() + (dead - self.dead).total()
        if lost or doubled:
            examples = [*lacking, *extra, *(self.dead - dead), *(dead - self.dead)][:3]
            raise Wrong(f"{lost} outputs lost, {doubled} too many: {examples}\n{self.site.logs()}", lost=lost, doubled=doubled)
        assert all(order == sorted(order) for order in orders.values()), "a lead's outputs are not in order"
        ids = Counter(json.loads(value or b"")["id"] for _, _, value, _ in seen.elements())
        assert max(ids.values(), default=1) == 1, f"an id was given twice: {ids.most_common(1)}"


def _readable(packed: bytes | None) -> str:
    return "nothing" if packed is None else repr(unpack(packed))


def now_ms() -> int:
    """Return this machine's time."""
    return int(time.time() * 1_000)


def traffic(seed: int, leads: int, count: int, *, around_ms: int | None = None, spread_s: float = 60.0) -> list[Message]:
    """Return *count* made-up events of *leads* leads: late ones, duplicates, erasures, unknown types among them."""
    rnd = random.Random(seed)
    base = around_ms if around_ms is not None else 1_760_000_000_000
    kinds: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (
            "page.viewed",
            lambda: {
                "url": f"https://x.example/{rnd.choice(['pricing', 'blog'])}",
                "page_type": rnd.choice(["pricing", "blog"]),
            },
        ),
        ("form.submitted", lambda: {"form_id": "demo"}),
        ("email.opened", lambda: {"message_id": f"m{rnd.randrange(50)}", "machine": rnd.random() < 0.1}),
        ("profile.updated", lambda: {"traits": {"email": f"a@{rnd.choice(['acme.example', 'gmail.com'])}", "role": "cto"}}),
        ("crm.accepted", dict),
        ("crm.rejected", dict),
        ("email.unsubscribed", lambda: {"message_id": "m1"}),
        ("lead.erased", dict),
        ("page.scrolled", dict),
    ]
    weights = [50, 15, 15, 8, 3, 2, 1, 0.5, 3]
    messages: list[Message] = []
    for n in range(count):
        if messages and rnd.random() < 0.03:
            messages.append(rnd.choice(messages[-200:]))
            continue
        kind, data = rnd.choices(kinds, weights)[0]
        at = base + int((n / count + rnd.gauss(0, 0.02)) * spread_s * 1_000)
        messages.append(
            {
                "specversion": "1.0",
                "id": f"{seed}-{n}",
                "source": "/test",
                "type": kind,
                "subject": f"lead-{min(int(rnd.paretovariate(0.8)), leads)}"
                if rnd.random() < 0.5
                else f"lead-{rnd.randrange(leads)}",
                "time": rfc3339(at),
                "data": data(),
            }
        )
    return messages


def people(seed: int, leads: int, count: int, **told: Any) -> list[Message]:
    """Return *traffic* in which it is told who was who: chains, circles, visitors that two leads claim."""
    rnd = random.Random(seed)
    said = traffic(seed, leads, count, **told)
    for number in range(count // 8):
        lead, visitor = f"lead-{rnd.randrange(1, leads // 2)}", f"lead-{rnd.randrange(1, leads)}"
        at = rnd.randrange(len(said))
        known = {"type": "lead.identified", "subject": lead, "data": {"anonymous_id": visitor}, "id": f"{seed}-who-{number}"}
        said.insert(at, said[at] | known)
    return said
