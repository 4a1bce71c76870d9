"""Runs the incarnations of the partitions that the group assigns to this worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from worker.adapters.kafka_clients import HEARTBEAT_S
from worker.engine.checks import MISSING
from worker.engine.partition import Context, Partition
from worker.errors import Ends, LeadPulseError, LogUnavailable, NoRight, ProducerFailed, WorkerMustStop
from worker.logs import fields
from worker.ports import LogPartition

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_STEADY_S = 30.0
"""After an incarnation that lasted so long, the next one begins soon. Its fault differs from the previous one."""

_CAUSES = ("fenced", "store", "lost", "transaction", "error")
"""If several errors occur at once, the first of these is the cause of the others."""


class Supervisor:
    """Starts partition p when p of every topic is assigned to this worker, and ends it when one of them is not.

    A partition that stays assigned in a rebalance is not interrupted. Its producer and token decide who owns it. The group only
    decides who should take it over. A fault ends one incarnation, and the next one begins. *stop* is called with an error that
    must end the worker.
    """

    def __init__(self, context: Context, stop: Callable[[BaseException], None]) -> None:
        self._context = context
        self._stop = stop
        self._ours: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.partitions: dict[int, Partition] = {}
        """The incarnations at work, by partition."""
        self.joined = False
        """The group has assigned our partitions, perhaps none."""

    def assigned(self, assigned: set[LogPartition]) -> None:
        """Start and end partitions by the new assignment. Raises nothing, because the consumer would ignore it."""
        try:
            self._assign(assigned)
            self.joined = True
            self._context.metrics.rebalances.inc()
        except Exception as err:  # noqa: BLE001 (handed on)
            self._stop(err)

    def _assign(self, assigned: set[LogPartition]) -> None:
        mentioned = self._mentioned(assigned)
        self._ours = {p for p in mentioned if all(LogPartition(t, p) in assigned for t in self._context.settings.topics)}
        for p in sorted(mentioned - self._ours):
            details = fields("partition.waits", partition=p)
            log.warning("partition %d: not of every topic; waiting until all workers read the same topics", p, extra=details)
        details = fields("group.assigned", partitions=sorted(self._ours))
        log.info("the group assigns the partitions %s to this worker", sorted(self._ours), extra=details)
        for p in self._tasks.keys() - self._ours:
            self._tasks[p].cancel()
        if not self._context.draining.is_set():
            for p in self._ours - self._tasks.keys():
                self._begin(p)

    def _mentioned(self, assigned: set[LogPartition]) -> set[int]:
        """Return the numbers of the *assigned* partitions. Raises `WorkerMustStop` if one is not below the partition count."""
        mentioned = {tp.partition for tp in assigned}
        added = [p for p in mentioned if p >= self._context.settings.partitions]
        if added:
            raise WorkerMustStop(
                f"partitions {added} were added to {', '.join(sorted({tp.topic for tp in assigned if tp.partition in added}))}:"
                " the partition count decides which partition owns a lead. Move the leads with `leadpulse repartition`, into"
                " another LEADPULSE_NAMESPACE with LEADPULSE_PARTITIONS set to the new number"
            )
        return mentioned

    def _begin(self, p: int) -> None:
        task = self._tasks[p] = asyncio.create_task(self._tend(p), name=f"partition-{p}")
        task.add_done_callback(lambda _: self._ended(p))

    def _ended(self, p: int) -> None:
        del self._tasks[p]
        partition = self.partitions.pop(p, None)
        if partition is not None:
            details = fields("partition.left", **partition.standing())
            log.info("partition %d: left at batch %d, %s", p, partition.batch, partition.next, extra=details)
        if p in self._ours and not self._context.draining.is_set():  # revoked and assigned again while it was ending
            self._begin(p)
        else:
            self._context.metrics.forget(p)

    async def _tend(self, p: int) -> None:
        """Run one incarnation after the other while the partition is ours."""
        wait_s = _FIRST_WAIT_S
        # Checked each time: an incarnation that fails while it is cancelled raises its errors instead of the cancellation.
        while p in self._ours and not self._context.draining.is_set():
            partition = self.partitions[p] = Partition(self._context, p)
            began = time.monotonic()
            try:
                await partition.run()
            except Exception as group:  # noqa: BLE001 (handled below, and logged)
                err = _worst(group)
                cause = await self._judge(p, err)
                if cause is None:
                    return
                self._context.metrics.incarnations.labels(str(p), cause).inc()
                _log_end(p, partition, cause, err)
                wait_s = next_wait(wait_s, time.monotonic() - began)
                await asyncio.sleep(max(wait_s, HEARTBEAT_S) if cause == "fenced" else wait_s)

    async def _judge(self, p: int, err: BaseException) -> str | None:
        """Return the cause that ended the incarnation; `None` if the worker must stop. Otherwise a new one begins."""
        if isinstance(err, ProducerFailed) and (missing := await self._missing()):
            err = WorkerMustStop(f"missing topics: {', '.join(missing)}: {MISSING}")
        if not isinstance(err, LeadPulseError) or err.ends is Ends.CALL:  # its caller should have handled it
            return LeadPulseError.cause
        if err.ends is Ends.WORKER:
            self._stop(err)
            return None
        return err.cause

    async def _missing(self) -> list[str]:
        settings, unpublished = self._context.settings, self._context.grid.compiled.unpublished
        try:
            found = await self._context.cluster.partitions([*settings.topics, *settings.outputs_but(unpublished)])
        except Exception as err:  # noqa: BLE001 (brokers that do not answer are no proof of a missing topic)
            log.warning("could not ask the brokers which topics there are: %r", err, extra=fields("kafka.silent"))
            return []
        return [topic for topic, partitions in found.items() if not partitions]

    async def watch(self) -> None:
        """Poll the consumer for no record, again and again.

        aiokafka leaves the group for good after five minutes without a fetch. A worker without partitions, or whose partitions
        all wait, must stay in it. The poll also raises errors of the group's background tasks.
        """
        while True:
            try:
                await self._context.group.poll()
            except NoRight as err:
                raise WorkerMustStop(
                    f"no right to read as group {self._context.settings.group!r}: {err!r}: grant Read on it"
                ) from err
            except LogUnavailable as err:
                if not err.retriable:
                    raise WorkerMustStop(f"the consumer group cannot go on: {err!r}") from err
                log.warning("consumer group: %r", err, extra=fields("group.error"))
                await asyncio.sleep(1)

    def ids(self) -> dict[int, Mapping[str, str]]:
        """Return partition → topic → its id or mark, for the partitions that are ready."""
        return {p: partition.ids for p, partition in self.partitions.items() if partition.ready}

    def running(self) -> list[asyncio.Task[None]]:
        """Return the tasks of the partitions."""
        return list(self._tasks.values())

    def let_go(self) -> None:
        """End partitions that have nothing to finish: during a take-over, or while they wait for their next try."""
        for p, task in self._tasks.items():
            partition = self.partitions.get(p)
            if partition is None or not partition.ready:
                task.cancel()

    async def end(self) -> None:
        """Cancel the tasks that still run, and wait for them."""
        self._ours = set()
        tasks = self.running()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_end(p: int, partition: Partition, cause: str, err: BaseException) -> None:
    """Log that an incarnation of *p* has ended, and why."""
    details = fields("partition.anew", **partition.standing(), cause=cause)
    if cause == "error":
        log.error("partition %d: beginning anew after an unexpected error", p, exc_info=err, extra=details)
    elif cause == "fenced":
        log.warning("partition %d: another owner has taken over: %s", p, err, extra=details)
    else:
        log.warning("partition %d: beginning anew: %s", p, err, extra=details)


def next_wait(wait_s: float, lasted_s: float) -> float:
    """Return the seconds to wait after an incarnation that lasted *lasted_s*. The wait before it was *wait_s*.

    A partition that fails soon after each take-over is tried at longer and longer intervals.
    """
    return _FIRST_WAIT_S if lasted_s > _STEADY_S else min(wait_s * 2, _LONGEST_WAIT_S)


def _worst(err: BaseException) -> BaseException:
    """Return the error of a group that decides what ends."""

    def rank(one: BaseException) -> tuple[int, int]:
        return (-one.ends, _CAUSES.index(one.cause)) if isinstance(one, LeadPulseError) else (-Ends.CALL, len(_CAUSES))

    return min(_leaves(err), key=rank)


def _leaves(err: BaseException) -> Iterator[BaseException]:
    if isinstance(err, BaseExceptionGroup):
        for one in err.exceptions:
            yield from _leaves(one)
    else:
        yield err
