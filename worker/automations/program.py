"""The program that acts: the partitions that the group assigns to this process, and how each begins anew after an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from worker.automations.acted import Publisher
from worker.automations.dispatch import Desks, Dispatcher
from worker.automations.partition import PartitionReader, Shared
from worker.errors import KafkaRefused, LeadPulseError, WorkerMustStop
from worker.intake_ports import Acks
from worker.logs import fields
from worker.ports import LogPartition

log = logging.getLogger(__name__)

DRAIN_S: Final = 8.0
"""Time for the acts that are being done."""

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0
_FIGURES_S: Final = 10.0


class Incarnation(NamedTuple):
    """One life of a partition in this process."""

    reader: PartitionReader
    dispatcher: Dispatcher
    publisher: Publisher


class Program:
    """Acts on the outputs of the partitions that the group assigns to this process."""

    def __init__(self, shared: Shared, desks: Desks, acks: Acks, acted_topic: str) -> None:
        self._shared = shared
        self._desks = desks
        self._acks = acks
        self._acted_topic = acted_topic
        self._ours: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._living: dict[int, Incarnation] = {}
        self._failed: asyncio.Future[None] | None = None
        self.joined = False
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether each partition of ours is read."""
        return self.joined and not self.draining and self._ours == self._living.keys()

    def status(self) -> dict[str, Any]:
        """Return what `/readyz` shows."""
        return {
            "ready": self.ready, "draining": self.draining, "partitions": sorted(self._ours), "reading": sorted(self._living)
        }  # fmt: skip

    async def run(self) -> None:
        """Act until cancelled. Raises errors of the group, after which the caller joins anew, and what must be mended."""
        self._failed = asyncio.get_running_loop().create_future()
        figures = asyncio.create_task(self._figures())
        try:
            await self._shared.group.join(self._shared.topics, self._assigned)
            while not self._failed.done():
                await self._shared.group.poll()
            self._failed.result()
        finally:
            figures.cancel()
            await self._end()

    async def drain(self, within_s: float = DRAIN_S) -> None:
        """Begin nothing more, and let the acts end that are being done. Their ends are published."""
        self.draining = True
        living = list(self._living.values())
        await self._end()
        try:
            async with asyncio.timeout(within_s):
                await self._desks.hands.idle()
                for one in living:
                    await one.publisher.publish()
        except (TimeoutError, LeadPulseError) as error:
            log.warning("not drained: %s", type(error).__name__, extra=fields("act.not_drained"))

    async def _end(self) -> None:
        self._ours = set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _assigned(self, partitions: set[LogPartition]) -> None:
        self.joined = True
        if self.draining:
            return
        every = len(self._shared.topics)
        held: dict[int, int] = {}
        for tp in partitions:
            held[tp.partition] = held.get(tp.partition, 0) + 1
        self._ours = {p for p, count in held.items() if count == every}
        self._shared.metrics.partitions.set(len(self._ours))
        for p in self._tasks.keys() - self._ours:
            self._tasks[p].cancel()
        for p in self._ours - self._tasks.keys():
            self._begin(p)

    def _begin(self, p: int) -> None:
        task = self._tasks[p] = asyncio.create_task(self._tend(p), name=f"acts-{p}")
        task.add_done_callback(lambda done: self._ended(p, done))

    def _ended(self, p: int, task: asyncio.Task[None]) -> None:
        del self._tasks[p]
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
        elif p in self._ours:  # revoked and assigned again while it was ending
            self._begin(p)

    async def _tend(self, p: int) -> None:
        """Act on partition *p* for as long as it is ours, with a new incarnation after each error."""
        wait_s = _FIRST_WAIT_S
        while p in self._ours:
            began = asyncio.get_running_loop().time()
            try:
                await self._live(p)
            except (KafkaRefused, WorkerMustStop):
                raise
            except LeadPulseError as error:
                log.warning("partition %d: beginning anew: %s", p, error.line(), extra=fields("act.anew", partition=p))
            except Exception:
                log.exception("partition %d: beginning anew", p, extra=fields("act.anew", partition=p))
            finally:
                self._living.pop(p, None)
            lasted_s = asyncio.get_running_loop().time() - began
            wait_s = _FIRST_WAIT_S if lasted_s > _LONGEST_WAIT_S else min(2 * wait_s, _LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    async def _live(self, p: int) -> None:
        """Take partition *p* over, and act until the first error, which it raises."""
        shared, broke = self._shared, asyncio.get_running_loop().create_future()

        def end(error: BaseException) -> None:
            if not broke.done():
                broke.set_exception(error)

        reader = PartitionReader(shared, p, lambda: dispatcher.wake())  # noqa: PLW0108 (it is made below)
        dispatcher = Dispatcher(self._desks, reader.ledger, reader, end)
        publisher = Publisher(reader.ledger, self._acks, shared.metrics, self._acted_topic, dispatcher.ended)
        found = await reader.take_over()
        if found.went_back:
            await dispatcher.doubt()
        await reader.trust()
        self._living[p] = Incarnation(reader, dispatcher, publisher)
        log.info("partition %d: acting", p, extra=fields("act.acting", partition=p))
        await _first_error(broke, reader.read, reader.commit, dispatcher.run, publisher.run)

    async def _figures(self) -> None:
        """Show what waits in the ledgers of our partitions, and which breakers are open."""
        metrics, desk = self._shared.metrics, self._desks.desk
        while True:
            try:
                found = [await one.reader.ledger.figures() for one in list(self._living.values())]
                status = await desk.limits.status(list(desk.targets))
            except LeadPulseError:
                found, status = [], {}
            _show(metrics, found, desk.targets, desk.now_ms())
            for target, one in status.items():
                metrics.broken.labels(target).set(one.get("breaker") == "open")
            await asyncio.sleep(_FIGURES_S)


async def _first_error(broke: asyncio.Future[None], *runs: Callable[[], Awaitable[None]]) -> None:
    """Run *runs* until one of them fails, or *broke* does, and raise that error."""

    async def tended(run: Callable[[], Awaitable[None]]) -> None:
        await run()

    tasks: list[asyncio.Future[None]] = [broke, *(asyncio.ensure_future(tended(run)) for run in runs)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _show(metrics: Any, found: list[dict[str, dict[str, int]]], targets: Any, now_ms: int) -> None:
    for target in targets:
        ours = [one.get(target, {}) for one in found]
        for state in ("intent", "retry", "held", "dead", "unknown", "stale"):
            metrics.held.labels(target, state).set(sum(one.get(state, 0) for one in ours))
        metrics.states_waiting.labels(target).set(sum(one.get("states", 0) for one in ours))
        oldest = [one["oldest_ms"] for one in ours if one.get("oldest_ms")]
        metrics.oldest_seconds.labels(target).set(max(0, now_ms - min(oldest)) / 1000 if oldest else 0)
