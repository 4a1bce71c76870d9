"""Repeats each call of the store until it answers. No answer is a wait, not an error."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from worker.engine.failpoint import failpoint
from worker.errors import IncarnationEnded, StaleStore, StoreUnavailable
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import Applied, Batch, Due, OutboxEntry, Position, Store

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


class RetryingStore:
    """One partition's store for one incarnation, with its owner's token. Each call is repeated until there is an answer.

    A repeat is safe: the store recognises a call that took effect but lost its reply. A caller gives up by cancelling the call.
    `Fenced` and `StoreRefused` are raised at once.
    """

    def __init__(self, store: Store, partition: int, token: str, metrics: Metrics) -> None:
        self._store = store
        self._partition = partition
        self._token = token
        self._metrics = metrics
        self._seconds = metrics.store_seconds

    async def acquire(self, partitions: int) -> Position:
        """See `Store.acquire`."""
        return await self._repeated("acquire", lambda: self._store.acquire(self._token, partitions))

    async def load(self, leads: Sequence[str], batch: int, most: float) -> list[bytes | None]:
        """Return the leads' states after *batch*, up to *most* bytes.

        Raises `IncarnationEnded` if the store is at another batch.
        """
        try:
            return await self._repeated("load", lambda: self._store.load(leads, self._token, batch, most)) if leads else []
        except StaleStore as err:
            raise _other_batch(batch) from err

    async def due(self, by_ms: int, limit: int, batch: int) -> Due:
        """Return the leads due by *by_ms* after *batch*. Raises `IncarnationEnded` if the store is at another batch."""
        try:
            return await self._repeated("due", lambda: self._store.due(by_ms, limit, self._token, batch))
        except StaleStore as err:
            raise _other_batch(batch) from err

    async def anyone_due(self, by_ms: int) -> bool:
        """Return whether any lead is due by *by_ms*, at whatever batch the store is. Batches go on meanwhile."""
        due = await self._repeated("due", lambda: self._store.due(by_ms, 1))
        return due.unlisted or bool(due.leads)

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """See `Store.outbox`."""
        return await self._repeated("outbox", lambda: self._store.outbox(after))

    async def grid(self) -> bytes | None:
        """See `Store.grid`."""
        return await self._repeated("grid", self._store.grid)

    async def trim(self, published: int, horizon_ms: int | None = None) -> None:
        """See `Store.trim`."""
        await self._repeated("trim", lambda: self._store.trim(self._token, published, horizon_ms))

    async def apply(self, batch: Batch) -> None:
        """Apply *batch* once. Raises `IncarnationEnded` if the store is not at the batch before it."""
        failpoint("before_apply")
        applied = await self._repeated("apply", lambda: self._store.apply(self._token, batch))
        failpoint("after_apply")
        if applied is Applied.GAP:
            raise IncarnationEnded(f"the store went back in time before batch {batch.entry.cut.batch}")

    async def _repeated(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        wait_s, began_s = _FIRST_WAIT_S, time.monotonic()
        while True:
            called_s = time.perf_counter()
            try:
                answer = await call()
            except StoreUnavailable as err:
                self._metrics.store_retries.inc()
                if wait_s == _FIRST_WAIT_S:
                    details = fields("store.silent", partition=self._partition, owner=self._token, call=name)
                    log.warning("no answer from the store, asking again until there is one: %s", err, extra=details)
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                self._seconds.labels(name).observe(time.perf_counter() - called_s)
                if wait_s != _FIRST_WAIT_S:
                    lasted_s = round(time.monotonic() - began_s, 3)
                    details = fields("store.answers", partition=self._partition, owner=self._token, call=name, seconds=lasted_s)
                    log.info("partition %d: the store answers again, after %g s", self._partition, lasted_s, extra=details)
                return answer


def _other_batch(batch: int) -> IncarnationEnded:
    return IncarnationEnded(f"the store is not at batch {batch}: it went back in time, or has another owner")
