"""The store, asked until it answers: no answer is not an error, it is a wait."""

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
    """One partition's store for one incarnation: its owner's token, and each call repeated until there is an answer.

    Repeating is safe: a call that took effect and lost its reply says so the second time. Whoever wants to give up cancels.
    `Fenced` and `StoreRefused` pass through.
    """

    def __init__(self, store: Store, partition: int, token: str, metrics: Metrics) -> None:
        self._store = store
        self._partition = partition
        self._token = token
        self._metrics = metrics
        self._seconds = metrics.store_seconds

    async def acquire(self, partitions: int) -> Position:
        """See `Store.acquire`."""
        return await self._patiently("acquire", lambda: self._store.acquire(self._token, partitions))

    async def load(self, leads: Sequence[str], batch: int, most: float) -> list[bytes | None]:
        """Return the leads' states after *batch*, up to *most* bytes.

        Raises `IncarnationEnded` when the store is not where we left it.
        """
        try:
            return await self._patiently("load", lambda: self._store.load(leads, self._token, batch, most)) if leads else []
        except StaleStore as err:
            raise _elsewhere(batch) from err

    async def due(self, by_ms: int, limit: int, batch: int) -> Due:
        """Return who is due by *by_ms* after *batch*. Raises `IncarnationEnded` when the store is not where we left it."""
        try:
            return await self._patiently("due", lambda: self._store.due(by_ms, limit, self._token, batch))
        except StaleStore as err:
            raise _elsewhere(batch) from err

    async def anyone_due(self, by_ms: int) -> bool:
        """Return whether a tick at *by_ms* would judge somebody, whatever batch the store is at: batches go on meanwhile."""
        due = await self._patiently("due", lambda: self._store.due(by_ms, 1))
        return due.unlisted or bool(due.leads)

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """See `Store.outbox`."""
        return await self._patiently("outbox", lambda: self._store.outbox(after))

    async def grid(self) -> bytes | None:
        """See `Store.grid`."""
        return await self._patiently("grid", self._store.grid)

    async def trim(self, published: int, horizon_ms: int | None = None) -> None:
        """See `Store.trim`."""
        await self._patiently("trim", lambda: self._store.trim(self._token, published, horizon_ms))

    async def apply(self, batch: Batch) -> None:
        """Apply *batch* once. Raises `IncarnationEnded` when the store is not where we left it."""
        failpoint("before_apply")
        applied = await self._patiently("apply", lambda: self._store.apply(self._token, batch))
        failpoint("after_apply")
        if applied is Applied.GAP:
            raise IncarnationEnded(f"the store went back in time before batch {batch.entry.cut.batch}")

    async def _patiently(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        wait_s, since = _FIRST_WAIT_S, time.monotonic()
        while True:
            began = time.perf_counter()
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
                self._seconds.labels(name).observe(time.perf_counter() - began)
                if wait_s != _FIRST_WAIT_S:
                    lasted_s = round(time.monotonic() - since, 3)
                    details = fields("store.answers", partition=self._partition, owner=self._token, call=name, seconds=lasted_s)
                    log.info("partition %d: the store answers again, after %g s", self._partition, lasted_s, extra=details)
                return answer


def _elsewhere(batch: int) -> IncarnationEnded:
    return IncarnationEnded(f"the store is not where batch {batch} left it: it went back in time, or has another owner")
