"""Checkpoints, written beside the hot path.

A checkpoint is an older copy of one partition of Redis. After a restore the next owner goes on as from any such copy. It folds
the batches since then again, by the journal's cuts, and sends no output a second time. So a checkpoint can be used for as long
as the input topics and the journal hold everything after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from worker.adapters.redis_client import Client
from worker.adapters.redis_copy import PartitionCopy, Stood, leads_in
from worker.adapters.redis_store import RedisOrder, RedisStore
from worker.adapters.stored_files import Files, files_at
from worker.core.batch.checkpoint import FORMAT, Manifest, RowsWriter, encode_manifest
from worker.core.contract.model import LeadWrite
from worker.core.scoring.state import FOLD_VERSION, STATE_VERSION
from worker.engine.grid_order import order_up_to
from worker.engine.kept import Kept, clean, folder_of, kept
from worker.errors import CopyOver, NotTaken, StoreRefused, StoreUnavailable
from worker.logs import fields
from worker.metrics import Metrics
from worker.settings import Settings

log = logging.getLogger(__name__)

_KEEP_S: Final = 15.0
_REST: Final = 3.0
"""The rest after a slice is so many times as long. So a checkpoint takes at most a quarter of Redis and of the worker."""
_LONGEST_REST_S: Final = 0.5
_MOST_ROUNDS: Final = 2_000
"""Most reads of changed leads, of 500 each. If leads still change then, they change faster than they are read."""
_PUBLISHED_S: Final = 60.0
_LOOK_S: Final = 60.0


class Taken(NamedTuple):
    """A complete checkpoint."""

    name: str
    manifest: Manifest
    seconds: float


async def take(
    settings: Settings, client: Client, files: Files, partitions: Collection[int]
) -> AsyncGenerator[tuple[int, Taken | NotTaken]]:
    """Write a checkpoint of each of *partitions* by one scan of Redis; yield the result of each.

    Workers go on meanwhile. A checkpoint is complete once all outputs of its batches are published.
    """
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        writers: dict[int, _Writer] = {}
        for p in sorted(partitions):
            writer = _Writer(settings, client, files, p)
            stack.push_async_callback(writer.close)
            if (refused := await _tried(writer.begin())) is not None:
                yield p, refused
            else:
                writers[p] = writer
        keeping = asyncio.create_task(_keep(writers))
        stack.push_async_callback(_cancelled, keeping)
        async for p, refused in _scan(settings, client, writers):
            del writers[p]
            yield p, refused
        for p, writer in list(writers.items()):
            refused = await _tried(writer.finish())
            del writers[p]
            yield p, Taken(writer.name, writer.manifest, time.monotonic() - began) if refused is None else refused


async def _tried(work: Any) -> NotTaken | None:
    """Await *work*; return its failure, which concerns this checkpoint only, as `NotTaken`."""
    try:
        await work
    except (CopyOver, StoreRefused, StoreUnavailable, NotTaken, OSError) as err:
        return err if isinstance(err, NotTaken) else NotTaken(str(err) or repr(err))
    except Exception as err:  # noqa: BLE001 (libraries of object storages raise any exception)
        return NotTaken(f"{type(err).__name__}: {err}")
    return None


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _keep(writers: Mapping[int, _Writer]) -> None:
    """Keep the copies alive while the scan reads keys of others."""
    while True:
        await asyncio.sleep(_KEEP_S)
        for writer in list(writers.values()):
            await _tried(writer.keep())  # a copy that is over raises at its next read


async def _scan(settings: Settings, client: Client, writers: Mapping[int, _Writer]) -> AsyncIterator[tuple[int, NotTaken]]:
    """Write every lead's row; yield the partitions that failed. The caller then removes their writer."""
    try:
        async for page in leads_in(client, settings.namespace):
            by_partition: dict[int, list[str]] = {}
            for p, lead in page:
                if p in writers:
                    by_partition.setdefault(p, []).append(lead)
            for p, leads in by_partition.items():
                if (refused := await _tried(writers[p].rows(leads))) is not None:
                    yield p, refused
    except (StoreRefused, StoreUnavailable) as err:
        for p in list(writers):
            yield p, NotTaken(str(err))


class _Writer:
    """Writes the checkpoint of one partition."""

    def __init__(self, settings: Settings, client: Client, files: Files, partition: int) -> None:
        self._settings = settings
        self._files = files
        self._partition = partition
        self._folder = folder_of(settings.namespace, partition)
        self._store = RedisStore(client, settings.namespace, partition)
        self._order = RedisOrder(client, settings.namespace)
        self._copy = PartitionCopy(self._store)
        self._open = contextlib.ExitStack()
        self._rows: RowsWriter | None = None
        self._rows_name = f"{uuid.uuid4().hex}.rows.gz"
        self.name = ""
        self.manifest: Manifest
        """Set once it is finished."""

    async def begin(self) -> None:
        await self._copy.begin()
        file: BinaryIO = await asyncio.to_thread(
            self._open.enter_context, self._files.write(f"{self._folder}/{self._rows_name}")
        )
        self._rows = RowsWriter(file)

    async def keep(self) -> None:
        await self._copy.keep()

    async def rows(self, leads: Sequence[str]) -> None:
        left = list(leads)
        while left:  # at most a slice in memory, since one lead may have 100 kB
            began = time.monotonic()
            some = await self._copy.rows(left)
            await self._add(some)
            del left[: len(some)]
            await asyncio.sleep(min(_LONGEST_REST_S, _REST * (time.monotonic() - began)))

    async def finish(self) -> None:
        """Bring all rows to one batch, wait until it is published, and then write the manifest."""
        stood: Stood | None = None
        for _ in range(_MOST_ROUNDS):
            writes, stood = await self._copy.changed()
            await self._add(writes)
            if stood is not None:
                break
        if stood is None:
            raise NotTaken(f"partition {self._partition}: its leads change faster than they can be read")
        if not any(name.startswith("next:") for name in stood.position):
            raise NotTaken(f"partition {self._partition}: it was not filled to its end by `leadpulse repartition`")
        assert self._rows is not None
        digest = await asyncio.to_thread(self._rows.finish)
        await asyncio.to_thread(self._open.close)
        await self._published(stood.batch)
        self.manifest = Manifest(
            format=FORMAT,
            namespace=self._settings.namespace,
            partition=self._partition,
            partitions=int(stood.position["partitions"]),
            batch=stood.batch,
            created_ms=int(time.time() * 1000),
            fold=FOLD_VERSION,
            words=stood.position.get("words", ""),
            state_version=STATE_VERSION,
            position=stood.position | {"published": str(stood.batch)},
            grid_text=stood.grid,
            rows=self._rows_name,
            rows_bytes=self._rows.bytes,
            rows_sha256=digest,
            rows_count=self._rows.count,
            order=await order_up_to(self._order, int(stood.position.get("order", 0))),
        )
        self.name, encoded = encode_manifest(self.manifest)
        await asyncio.to_thread(self._files.put, f"{self._folder}/{self.name}", encoded)

    async def _add(self, writes: Sequence[LeadWrite]) -> None:
        assert self._rows is not None
        if writes:
            await asyncio.to_thread(self._rows.add, writes)

    async def _published(self, batch: int) -> None:
        """Wait until *batch* is published, because a checkpoint has no outbox."""
        patience_s = max(_PUBLISHED_S, 3 * self._settings.tick_interval)  # cuts alone go out with the next tick
        deadline = time.monotonic() + patience_s
        while (position := await self._store.position()).published < batch:
            if time.monotonic() > deadline:
                raise NotTaken(
                    f"partition {self._partition}: batch {batch} was not published within {patience_s:g} s"
                    f" ({position.published} is): do its workers run, and does Kafka take outputs?"
                )
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Close the writer. If it is not finished, remove its rows. `clean` removes rows that are left, after a day."""
        with contextlib.suppress(Exception):
            await self._copy.end()
        with contextlib.suppress(Exception):
            await asyncio.to_thread(self._open.close)
        if not self.name and self._rows is not None:
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._files.remove, f"{self._folder}/{self._rows_name}")


class Checkpointer:
    """Writes a checkpoint of each partition that this worker owns, every so many hours. A failure does not end the worker.

    *owned* returns the partitions that take events here now.
    """

    def __init__(
        self, settings: Settings, client: Client, place: str, owned: Callable[[], Collection[int]], metrics: Metrics
    ) -> None:
        self._settings = settings
        self._client = client
        self._place = place
        self._owned = owned
        self._metrics = metrics
        self._every_ms = settings.checkpoint_every * 3_600_000

    async def run(self) -> None:
        """Check again and again whether a checkpoint is due. Never ends by itself."""
        look_s = min(_LOOK_S, self._every_ms / 4_000)
        while True:
            try:
                await self._round()
            except Exception as err:  # noqa: BLE001 (scoring goes on without checkpoints, and an alert reports that)
                self._metrics.checkpoints.labels("failed").inc()
                for p in self._owned():  # shown as 0 if unknown: an alert compares it with the clock
                    self._metrics.checkpoint_time.labels(str(p))
                details = fields("checkpoint.failed", reason=str(err))
                log.warning("no checkpoint, it is tried again: %s", str(err) or repr(err), extra=details)
            await asyncio.sleep(look_s)

    async def _round(self) -> None:
        files = await asyncio.to_thread(files_at, self._place)
        due = []
        for p in sorted(self._owned()):
            newest = await asyncio.to_thread(self._newest, files, p)
            self._metrics.checkpoint_time.labels(str(p)).set(newest.manifest.created_ms / 1000 if newest else 0)
            if newest is None or await self._is_due(newest.manifest):
                due.append(p)
        if not due:
            return
        async with contextlib.aclosing(take(self._settings, self._client, files, due)) as results:
            async for p, result in results:
                if isinstance(result, NotTaken):
                    self._metrics.checkpoints.labels("failed").inc()
                    details = fields("checkpoint.failed", partition=p, reason=str(result))
                    log.warning("partition %d: no checkpoint, it is tried again: %s", p, result, extra=details)
                    continue
                self._note(p, result)
                await asyncio.to_thread(clean, files, self._settings.namespace, p, self._settings.checkpoint_keep)

    def _newest(self, files: Files, partition: int) -> Kept | None:
        def refused(words: str) -> None:
            log.warning("%s", words, extra=fields("checkpoint.damaged", partition=partition))

        return next(iter(kept(files, self._settings.namespace, partition, refused)), None)

    async def _is_due(self, manifest: Manifest) -> bool:
        """Return whether a new checkpoint is due: the last one is old, or its version's batches cannot be folded again."""
        if manifest.fold != FOLD_VERSION or time.time() * 1000 - manifest.created_ms >= self._every_ms:
            return True
        store = RedisStore(self._client, self._settings.namespace, manifest.partition)
        return (await store.position()).words != manifest.words

    def _note(self, p: int, taken: Taken) -> None:
        manifest = taken.manifest
        self._metrics.checkpoints.labels("done").inc()
        self._metrics.checkpoint_time.labels(str(p)).set(manifest.created_ms / 1000)
        self._metrics.checkpoint_bytes.labels(str(p)).set(manifest.rows_bytes)
        details = fields("checkpoint.done", partition=p, batch=manifest.batch, name=taken.name, bytes=manifest.rows_bytes)
        line = "partition %d: checkpoint of batch %d, %d rows in %d bytes, took %.1f s"
        log.info(line, p, manifest.batch, manifest.rows_count, manifest.rows_bytes, taken.seconds, extra=details)
