"""The engine: everything that a worker does from start to end, apart from the process that hosts it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import version
from typing import Any, Final

import msgspec

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import KafkaGroup
from worker.adapters.kafka_log import KafkaLog
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.adapters.refusals import refusal
from worker.build_flavour import form
from worker.core.contract.printable import words
from worker.core.grid.models import Grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.checkpoints import Checkpointer
from worker.engine.checks import check_positions, check_redis, check_topics, shortest_retention_s
from worker.engine.closing import Closing
from worker.engine.grid_file import GridFile, load_grid
from worker.engine.partition import Context, Partition
from worker.engine.redis_watch import watch_redis
from worker.engine.supervisor import Supervisor
from worker.engine.ticks import Neighbour
from worker.engine.topic_watch import TopicWatch
from worker.errors import StoreRefused, StoreUnavailable, WorkerMustStop
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Store, Tracer
from worker.settings import Settings

log = logging.getLogger(__name__)

_PARTITIONS_S: Final = 5.0
"""Time limit for the partitions to end. Each closes its producer, which may take 3 s."""
_TASK_S: Final = 1.0


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition that this worker owns."""

    ready: bool
    """It takes events. Otherwise it is being taken over."""
    batch: int
    published: int
    clock_ms: int | None


class GridStatus(msgspec.Struct, frozen=True):
    """The grid in force."""

    name: str
    version: int
    sha256: str
    refused: str | None
    """Why the present file is not in force; `None` if it is."""


class Status(msgspec.Struct, frozen=True):
    """The engine's status, for health pages."""

    live: bool
    """It has not failed."""
    ready: bool
    """It has joined the group, and all its partitions take events."""
    partitions: dict[int, PartitionStatus]
    grid: GridStatus | None
    """`None` until it has been read."""
    error: str | None
    gone: tuple[str, ...] = ()
    """Topics that it reads and that do not exist."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for any JSON encoder."""
        plain: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return plain


class Engine:
    """Scores the events of the partitions that the group assigns to it, until it is drained or must stop.

    *stopping* is called with the reason as soon as it must stop, before anything is closed. The engine rereads the grid's file
    while it runs, unless a *compiled* grid is given. *store_of* returns a partition's store. The default is the store in the
    settings' Redis.
    """

    def __init__(
        self,
        settings: Settings,
        compiled: CompiledGrid | None = None,
        *,
        store_of: Callable[[int], Store] | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        stopping: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self._stopping = stopping
        self._given_grid = compiled
        self._given_store_of = store_of
        self._redis: Client | None = None
        self._metrics = metrics
        self._starting = asyncio.Lock()
        """Held while starting, so that draining closes nothing that is still being opened."""
        self._draining = asyncio.Event()
        self._safe = asyncio.Event()
        self._safe.set()
        self._failed = asyncio.Event()
        self._error: BaseException | None = None
        self._closing = Closing()
        self._supervisor: Supervisor | None = None
        self._grid: GridFile | None = None
        self._topics: TopicWatch | None = None
        self._neighbours: dict[int, Neighbour] = {}

    async def start(self) -> None:
        """Check everything, then join the group. Returns once the group has answered.

        Raises `WorkerMustStop`, with the remedy, if a check fails. Nothing is left open then.
        """
        try:
            async with self._starting:
                if not self._draining.is_set():
                    await self._start()
        except BaseException as err:
            await self._close()
            reason = _reason(err)
            if reason is None:
                raise
            self._error = self._error or err
            raise reason from err

    async def _start(self) -> None:
        settings = self._settings
        metrics = self._metrics or Metrics()
        metrics.partitions.set(settings.partitions)
        compiled = self._given_grid or load_grid(settings)
        _log_start(settings, compiled.grid)
        store_of = self._given_store_of or self._redis_stores()
        order = None if self._redis is None or self._given_grid is not None else RedisOrder(self._redis, settings.namespace)
        grid = self._grid = GridFile(settings, compiled, metrics, order)
        admin = await Admin(settings).__aenter__()
        self._closing.add("Kafka's administration", admin.close)
        compacted = await check_topics(settings, admin, grid.compiled.unpublished)
        metrics.retention.set(await shortest_retention_s(settings, admin))
        if self._redis is not None:
            await check_redis(settings, self._redis)
            await grid.begin()
        await check_positions(settings, store_of)
        group = KafkaGroup(settings)
        self._closing.add("the consumer", group.close)
        context = Context(
            settings=settings,
            grid=grid,
            group=group,
            cluster=KafkaLog(settings, admin, group),
            store_of=store_of,
            metrics=metrics,
            neighbours=self._others,
            draining=self._draining,
            safe=self._safe,
            fold_lock=asyncio.Lock(),
            compacted=compacted,
            tracer=self._tracer,
        )
        self._supervisor = Supervisor(context, self._fail)
        self._closing.add("the partitions", self._supervisor.end, _PARTITIONS_S)
        topics = self._topics = TopicWatch(settings, context.cluster, metrics, self._supervisor.ids, group.refresh)
        await group.join(settings.topics, self._supervisor.assigned)
        group.on_change(topics.wake)
        self._background(self._supervisor.watch())
        self._background(topics.run())
        self._background(self._watch_positions(store_of, metrics))
        if self._redis is not None:
            self._background(watch_redis(self._redis, metrics, self._safe))
            self._write_checkpoints(self._redis, metrics)
        if self._given_grid is None:
            self._background(grid.watch())

    def look_at_grid(self) -> None:
        """Read the grid's file now. If it changed and has no mistakes, it is in force from the next batches on."""
        if self._grid is not None:
            self._grid.look()

    async def run(self) -> None:
        """Return when drained. Raises `WorkerMustStop` if the worker must stop, after everything is closed."""
        done = [asyncio.create_task(event.wait()) for event in (self._failed, self._draining)]
        try:
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in done:
                task.cancel()
        if self._error is None:
            return
        await self._close()
        raise _reason(self._error) or WorkerMustStop(f"unexpected error: {words(self._error)}") from self._error

    async def drain(self, deadline_s: float = 10.0) -> None:
        """Take no more records, publish the applied batches, and leave the group.

        Raises `TimeoutError` after *deadline_s*. The next owner then finds the other batches in the outbox.
        """
        self._draining.set()
        try:
            async with asyncio.timeout(deadline_s):
                async with self._starting:
                    if self._supervisor is not None:
                        self._supervisor.let_go()
                while self._supervisor is not None and (running := self._supervisor.running()):
                    await asyncio.gather(*running, return_exceptions=True)
        finally:
            await self._close()

    def status(self) -> Status:
        """Return the present status."""
        error = None if self._error is None else str(self._error)
        grid = None if self._grid is None else _grid_status(self._grid)
        gone = () if self._topics is None else tuple(sorted(self._topics.gone))
        supervisor = self._supervisor
        if supervisor is None:
            return Status(error is None, False, {}, grid, error, gone)
        partitions = {p: _partition_status(one) for p, one in sorted(supervisor.partitions.items())}
        at_work = supervisor.joined and all(one.ready for one in partitions.values())
        ready = at_work and error is None and not self._draining.is_set() and not gone
        return Status(error is None, ready, partitions, grid, error, gone)

    @property
    def draining(self) -> bool:
        """Whether it finishes its batches and then ends."""
        return self._draining.is_set()

    def _fail(self, err: BaseException) -> None:
        if self._error is None:
            self._error = err
            self._stopping(str(err) or repr(err))
            log.error("the worker must stop: %s", str(err) or repr(err), extra=fields("worker.must_stop"))
            self._failed.set()

    def _redis_stores(self) -> Callable[[int], Store]:
        client = self._redis = connect(self._settings.redis.get_secret_value())
        self._closing.add("Redis", client.aclose)
        return lambda partition: RedisStore(client, self._settings.namespace, partition)

    def _write_checkpoints(self, client: Client, metrics: Metrics) -> None:
        """Write checkpoints of our partitions in the background, if the settings ask for them."""
        settings = self._settings
        if not settings.checkpoints or not settings.checkpoint_every:
            return
        metrics.checkpoint_interval.set(settings.checkpoint_every * 3_600)

        def owned() -> list[int]:
            partitions = {} if self._supervisor is None else self._supervisor.partitions
            return [p for p, one in partitions.items() if one.ready and one.batch]

        self._background(Checkpointer(settings, client, settings.checkpoints, owned, metrics).run())

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        def ended(_: asyncio.Task[None]) -> None:
            if not task.cancelled() and (err := task.exception()) is not None:
                self._fail(err)

        task.add_done_callback(ended)
        self._closing.add("a task in the background", end, _TASK_S)

    def _others(self, partition: int) -> Iterable[Neighbour]:
        return (neighbour for p, neighbour in self._neighbours.items() if p != partition)

    def observe(self) -> None:
        """Update the metrics of the partitions' lag. The metrics page calls it, since a partition that hangs does not."""
        if self._supervisor is not None:
            for partition in self._supervisor.partitions.values():
                partition.observe()

    async def _watch_positions(self, store_of: Callable[[int], Store], metrics: Metrics) -> None:
        """Read all positions, again and again: the leads by stage of ours, and the horizons that hold our ticks back."""
        while True:
            for p in range(self._settings.partitions):
                try:
                    position = await store_of(p).position()
                except (StoreUnavailable, StoreRefused) as err:
                    log.debug("partition %d: its position is not known now: %s", p, err)
                    continue
                self._neighbours[p] = Neighbour(position.strayed_ms, position.horizon_ms)
                if self._supervisor is not None and p in self._supervisor.partitions:
                    metrics.leads_are(p, position.leads)
            await asyncio.sleep(self._settings.tick_interval / 2)

    async def _close(self) -> None:
        """Close everything that is open. Raises nothing, so that it hides no reason of a stop."""
        await self._closing.run()


def _log_start(settings: Settings, grid: Grid) -> None:
    program = version("leadpulse")
    details = fields(
        "worker.starts",
        version=program,
        core=form(),
        namespace=settings.namespace,
        group=settings.group,
        partitions=settings.partitions,
        topics=settings.topics,
        clock=settings.clock,
        grid=grid.grid,
        grid_version=grid.version,
        sha256=grid.sha256,
    )
    line = "LeadPulse %s (%s core) starts in namespace %s, with grid %s version %d"
    log.info(line, program, form(), settings.namespace, grid.grid, grid.version, extra=details)
    if settings.silent_before:
        before = settings.silent_before
        log.info("transitions of the time before %s are not announced", before, extra=fields("worker.silent", before=before))


def _partition_status(partition: Partition) -> PartitionStatus:
    return PartitionStatus(partition.ready, partition.batch, partition.published, partition.clock_ms)


def _grid_status(file: GridFile) -> GridStatus:
    grid = file.compiled.grid
    return GridStatus(grid.grid, grid.version, grid.sha256, file.refused)


def _reason(err: BaseException) -> WorkerMustStop | None:
    """Return *err* as the last line of the worker; `None` if the log needs the traceback."""
    if isinstance(err, WorkerMustStop):
        return err
    line = refusal(err)
    return None if line is None else WorkerMustStop(line)
