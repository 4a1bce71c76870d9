"""A site: topics and keys of its own on the test run's servers, with its workers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import GroupIdNotFound, KafkaConnectionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.kit.grids import GRID
from tests.kit.shell import leadpulse
from tests.kit.traffic import Message, Sent
from tests.kit.verdict import Verdict
from tests.kit.waits import HANG_S
from tests.kit.workers import Worker
from worker.adapters.checkpoint_files import files_at
from worker.adapters.fetched import Checks
from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import to_record
from worker.adapters.kafka_topics import create_topics
from worker.adapters.redis_client import connect
from worker.adapters.redis_scan import is_piece, lead_fields
from worker.adapters.redis_store import RedisStore
from worker.core.contract.journal import Cut, decode_entry
from worker.core.contract.model import Record
from worker.core.contract.partitioner import owner
from worker.core.grid import tables
from worker.core.grid.models import parse_grid
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring import compiled_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import STAGES, unpack
from worker.engine.kept import kept
from worker.ports import LISTED
from worker.settings import OUTPUT_TYPES, Settings

ROOT = Path(__file__).parents[2]

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
        return connect(self.settings.redis.get_secret_value(), timeout_s=HANG_S, connect_timeout_s=HANG_S)

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
        client = self.redis()
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
