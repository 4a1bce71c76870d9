"""Compares a partition's position in the store with Kafka. `run` and `doctor` use the same checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

from worker.adapters.redis_client import redacted
from worker.core.contract.folded import UNKNOWN, Mark, is_id
from worker.engine.witnesses import Witnesses, ask, group_published
from worker.errors import IncarnationEnded, LogUnavailable, WorkerMustStop
from worker.ports import Log, LogPartition, Position
from worker.settings import Settings

RESTORE = (
    "restore a newer copy of Redis; or delete the partition's keys and put a checkpoint back with `leadpulse rebuild`; or start"
    " afresh under another LEADPULSE_NAMESPACE"
)
_ATTEMPTS = 4
_PATIENCE_S = 60.0
_FETCH_S = 0.5


class Logs(NamedTuple):
    """The logs of the topics that the worker reads, and of those in the stored position."""

    starts: dict[str, int]
    ends: dict[str, int]
    ids: dict[str, str]
    """`UNKNOWN` if the brokers have no ids. A topic that is gone is left out."""
    afresh: frozenset[str]
    """Topics whose next records are gone. An operator allowed to read them from their start."""


class Found(NamedTuple):
    """A partition in Kafka, compared with its position in the store."""

    witnesses: Witnesses
    logs: Logs

    @property
    def published(self) -> int:
        """W."""
        return self.witnesses.published

    @property
    def truth(self) -> Mapping[str, int]:
        """Topic → next offset of batch W, by the group or the journal."""
        return self.witnesses.ends


async def look(settings: Settings, partition: int, position: Position, cluster: Log) -> Found:
    """Return the witnesses and logs of *partition* in Kafka.

    Raises `WorkerMustStop`, with the remedy, if going on from *position* would lose or double something. Raises
    `IncarnationEnded` if a topic is gone or the journal cannot be read, and `JournalError` for a damaged cut. Raises
    `LogUnavailable` if the brokers do not answer.
    """
    committed = await cluster.committed(partition)
    check_position(settings, partition, position, max(position.published, group_published(committed)))
    if settings.internal_topic not in await cluster.ids({settings.internal_topic}):
        raise _gone(partition, [settings.internal_topic])
    witnesses = await ask(settings, partition, position, committed, cluster)
    published = witnesses.published
    check_position(settings, partition, position, published)
    if position.batch and position.batch == published:
        check_truth(partition, published, position.next, witnesses.ends)
    if position.batch < published:  # the refold compares each cut with the topics
        again = {"may_lose": False, "again": True}
        return Found(witnesses, await look_at_log(settings, partition, position.next, {}, cluster, **again))
    logs = await look_at_log(settings, partition, position.next, position.ids, cluster, may_lose=settings.accept_loss)
    return Found(witnesses, logs)


async def look_at_log(
    settings: Settings,
    partition: int,
    next_: Mapping[str, int],
    held: Mapping[str, str],
    cluster: Log,
    *,
    may_lose: bool,
    again: bool = False,
) -> Logs:
    """Return the topics' logs. *held* has the id or mark of each topic that was read up to *next_*.

    *again*: batches will be folded again. Raises `WorkerMustStop`, unless *may_lose*, if a topic was recreated or lacks records
    that must be read.
    """
    ids = await _ids(cluster, {*settings.topics, *next_}, held)
    gone = [topic for topic in settings.topics if topic not in ids]
    if gone:
        raise _gone(partition, gone)
    read = next_.keys() & set(settings.topics)
    another = {topic for topic in read if not same(held.get(topic, UNKNOWN), ids[topic])}
    if not may_lose:
        check_ids(settings, partition, another)
    starts, ends = await _ends(cluster, partition, ids, next_)
    marks = {topic: mark for topic in sorted(read) if (mark := Mark.read(held.get(topic, UNKNOWN))) is not None}
    for topic, mark in marks.items():
        known = starts[topic] <= mark.offset < ends[topic]  # else retention has deleted the record, or the log ends before it
        if known and not await _holds(cluster, LogPartition(topic, partition), mark):
            another.add(topic)
    behind = {topic for topic, offset in next_.items() if offset < starts.get(topic, 0)} - another
    beyond = {topic for topic, offset in next_.items() if offset > ends.get(topic, offset)} - another
    if not may_lose:
        check_ids(settings, partition, another)
        afresh = f"start afresh under another LEADPULSE_NAMESPACE than {settings.namespace}"
        check_offsets(partition, next_, starts, behind, beyond, afresh, RESTORE if again else "")
    return Logs(starts, ends, ids, frozenset(another | behind | beyond))


def _gone(partition: int, topics: Collection[str]) -> IncarnationEnded:
    return IncarnationEnded(f"partition {partition}: {', '.join(topics)} is gone: waiting until it is there again")


def same(held: str, now: str) -> bool:
    """Return whether a topic with the id *now* may be the topic that was read. *held* is the id then, a mark, or `UNKNOWN`."""
    return held == now or not (is_id(held) and is_id(now))


async def _ids(cluster: Log, topics: Collection[str], held: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of those of *topics* that exist.

    A broker with old metadata may for a moment report a topic that is gone. So if an id differs, or no broker answers, the
    brokers are asked again. Raises `LogUnavailable` if none answered.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            ids = await cluster.ids(topics)
        except LogUnavailable:
            if attempt == _ATTEMPTS:
                raise
        else:
            if attempt == _ATTEMPTS or all(topic in ids and same(held.get(topic, UNKNOWN), ids[topic]) for topic in topics):
                return ids
        await asyncio.sleep(attempt / 2)


async def _holds(cluster: Log, tp: LogPartition, mark: Mark) -> bool:
    """Return whether the record of *mark* is still at its offset."""
    deadline = time.monotonic() + _PATIENCE_S
    async with cluster.reader([tp]) as reader:
        reader.seek(tp, mark.offset)
        while time.monotonic() < deadline:
            for record in (await reader.fetch([tp], _FETCH_S, 1))[tp].records:
                return Mark.of(record) == mark
    raise IncarnationEnded(
        f"partition {tp.partition}: {tp.topic} returned no record for {_PATIENCE_S:g} s from offset {mark.offset} on"
    )


def check_position(settings: Settings, partition: int, position: Position, published: int) -> None:
    """Raise `WorkerMustStop` if the stored state does not fit these settings or the batch that was *published*."""
    if position.partitions not in (0, settings.partitions):
        raise WorkerMustStop(
            f"partition {partition}: its state was made with {position.partitions} partitions, but LEADPULSE_PARTITIONS is"
            f" {settings.partitions}. The partition count decides which partition owns a lead: set it to {position.partitions},"
            " or move the leads into another LEADPULSE_NAMESPACE with `leadpulse repartition`"
        )
    if position.batch and not position.next:
        raise WorkerMustStop(
            f"partition {partition}: a copy into {settings.namespace} was cut short: delete its keys ({{{settings.namespace}:*)"
            " and run `leadpulse repartition` again"
        )
    if position.next:
        check_inputs(settings, partition, position.next, position.inputs)
    if position.batch == 0 and published > 0 and not position.rebuild:
        redis = redacted(settings.redis.get_secret_value())
        raise WorkerMustStop(
            f"partition {partition}: the store is empty, but Kafka says that batches up to {published} were published: is it"
            f" the right Redis ({redis}) and namespace ({settings.namespace})? If its data is lost, restore a copy, or fill it"
            f" again from the topics with `leadpulse rebuild --partition {partition}`"
        )


def check_inputs(settings: Settings, partition: int, next_: Collection[str], allowed: tuple[str, ...]) -> None:
    """Raise `WorkerMustStop` unless the state's topics *next_* are those of the settings, or an operator *allowed* a change."""
    if set(next_) != set(settings.topics) and allowed != tuple(sorted(settings.input_topics)):
        raise WorkerMustStop(
            f"partition {partition}: its state was made from the topics {', '.join(sorted(next_))}, but"
            f" LEADPULSE_INPUT_TOPICS and LEADPULSE_NAMESPACE give {', '.join(settings.topics)}. All workers and replays must"
            " read the same topics: restore the settings, or change the inputs with `leadpulse topics change`"
        )


def check_truth(partition: int, batch: int, held: Mapping[str, int], published: Mapping[str, int]) -> None:
    """Raise `WorkerMustStop` if the store's *batch* ends at other offsets than the batch that was published with that number.

    Redis was then restored twice. After the first time another batch took the number. The second copy is from the abandoned
    history.
    """
    differ = {topic: (offset, published[topic]) for topic, offset in held.items() if published.get(topic, offset) != offset}
    if differ:
        where = ", ".join(f"{topic} {ours}, published {theirs}" for topic, (ours, theirs) in differ.items())
        raise WorkerMustStop(
            f"partition {partition}: the store's batch {batch} is not the one that was published as {batch} ({where}): it"
            " belongs to an abandoned history of Redis. Restore another copy, or delete the partition's keys and fill it again"
            f" with `leadpulse rebuild --partition {partition}`"
        )


def check_left(partition: int, unread: Mapping[str, int | None], *, may_lose: bool) -> None:
    """Raise `WorkerMustStop` if a topic that is no longer an input has records that no worker read.

    *unread* is their number, about. It is `None` if the topic was deleted.
    """
    left = {topic: count for topic, count in unread.items() if count is None or count > 0}
    if left and not may_lose:
        topics = ", ".join(f"{topic} ({'deleted' if count is None else f'{count} records'})" for topic, count in left.items())
        raise WorkerMustStop(
            f"partition {partition}: {topics} is no longer an input, and was not read to its end: stop its producers and"
            " let a worker with the earlier LEADPULSE_INPUT_TOPICS read the rest, or lose it with LEADPULSE_ACCEPT_LOSS=true"
        )


async def _ends(
    cluster: Log, partition: int, topics: Collection[str], next_: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the start and the end of each topic's log.

    A broker that has just become leader may for a moment report an end that is too low. So if a log ends before *next_*, the
    broker is asked again.
    """
    tps = [LogPartition(topic, partition) for topic in sorted(topics)]
    attempt = 0
    while True:
        starts, ends = await asyncio.gather(cluster.starts(tps), cluster.ends(tps))
        attempt += 1
        if attempt == _ATTEMPTS or all(next_.get(tp.topic, 0) <= ends[tp] for tp in tps):
            return {tp.topic: starts[tp] for tp in tps}, {tp.topic: ends[tp] for tp in tps}
        await asyncio.sleep(attempt)


def check_offsets(
    partition: int,
    next_: Mapping[str, int],
    starts: Mapping[str, int],
    behind: Collection[str],
    beyond: Collection[str],
    afresh: str,
    again: str,
) -> None:
    """Raise `WorkerMustStop` if records that must be read are gone.

    The logs of the topics *behind* begin after *next_*, and the logs of those *beyond* end before it. *again* is the remedy if
    the records must be folded again. Such a loss cannot be accepted.
    """
    if behind:
        gone = ", ".join(f"{topic} {next_[topic]} to {starts[topic] - 1}" for topic in sorted(behind))
        if again:
            raise WorkerMustStop(
                f"partition {partition}: retention deleted records that must be folded again ({gone}): {again}"
            )
        raise WorkerMustStop(
            f"partition {partition}: retention deleted records before they were read ({gone}). Go on without them with"
            f" LEADPULSE_ACCEPT_LOSS=true, or restore a newer copy of Redis, or {afresh}; keep the topics for longer"
        )
    if beyond:
        ended = ", ".join(f"{topic} before {next_[topic]}" for topic in sorted(beyond))
        if again:
            raise WorkerMustStop(
                f"partition {partition}: the log ends before records that must be folded again ({ended}): {again}"
            )
        raise WorkerMustStop(
            f"partition {partition}: the log ends before the offset that was read ({ended}): was the topic recreated, or is"
            " this another cluster than before? Check LEADPULSE_KAFKA; read it from its start with LEADPULSE_ACCEPT_LOSS=true,"
            f" or {afresh}"
        )


def check_ids(settings: Settings, partition: int, another: Collection[str]) -> None:
    """Raise `WorkerMustStop` if topics were recreated since they were read; *another* names them."""
    if another:
        raise WorkerMustStop(
            f"partition {partition}: {', '.join(sorted(another))} was deleted and recreated since it was read, or this is"
            " another cluster than before. Its present records were not read. Check LEADPULSE_KAFKA; read it from its start"
            f" with LEADPULSE_ACCEPT_LOSS=true, or start afresh under another LEADPULSE_NAMESPACE than {settings.namespace}"
        )
