"""Where a partition stands: what the store remembers of it, held against what Kafka has. The same for `run` and `doctor`."""

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
    """Each topic's log as it is now: those that the worker reads, and those that the store remembers."""

    starts: dict[str, int]
    ends: dict[str, int]
    ids: dict[str, str]
    """`UNKNOWN` where brokers give none; a topic that is gone is not in it."""
    afresh: frozenset[str]
    """Those to be read from their start, as an operator allowed: what was to be read of them is gone."""


class Found(NamedTuple):
    """What Kafka says of a partition, held against its position in the store."""

    witnesses: Witnesses
    logs: Logs

    @property
    def published(self) -> int:
        """W."""
        return self.witnesses.published

    @property
    def truth(self) -> Mapping[str, int]:
        """Topic → next offset of batch W, as the group or the journal has it."""
        return self.witnesses.ends


async def look(settings: Settings, partition: int, position: Position, cluster: Log) -> Found:
    """Return what Kafka says of *partition*.

    Raises `WorkerMustStop`, with what mends it, where going on from *position* would lose or double something. Raises
    `IncarnationEnded` where a
    topic is gone, or the journal is not given, and `JournalError` for a cut that cannot be read. Raises `LogUnavailable`
    where the brokers do not answer.
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
    if position.batch < published:  # each cut of the journal is held against the topics then, as it is folded again
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
    """Return the topics' logs. *held*: topic → id or mark of what was read up to *next_*. *again*: batches are folded again.

    Raises `WorkerMustStop`, unless *may_lose*, where a topic is not the topic that was read, or lacks records that must be
    read.
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
    for topic in sorted(read):
        mark = Mark.read(held.get(topic, UNKNOWN))
        if mark is not None and starts[topic] <= mark.offset < ends[topic]:  # else retention has deleted it, or see below
            tp = LogPartition(topic, partition)
            if not await _holds(cluster, tp, mark):
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
    """Return whether a topic with the id *now* may be the topic that was read. *held*: the id then, a mark, or nothing."""
    return held == now or not (is_id(held) and is_id(now))


async def _ids(cluster: Log, topics: Collection[str], held: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of those of *topics* that are there.

    A broker whose metadata lag behind may for a moment tell of a topic that was: where something differs it asks again. It does
    so where a broker is down, too. Raises `LogUnavailable` where none of them answered.
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
    """Return whether the record of *mark* is still where it was read."""
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
    """Raise `WorkerMustStop` when the state in the store is not fit for these settings."""
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
    """Raise `WorkerMustStop` unless the state's topics *next_* are the settings', or an operator *allowed* those to follow."""
    if set(next_) != set(settings.topics) and allowed != tuple(sorted(settings.input_topics)):
        raise WorkerMustStop(
            f"partition {partition}: its state was made from the topics {', '.join(sorted(next_))}, but"
            f" LEADPULSE_INPUT_TOPICS and LEADPULSE_NAMESPACE give {', '.join(settings.topics)}. All workers and replays must"
            " read the same topics: restore the settings, or change the inputs with `leadpulse topics change`"
        )


def check_truth(partition: int, batch: int, held: Mapping[str, int], published: Mapping[str, int]) -> None:
    """Raise `WorkerMustStop` when the store's *batch* ends elsewhere than the batch that was published under that number.

    Redis went back in time, and another batch took the number. Then Redis went forth again, to a copy of what was never to be.
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
    """Raise `WorkerMustStop` when a topic that is no longer an input holds records that no worker read.

    *unread*: how many, about; `None` where that is not known, because the topic was deleted.
    """
    left = {topic: count for topic, count in unread.items() if count is None or count > 0}
    if left and not may_lose:
        said = ", ".join(f"{topic} ({'deleted' if count is None else f'{count} records'})" for topic, count in left.items())
        raise WorkerMustStop(
            f"partition {partition}: {said} is no longer an input, and was not read to its end: stop its producers and"
            " let a worker with the earlier LEADPULSE_INPUT_TOPICS read the rest, or lose it with LEADPULSE_ACCEPT_LOSS=true"
        )


async def _ends(
    cluster: Log, partition: int, topics: Collection[str], next_: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return where the log of each of *topics* begins and ends.

    A broker that has just become leader may for a moment know of less than it holds: where a log ends before *next_*, it is
    asked again.
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
    """Raise `WorkerMustStop` where records that must be read are gone.

    *behind*: the topics whose log begins after *next_*, *beyond*: those whose log ends before it. *again*: what mends it where
    the records must be folded again; such a loss cannot be accepted.
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
    """Raise `WorkerMustStop` where *another* names topics that were deleted and made again since they were read."""
    if another:
        raise WorkerMustStop(
            f"partition {partition}: {', '.join(sorted(another))} was deleted and recreated since it was read, or this is"
            " another cluster than before. Its present records were not read. Check LEADPULSE_KAFKA; read it from its start"
            f" with LEADPULSE_ACCEPT_LOSS=true, or start afresh under another LEADPULSE_NAMESPACE than {settings.namespace}"
        )
