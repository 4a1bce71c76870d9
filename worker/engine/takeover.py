"""Takes a partition over, and continues exactly where the previous owner stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from worker.core.contract.folded import UNKNOWN, in_order, is_id
from worker.core.contract.journal import Cut
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry, numbered
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import FOLD_VERSION
from worker.engine.batch_builder import BatchBuilder
from worker.engine.failpoint import failpoint
from worker.engine.refold import Refold, moving
from worker.engine.retrying_store import RetryingStore
from worker.engine.standing import Found, Logs, check_inputs, check_left, check_truth, look, look_at_log, same
from worker.engine.witnesses import log_differences
from worker.errors import IncarnationEnded, LogUnavailable
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Log, OutboxEntry, Position
from worker.settings import Settings

log = logging.getLogger(__name__)


class TakenOver(NamedTuple):
    """A partition at the end of a take-over."""

    cut: Cut
    """Of the last applied batch. Before the first it is batch 0, with the offsets to begin at."""
    clock_ms: int | None
    published: int
    """W."""
    unpublished: list[OutboxEntry]
    """Batches that are applied and not published, as far as is known."""
    past: list[Entry]
    """The grids and tables that judged its leads, by the store and the journal's cuts. The last one is in force."""


async def take_over(
    settings: Settings,
    partition: int,
    store: RetryingStore,
    builder: BatchBuilder,
    cluster: Log,
    metrics: Metrics,
) -> TakenOver:
    """Become the owner of *partition* in the store, and return its position, with every batch up to W applied.

    The partition's producer must have started. So no other can publish for it, and an open transaction is aborted. If Redis is
    behind W, the same batches are folded again, and no output is sent. Raises `WorkerMustStop`, with the remedy, if going on
    would lose or double something. Raises `IncarnationEnded` if only another try can tell.
    """
    position = await store.acquire(settings.partitions)
    failpoint("after_acquire")
    try:
        standing = await look(settings, partition, position, cluster)
        log_differences(partition, standing.witnesses)
        begun = await _begun(store, builder.compiled, position)
        at, clock_ms, found = _beginning(position, standing.logs), position.clock_ms, standing.logs
        if position.batch < standing.published:
            _log_refold(partition, at, standing.published)
            refold = Refold(
                settings=settings,
                partition=partition,
                store=store,
                builder=builder,
                metrics=metrics,
                cluster=cluster,
                found=found,
            )
            at, clock_ms = await refold.run(at, clock_ms, standing.published)
            begun += refold.begun
            may_lose = settings.accept_loss
            found = await look_at_log(settings, partition, at.next, at.topic_ids(), cluster, may_lose=may_lose)
    except (LogUnavailable, TimeoutError, OSError) as err:
        raise IncarnationEnded(
            f"partition {partition}: Kafka does not answer, so the last published batch and the topics are unknown: {err!r}"
        ) from err
    if found.afresh:
        at = await _without_the_lost(store, partition, at, clock_ms, found, metrics)
    if at.next.keys() != set(settings.topics):
        check_inputs(settings, partition, at.next, position.inputs)
        at = await _with_other_topics(settings, store, partition, at, clock_ms, found)
    at = await _adopt(store, at, clock_ms, found)
    return TakenOver(
        cut=at,
        clock_ms=clock_ms,
        published=standing.published,
        unpublished=await _unpublished(store, partition, at, standing),
        past=numbered(begun),
    )


def _beginning(position: Position, found: Logs) -> Cut:
    """Return the cut of the store's last batch. Before the first, return a cut at the start of the topics."""
    next_ = dict(position.next) if position.batch else found.starts
    cut = Cut(position.batch, next_, position.grid, position.words, FOLD_VERSION)
    return msgspec.structs.replace(cut, ids=in_order(position.next, position.ids))


def _log_refold(partition: int, at: Cut, published: int) -> None:
    details = fields("partition.folds_again", partition=partition, batch=at.batch, published=published, offsets=at.next)
    log.warning(
        "partition %d: the store is at batch %d, Kafka at %d: folding again", partition, at.batch, published, extra=details
    )


async def _with_other_topics(
    settings: Settings, store: RetryingStore, partition: int, at: Cut, clock_ms: int | None, found: Logs
) -> Cut:
    """Change to the settings' topics, as an operator allowed. Raises `WorkerMustStop` if a removed topic has unread records."""
    held = at.topic_ids()
    left = at.next.keys() - set(settings.topics)
    there = {topic for topic in left if topic in found.ids and same(held.get(topic, UNKNOWN), found.ids[topic])}
    unread = {topic: found.ends[topic] - at.next[topic] if topic in there else None for topic in sorted(left)}
    check_left(partition, unread, may_lose=settings.accept_loss)
    details = fields("partition.topics", partition=partition, batch=at.batch, topics=settings.topics)
    log.warning("partition %d: from here on its topics are %s", partition, ", ".join(settings.topics), extra=details)
    next_ = {topic: at.next.get(topic, found.starts[topic]) for topic in settings.topics}
    return await _move(store, at, next_, clock_ms, _kept(at, found))


async def _unpublished(store: RetryingStore, partition: int, at: Cut, standing: Found) -> list[OutboxEntry]:
    """Return the outbox after W, which must lead up to *at* without a gap."""
    published = standing.published
    unpublished = await store.outbox(max(0, published - 1))
    if unpublished and unpublished[0].cut.batch == published:  # not trimmed yet, or of an abandoned history
        check_truth(partition, published, unpublished.pop(0).cut.next, standing.truth)
    cuts = [entry.cut for entry in unpublished]
    if [cut.batch for cut in cuts] != [*range(published + 1, at.batch + 1)] or (cuts and dict(cuts[-1].next) != dict(at.next)):
        raise IncarnationEnded(f"partition {partition}: the store went back in time while it was taken over")
    return unpublished


async def _begun(store: RetryingStore, own: CompiledGrid, position: Position) -> list[tuple[int, int, str, str]]:
    """Return the grid and tables that judged all leads last, by the position; see `numbered`."""
    if not position.grid:
        return []
    version = own.grid.version
    if position.grid != own.grid.sha256:
        try:
            version = parse_grid(await store.grid() or b"", "the partition's grid").version
        except GridError:
            version = 0  # the grid of another version of the worker: the next one need not be higher
    return [(position.order, version, position.grid, position.begun or position.words)]


async def _without_the_lost(
    store: RetryingStore, partition: int, at: Cut, clock_ms: int | None, found: Logs, metrics: Metrics
) -> Cut:
    """Go on at the start of the logs, as an operator allowed. Log the number of records that are known to be lost."""
    lost = {topic: max(0, found.starts[topic] - at.next[topic]) for topic in sorted(found.afresh)}
    log.error(
        "partition %d: going on without records that were deleted before they were read: %s",
        partition,
        lost,
        extra=fields("partition.lost_records", partition=partition, batch=at.batch, lost=lost),
    )
    metrics.lost.labels(str(partition)).inc(sum(lost.values()))
    next_ = {topic: found.starts[topic] if topic in found.afresh else offset for topic, offset in at.next.items()}
    return await _move(store, at, next_, clock_ms, _kept(at, found))


async def _adopt(store: RetryingStore, at: Cut, clock_ms: int | None, found: Logs) -> Cut:
    """Store the ids of the topics if *at*, from an older version or older brokers, has none.

    They are the topics that were read, as far as is known. They have a batch of their own, since the next one may be far away.
    """
    held, ids = at.topic_ids(), _kept(at, found)
    if at.batch and any(is_id(id_) and held.get(topic) != id_ for topic, id_ in ids.items()):
        return await _move(store, at, dict(at.next), clock_ms, ids)
    return msgspec.structs.replace(at, ids=in_order(at.next, ids))


def _kept(at: Cut, found: Logs) -> dict[str, str]:
    """Return each topic's present id. Without one, return the mark of its last record, unless it is read from its start."""
    held = {topic: text for topic, text in at.topic_ids().items() if topic not in found.afresh}
    return {topic: id_ if is_id(id_) else held.get(topic, UNKNOWN) for topic, id_ in found.ids.items()}


async def _move(store: RetryingStore, at: Cut, next_: dict[str, int], clock_ms: int | None, ids: Mapping[str, str]) -> Cut:
    """Move to *next_* by a batch of its own, without reading the records between; return its cut."""
    cut = Cut(at.batch + 1, next_, at.grid, at.words, FOLD_VERSION, lost=True, ids=in_order(next_, ids))
    await store.apply(moving(at, cut, clock_ms))
    return cut
