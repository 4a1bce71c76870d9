"""Every fault again and again under load, each run held to the core alone, with a table at the end: `make soak`.

`python -m tests.system.soak [--minutes 20] [--seed N] [--fault NAME] [--report FILE]`. A run is told whole by its seed and its
fault's name, so one that failed is repeated by `--seed N --fault NAME --minutes 0`. Exit code 1 when anything was lost, doubled
or different, or when a worker did not recover.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import random
import signal
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import HOST, free_port
from tests.kit.bombs import bomb, send_raw
from tests.kit.grids import GRID, changed
from tests.kit.proxy import LosesReplies, Network
from tests.kit.replicas import Replicated, ThreeBrokers
from tests.kit.site import Site
from tests.kit.topics import OTHER_RECORDS, REMADE, admin_of, make_again, stands, thin_out
from tests.kit.traffic import Sent, now_ms, people
from tests.kit.verdict import Wrong
from tests.kit.waits import HANG_S, until
from tests.kit.workers import Worker
from worker.core.contract.partitioner import owner
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.state import unpack

STEPS = (
    "after_fence", "before_ready", "before_apply", "after_apply", "before_transaction", "before_commit", "after_commit",
    "before_trim", "after_trim",
)  # fmt: skip

KILLS = 15
YEAR_S = 365 * 86_400
BURST = 60
EVERY_S = 0.1
LEADS = 150


@dataclass
class Run:
    """One try of one fault."""

    site: Site
    random: random.Random
    services: Services
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


@fault("worker killed (-9) under load")
async def _kill(run: Run) -> None:
    for _ in range(KILLS):
        victim = run.any_worker()
        victim.kill()
        run.drop(victim)
        await run.start()
        await run.some_time(3)


@fault("worker killed (-9) at a step of the protocol")
async def _step(run: Run) -> None:
    name = run.random.choice(STEPS)
    once_a_partition = name in ("after_fence", "before_ready")
    step = f"{name}:{run.random.randint(1, run.site.settings.partitions if once_a_partition else 4)}"
    await run.stop()
    victim = run.site.worker(step)
    assert await victim.ended() == 137, f"never came to {step}"
    await run.start()


@fault("worker stopped (SIGTERM) under load")
async def _stop(run: Run) -> None:
    victim = run.any_worker()
    await victim.stop()
    run.drop(victim)
    await run.start()


@fault("worker frozen (SIGSTOP) and woken up after another took over")
async def _freeze(run: Run) -> None:
    victim = run.any_worker()
    victim.signal(signal.SIGSTOP)
    await asyncio.sleep(run.random.uniform(4, 15))
    victim.signal(signal.SIGCONT)


@fault("worker frozen (SIGSTOP) for a minute")
async def _freeze_long(run: Run) -> None:
    await run.start()
    victim = run.any_worker()
    victim.signal(signal.SIGSTOP)
    await asyncio.sleep(60)
    victim.signal(signal.SIGCONT)


@fault("worker's clock a year ahead, or behind", clock="wall")
async def _clock(run: Run) -> None:
    wrong = await run.start(clock_ahead_s=run.random.choice((YEAR_S, -YEAR_S)))
    for worker in run.workers[:-1]:
        await worker.stop()
        run.drop(worker)
    await run.some_time(5)
    await run.start()
    await run.some_time(3)
    await wrong[0].stop()
    run.drop(wrong[0])


@fault("1, 4, 2 workers", partitions=4)
async def _scale(run: Run) -> None:
    started = await run.start(3)
    await run.some_time(4)
    for worker in [*run.workers[:1], started[0]]:
        await worker.stop()
        run.drop(worker)


@fault("broker killed (-9) and started again", session_timeout=6)
async def _kill_broker(run: Run) -> None:
    await asyncio.to_thread(run.services.kafka.restart, clean=False)


@fault("broker restarted cleanly", session_timeout=6)
async def _restart_broker(run: Run) -> None:
    await asyncio.to_thread(run.services.kafka.restart, clean=True)


@fault("Redis killed (-9) and started again, a second of it lost at most")
async def _kill_redis(run: Run) -> None:
    await asyncio.to_thread(run.services.redis.restart, clean=False)


@fault("Redis stalled for seconds")
async def _stall(run: Run) -> None:
    run.services.redis.suspend()
    await asyncio.sleep(run.random.uniform(1, 8))
    run.services.redis.resume()


async def _published(site: Site, partition: int) -> bool:
    return int((await site.position(partition)).get("published", 0)) > 0


async def all_published(site: Site) -> None:
    """Wait until a batch of each partition is published: a copy from before is an empty store, which workers refuse."""
    for partition in range(site.settings.partitions):
        await until(partial(_published, site, partition), f"a batch of partition {partition} published")


@fault("Redis goes back to an older copy under load")
async def _older(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await run.some_time(4)
    await run.site.restore(old)


@fault("Redis emptied, allowed to be filled again, rebuilt from the topics")
async def _empty(run: Run) -> None:
    await run.stop()
    await run.site.restore({})
    await run.site.allow_rebuild()
    await run.start()


@fault("checkpoint restored: Redis emptied, all that came before the checkpoint deleted from Kafka", clock="wall")
async def _checkpoint(run: Run) -> None:
    site, folder = run.site, run.site.folder / f"{run.site.settings.namespace}-checkpoints"
    deadline = time.monotonic() + 90
    for _ in range(run.random.randint(1, 3)):
        while (done := await asyncio.to_thread(site.command, "checkpoint", checkpoints=folder)).returncode:
            assert time.monotonic() < deadline, done.stderr  # an owner that changes meanwhile ends a checkpoint
        await run.some_time(3)
    for worker in list(run.workers):
        worker.kill()
        run.drop(worker)
    await site.forget_log_before_checkpoints(folder)
    await site.restore({})
    rebuilt = await asyncio.to_thread(site.command, "rebuild", "--all", checkpoints=folder)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert rebuilt.stdout.count('"checkpoint"') == site.settings.partitions, rebuilt.stderr
    await run.start(run.random.choice((1, 2)))


async def _forget(run: Run) -> None:
    """Kill every worker and let Kafka forget the offsets of their group, as it does when nobody runs for days."""
    for worker in list(run.workers):
        worker.kill()
        run.drop(worker)
    await run.site.forget_offsets()


@fault("offsets forgotten with an older Redis")
async def _forgotten_older(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await run.some_time(4)
    await _forget(run)
    await run.site.restore(old)
    await run.start(run.random.choice((1, 2)))


@fault("offsets forgotten with an empty Redis")
async def _forgotten_empty(run: Run) -> None:
    await all_published(run.site)
    await _forget(run)
    await run.site.restore({})
    await run.start()
    await run.all_end("leadpulse rebuild")
    await run.site.forget_offsets()
    await run.site.allow_rebuild()
    await run.start()


@fault("Redis out of memory for seconds")
async def _no_memory(run: Run) -> None:
    async with run.site.redis() as redis:
        await redis.config_set("maxmemory", "1mb")
        await run.some_time(3)
        await redis.config_set("maxmemory", "0")


@fault("Redis full: erasures, another owner, published outbox freed; then room again")
async def _full(run: Run) -> None:
    site, partitions = run.site, range(run.site.settings.partitions)
    async with site.redis() as redis:
        async with run.sending:  # in one topic an erasure waits for the events before it
            await recovered(site)
            await site.settled()  # in the journal too an erasure waits for what is before it
            alive = sorted(lead for lead, packed in (await site.states()).items() if unpack(packed).alive)
            leads = run.random.sample(alive, min(10, len(alive)))
            await redis.config_set("maxmemory", "1mb")
            message = people(run.random.getrandbits(32), LEADS, 1, around_ms=now_ms())[0]
            told = [message | {"type": "lead.erased", "data": {}, "subject": lead, "id": f"full-{lead}"} for lead in leads]
            await site.send(site.sent(one, topic=site.crm) for one in told)
            run.sent += len(told)
        keys = [site.key(owner(lead, len(partitions)), f"lead:{lead}") for lead in leads]
        await until(lambda: _forgotten(redis, keys), "all are forgotten")
        before = {(await site.position(p))["owner"] for p in partitions}
        for victim in list(run.workers):
            victim.kill()
            run.drop(victim)
        await run.start()
        for p in partitions:
            await until(functools.partial(_freed, redis, site, p, before), f"partition {p} is another's, and freed")
        await redis.config_set("maxmemory", "0")


async def _forgotten(redis: Any, keys: list[str]) -> bool:
    return all([await redis.hkeys(key) == [b"state"] for key in keys])


async def _freed(redis: Any, site: Site, p: int, before: set[str]) -> bool:
    position = await site.position(p)
    return position["owner"] not in before and not await redis.xlen(site.key(p, "outbox"))


@fault("replies of Redis lost after it applied a batch", through="replies")
async def _lose(run: Run) -> None:
    run.services.replies.left = run.random.randint(1, 8)


def in_use(run: Run, through: str) -> Network:
    """Return the network before a server, which the workers have connections through: else a fault of it would be none."""
    network: Network = getattr(run.services, through)
    assert network.connections >= len(run.workers), f"{network.connections} connections {through}"
    return network


def network_faults(server: str, through: str, **settings: Any) -> None:
    """Add what a network between the workers and *server* does."""

    @fault(f"network to {server} cut for seconds", through=through, **settings)
    async def _cut(run: Run) -> None:
        network = in_use(run, through)
        network.cut()
        await run.some_time(8)
        network.mend()

    @fault(f"network to {server} hangs for seconds", through=through, **settings)
    async def _hang(run: Run) -> None:
        network = in_use(run, through)
        network.hang()
        await asyncio.sleep(run.random.uniform(1, 15))
        network.mend()

    @fault(f"connections to {server} half closed", through=through, **settings)
    async def _half_close(run: Run) -> None:
        network = in_use(run, through)
        for _ in range(3):
            network.half_close()
            await run.some_time(2)

    @fault(f"network to {server} slow (30 ms each way)", through=through, **settings)
    async def _slow(run: Run) -> None:
        network = in_use(run, through)
        network.delay_s = 0.03
        await asyncio.sleep(run.random.uniform(3, 8))
        network.mend()


network_faults("Redis", "to_redis")
network_faults("Kafka", "to_kafka", session_timeout=6)


@fault("grid changed while workers run", clock="wall", listed=20)
async def _grid(run: Run) -> None:
    limit = run.random.choice((5, 12, 20))
    run.site.put_grid(changed(GRID, {"version": limit, "engagement.min": limit}))
    for worker in run.workers:
        worker.signal(signal.SIGHUP)


@fault(
    "grids one after the other before all leads of one are listed, a worker killed, Redis back amid them",
    clock="wall",
    listed=5,
)
async def _grids_in_a_row(run: Run) -> None:
    site = run.site
    await all_published(site)
    old, copy_at = await site.copy(), run.random.randint(3, 5)
    for version in range(2, 7):
        site.put_grid(changed(GRID, {"version": version, "engagement.min": 3 * version}))
        for worker in run.workers:
            worker.signal(signal.SIGHUP)
        await run.some_time(1)
        if version == copy_at:
            old = await site.copy()
            victim = run.any_worker()
            victim.kill()
            run.drop(victim)
            (heir,) = await run.start()
            await heir.says("\n")  # it listens to signals now
    await run.some_time()
    await site.restore(old)


@fault("two workers with two grid files, the partitions moved to and fro", clock="wall")
async def _two_grids(run: Run) -> None:
    site = run.site
    other = site.folder / f"{site.settings.namespace}-other.yaml"
    text = changed(GRID, {"engagement.min": run.random.choice((5, 12))})
    other.write_text(changed(text, {"version": 2}) if run.random.random() < 0.5 else text)
    site.know_grid(other.read_text())
    await _take_turns(run, {"grid": site.grid_file}, {"grid": other})
    for p in range(site.settings.partitions):
        grids = [cut.grid for cut in await site.cuts(p) if cut.requeued]
        assert len(grids) == len(set(grids)) <= 2, f"partition {p} was judged by {grids}, one after the other"


@fault("two workers with other tzdata, the partitions moved to and fro", clock="wall")
async def _two_tables(run: Run) -> None:
    site = run.site
    site.put_grid(changed(GRID, {"version": 2, "timezone": "Europe/Paris"}))
    zones = site.other_zones(f"{site.settings.namespace}-zones")
    await _take_turns(run, {}, {"zones": zones})
    for p in range(site.settings.partitions):
        begun = [(cut.grid, cut.words) for cut in await site.cuts(p) if cut.requeued]
        assert len(begun) == len(set(begun)), f"partition {p} was judged again and again: {begun}"


async def _take_turns(run: Run, *settings: dict[str, Any]) -> None:
    """Let workers of all *settings* come and go, ended well or not, until each partition has moved between them."""
    for turn in range(6):
        for worker in list(run.workers):
            if run.random.random() < 0.5:
                worker.kill()
            else:
                await worker.stop()
            run.drop(worker)
        for given in run.random.sample(settings, run.random.randint(1, len(settings))) if turn < 4 else settings:
            await run.start(**given)
        await run.some_time(6)


@fault("input topics changed, worker by worker")
async def _inputs(run: Run) -> None:
    site = run.site
    site.change_inputs(site.web, site.crm, f"{site.settings.namespace}.social")
    await site.prepare()
    await asyncio.to_thread(site.allow_inputs)
    for worker in list(run.workers):
        await run.start()
        await run.some_time()
        await worker.leave("leadpulse topics change")
        run.drop(worker)


@fault("upstream transactions aborted")
async def _abort(run: Run) -> None:
    for _ in range(3):
        await run.burst(commit=run.random.random() < 0.5)


@fault("a quarter of the records cannot be read")
async def _poison(run: Run) -> None:
    async with run.load(bad=True):
        await run.some_time(3)


@fault("a batch that unpacks to gigabytes", session_timeout=6)
async def _bomb(run: Run) -> None:
    for codec, records, megabytes in (("zstd", 20, 100), ("gzip", 5, 60), ("lz4", 2, 50)):
        place = run.random.randrange(run.site.settings.partitions)
        topic = run.random.choice(run.site.settings.input_topics)
        await send_raw(run.site, topic, place, await asyncio.to_thread(bomb, codec, records, megabytes))
        run.sent += records
        await run.some_time()


@fault("a batch passed over and times that run ahead, then Redis goes back, to a worker that may unpack more")
async def _passed_and_back(run: Run) -> None:
    site = run.site
    await all_published(site)
    old = await site.copy()
    for codec, records, megabytes in (("lz4", 2, 50), ("gzip", 3, 40)):
        topic, place = run.random.choice(site.settings.input_topics), run.random.randrange(site.settings.partitions)
        await send_raw(site, topic, place, await asyncio.to_thread(bomb, codec, records, megabytes))
        run.sent += records
        ahead = people(run.random.getrandbits(32), LEADS, BURST, around_ms=now_ms() + 3_000_000)
        await run.send([site.sent(m)._replace(timestamp_ms=now_ms() + 1_800_000) for m in ahead])
    await recovered(site)
    await run.stop()
    await site.restore(old)
    await run.start(max_unpacked=300_000_000)


@fault("Redis full, its erasures taken one by one, then back to a copy from before")
async def _full_and_back(run: Run) -> None:
    await all_published(run.site)
    old = await run.site.copy()
    await _full(run)
    await run.some_time()
    await run.site.restore(old)


@fault("events hours late, and hours ahead of the clock")
async def _disorder(run: Run) -> None:
    for _ in range(10):
        await run.burst(spread_s=run.random.uniform(1, 20) * 3_600)


@fault("an output topic deleted under load, made again", tick_interval=0.3)
async def _no_topic(run: Run) -> None:
    topic = run.site.settings.output_topic("lead.mql")
    tps = [TopicPartition(topic, p) for p in range(run.site.settings.partitions)]
    while True:  # what an open transaction has in the topic is lost with it, by the operator's hand
        for worker in run.workers:
            worker.signal(signal.SIGSTOP)
        await asyncio.sleep(0.3)
        if not await _open_transactions(run.site, tps):
            break
        for worker in run.workers:
            worker.signal(signal.SIGCONT)
        await run.some_time()
    run.site.gone += await run.site.read(tps)
    async with admin_of(run.site) as admin:
        await admin.delete_topics([topic])
    for worker in run.workers:
        worker.signal(signal.SIGCONT)
    await run.all_end("leadpulse topics create")
    await run.site.prepare()
    await run.start()


async def _open_transactions(site: Site, tps: list[TopicPartition]) -> bool:
    async with site.consumer("read_uncommitted") as all_, site.consumer() as committed:
        return bool(await all_.end_offsets(tps) != await committed.end_offsets(tps))


@fault("an output topic refuses records for their size")
async def _refusing(run: Run) -> None:
    topic = run.site.settings.output_topic("lead.mql")
    for size in ("300", str(2 << 20)):
        async with admin_of(run.site) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": size})])
        if run.workers:
            await run.all_end("refuses a record for its size")
    await run.start()


@fault("retention deletes records before they are read; the loss is accepted")
async def _retention(run: Run) -> None:
    await run.stop()
    await run.burst()
    await run.burst()
    web = TopicPartition(run.site.web, run.random.randrange(run.site.settings.partitions))
    read = int((await run.site.position(web.partition))[f"next:{web.topic}"])
    async with run.site.consumer() as consumer:
        end = (await consumer.end_offsets([web]))[web]
    first_left = run.random.randint(read + 1, end)
    run.site.gone += [r for r in await run.site.read([web]) if r.offset < first_left]
    async with admin_of(run.site) as admin:
        await admin.delete_records({web: RecordsToDelete(first_left)})
    await run.start()
    await run.all_end("LEADPULSE_ACCEPT_LOSS")
    await run.start(accept_loss="true")


@fault("two of three brokers killed (-9): fewer copies than min.insync.replicas", servers=ThreeBrokers, session_timeout=6)
async def _below_min_isr(run: Run) -> None:
    victims = run.random.sample(run.servers.brokers, 2)
    for victim in victims:
        await asyncio.to_thread(victim.kill)
        await run.some_time(4)
    await until(lambda: _one_copy(run.site), "one copy is left of each partition")
    await run.some_time(4)
    for victim in run.random.sample(victims, 2):
        await asyncio.to_thread(victim.start)
        await run.some_time(4)


async def _one_copy(site: Site) -> bool:
    """Return whether no partition of the topics that *site* reads has more than one copy that is up to date."""
    try:
        async with admin_of(site) as admin:
            described = await admin.describe_topics(list(site.settings.topics))
    except KafkaError:  # it has asked a broker that is gone
        return False
    return all(len(partition["isr"]) <= 1 for topic in described for partition in topic["partitions"])


@fault("a Redis replica that lags behind promoted, without the function library", servers=Replicated)
async def _promote(run: Run) -> None:
    await all_published(run.site)
    run.servers.replica.suspend()
    await asyncio.sleep(run.random.uniform(1, 5))
    await run.servers.promote()


@fault("an input topic deleted, made again and longer than our offset; read from its start once that is accepted")
async def _made_again(run: Run) -> None:
    await run.stop()
    await make_again(run.site, run.site.web)
    web = TopicPartition(run.site.web, run.random.randrange(run.site.settings.partitions))
    read = int((await run.site.position(web.partition))[f"next:{web.topic}"])
    async with run.site.consumer() as consumer:
        while (await consumer.end_offsets([web]))[web] <= read:
            await run.burst()
    await run.start()
    await run.all_end(REMADE)
    await run.start(accept_loss="true")


@fault("records deleted in the middle, then Redis goes back; a newer copy of it restored")
async def _thinned_out(run: Run) -> None:
    site = run.site
    await all_published(site)
    old, begin = await site.copy(), await stands(site, site.web)
    await run.some_time(4)
    for _ in range(5):
        await run.burst()
    await recovered(site)
    await run.stop()
    newest, end = await site.copy(), await stands(site, site.web)
    await thin_out(site, site.web, begin, end)
    await site.restore(old)
    await run.start()
    await run.all_end(OTHER_RECORDS)
    await site.restore(newest)
    await run.start()


@fault("a chain of long aliases")
async def _chain(run: Run) -> None:
    """Hand page views on along 25 ids which, written out in JSON, would take more than a record holds."""
    chain = [f"chain-{run.random.getrandbits(32)}-{n}-" + "\1" * 16_000 for n in range(26)]
    known = {"specversion": "1.0", "source": "/test", "time": rfc3339(now_ms())}
    for number, (visitor, lead) in enumerate(itertools.pairwise(chain)):
        who = {"id": f"who-{number}", "type": "lead.identified", "subject": lead, "data": {"anonymous_id": visitor}}
        await run.send([run.site.sent(known | who, crc=number % 2 == 0)])
    await run.some_time(3)
    for number in range(5):
        viewed = {"id": f"view-{number}", "type": "page.viewed", "subject": chain[0], "data": {"url": "/" + "x" * 500_000}}
        await run.send([run.site.sent(known | viewed, crc=number % 2 == 0)])


@fault("one lead has nine tenths of the traffic")
async def _hot(run: Run) -> None:
    async with run.load(hot=True):
        await run.some_time(3)


@dataclass
class Row:
    """What all tries of one fault gave."""

    tries: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    states: int = 0
    faults_s: list[float] = field(default_factory=list)
    """How long the fault itself lasted, each time."""
    recovery_s: list[float] = field(default_factory=list)
    """From its end until all that had been sent by then was in the states."""
    failed: list[str] = field(default_factory=list)


async def once(name: str, seed: int, services: Services, folder: Path, row: Row) -> None:
    """Try one fault once and note in *row* what came of it."""
    inject, settings = FAULTS[name]
    rnd = random.Random(f"{seed}/{name}")
    given = {"partitions": 2, "max_batch": rnd.choice((20, 100, 500)), **settings}
    told = services.seen_through(given.pop("through", ""))
    namespace = f"soak-{seed}-{row.tries}-{zlib.crc32(name.encode())}"
    where = {"kafka": services.kafka.address, "redis": services.redis.url}
    servers = given.pop("servers", contextlib.nullcontext)()
    async with servers:
        if hasattr(servers, "settings"):
            where |= servers.settings
        site = Site(where["kafka"], where["redis"], namespace, folder, **given)
        await _try(inject, Run(site, rnd, services, told, servers), f"--seed {seed} --fault {name!r}", row)


async def _try(inject: Inject, run: Run, told: str, row: Row) -> None:
    site, rnd = run.site, run.random
    row.tries += 1
    try:
        await site.prepare()
        await run.start(rnd.choice((1, 2)))
        async with run.load():
            for worker in run.workers:
                await worker.ready(1)
            await run.some_time()
            began = time.monotonic()
            await inject(run)
            row.faults_s.append(time.monotonic() - began)
            began = time.monotonic()
            await recovered(site)
            row.recovery_s.append(time.monotonic() - began)
            await run.some_time()
        await site.settled()
        await run.stop()
        await site.verdict()
    except Wrong as err:
        row.lost, row.doubled, row.states = row.lost + err.lost, row.doubled + err.doubled, row.states + err.states
        row.failed.append(f"{told}: {err}")
    except Exception as err:  # noqa: BLE001 (a run that failed is a row's, not the soak's)
        row.failed.append(f"{told}: {err!r}\n{site.logs()}")
    finally:
        row.events += run.sent
        site.close()


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


async def soak(minutes: float, seed: int, names: list[str], rows: dict[str, Row]) -> None:
    """Try the faults *names* in turn until *minutes* are over, each once at least."""
    end = time.monotonic() + minutes * 60
    kafka = Kafka({"group.min.session.timeout.ms": "1000", "log.cleaner.backoff.ms": "500"}, lasting=True)
    listener = free_port()
    async with contextlib.AsyncExitStack() as stack:
        to_kafka = await stack.enter_async_context(Network(HOST, listener))
        # A client goes where the broker says it is: for those that come by the proxy, that is the proxy.
        kafka.settings["listeners"] += f",PROXIED://{HOST}:{listener}"
        kafka.settings["advertised.listeners"] += f",PROXIED://{HOST}:{to_kafka.port}"
        kafka.settings["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
        stack.enter_context(kafka)
        redis = stack.enter_context(Redis())
        replies = await stack.enter_async_context(LosesReplies(HOST, redis.port, b"_apply"))
        to_redis = await stack.enter_async_context(Network(HOST, redis.port))
        services = Services(kafka, redis, replies, to_kafka, to_redis)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leadpulse-soak-"))
        for turn in itertools.count():
            for name in names:
                if turn and time.monotonic() > end:
                    return
                row = rows.setdefault(name, Row())
                before = len(row.failed)
                await once(name, seed + turn, services, Path(folder), row)
                said = "FAILED" if len(row.failed) > before else f"{row.recovery_s[-1]:.1f} s"
                click.echo(f"seed {seed + turn}  {name}: {said}", err=True)


def table(rows: dict[str, Row]) -> str:
    """Return the report as Markdown."""
    lines = [
        "| fault | tries | events | lost | doubled | states differ | fault took, median | recovery, median | worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lasted, took = row.faults_s or [float("nan")], row.recovery_s or [float("nan")]
        lines.append(
            f"| {name} | {row.tries} | {row.events:,} | {row.lost} | {row.doubled} | {row.states}"
            f" | {statistics.median(lasted):.1f} s | {statistics.median(took):.1f} s | {max(took):.1f} s |"
        )
    events, tries = sum(row.events for row in rows.values()), sum(row.tries for row in rows.values())
    sums = [sum(getattr(row, what) for row in rows.values()) for what in ("lost", "doubled", "states")]
    return "\n".join([*lines, f"| **all** | {tries} | {events:,} | {sums[0]} | {sums[1]} | {sums[2]} | | | |"])


@click.command()
@click.option("--minutes", type=float, default=20.0, help="How long; every fault is tried once even in 0.  [default 20]")
@click.option("--seed", type=int, help="Of the first turn; each turn adds 1.  [default: random]")
@click.option("--fault", "names", multiple=True, type=click.Choice(list(FAULTS)), help="Only this one; may be given again.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there too.")
def main(minutes: float, seed: int | None, names: tuple[str, ...], report: Path | None) -> None:
    """Try every fault under load, and show what was lost, doubled, different, and how long recovery took."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the brokers are ended on purpose
    first = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {first}", err=True)
    rows: dict[str, Row] = {}
    asyncio.run(soak(minutes, first, list(names or FAULTS), rows))
    page = table(rows)
    click.echo(page)
    if report is not None:
        report.write_text(page + "\n")
    failed = [why for row in rows.values() for why in row.failed]
    for why in failed:
        click.echo(f"\nFAILED {why}", err=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
