"""Reads one partition's records from the shared consumer, each exactly once and in order, across rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from worker.core.batch.plan import MOST_BYTES
from worker.core.contract.codec import beside_value
from worker.core.contract.model import Record
from worker.core.contract.unread import begins
from worker.errors import IncarnationEnded, LogUnavailable, NoRight, OffsetsGone, Reassigned, WorkerMustStop
from worker.ports import Fetched, LogPartition, LogReader

_UNASSIGNED_S = 0.05


class PartitionReader:
    """Reads from the offsets *next_*. Each partition has its own reader, so a partition that waits delays no other."""

    def __init__(self, log: LogReader, partition: int, next_: Mapping[str, int]) -> None:
        self._log = log
        self._partition = partition
        self._next = dict(next_)
        self._assignment: object = None
        self._rest: dict[str, Fetched] = {}
        """Records of a fetch that was too large. If they were fetched again, a compressed batch would be unpacked again."""

    def tp(self, topic: str) -> LogPartition:
        """Return the partition of *topic*."""
        return LogPartition(topic, self._partition)

    def ready(self) -> bool:
        """Return whether all topics are assigned to us. After a rebalance, seek to where we left each."""
        assignment = self._log.assignment()
        if assignment is not self._assignment:  # a new object at every rebalance, and with it every position is forgotten
            tps = {self.tp(topic): at for topic, at in self._next.items()}
            if not tps.keys() <= assignment:
                return False
            for tp, at in tps.items():
                self._log.seek(tp, at)
            self._rest.clear()
            self._assignment = assignment
        return True

    async def take(self, topics: Sequence[str], most: int, wait_s: float) -> dict[str, Fetched]:
        """Return at most *most* records of *topics*, waiting up to *wait_s* for the first; nothing during a rebalance.

        Records count only if the fetch began at the next offset that we expect. A rebalance during the fetch moves positions
        back to the committed offsets. The records are dropped then, and the next call seeks again.

        Raises `WorkerMustStop` if a repeat cannot help, and `IncarnationEnded` if only a take-over can tell.
        """
        try:
            if not self.ready():
                await asyncio.sleep(_UNASSIGNED_S)
                return {}
            fetched = {topic: self._rest.pop(topic) for topic in topics if topic in self._rest}
            return self._bounded(fetched or await self._fetch(topics, most, wait_s))
        except Reassigned:
            return {}
        except OffsetsGone as err:
            gone = f"partition {self._partition}: {err.where} is no longer in the log"
            raise IncarnationEnded(gone) from err  # the take-over decides whether that is allowed
        except NoRight as err:
            raise WorkerMustStop(
                f"partition {self._partition}: no right to read: {err!r}: grant Read and Describe on it"
            ) from err
        except LogUnavailable as err:
            raise IncarnationEnded(f"partition {self._partition}: fetch failed: {err!r}") from err

    def _bounded(self, fetched: dict[str, Fetched]) -> dict[str, Fetched]:
        """Return the first `MOST_BYTES` of *fetched*, and keep the rest for the next call.

        A batch must fit one transaction and one call of Redis. But 600 records of 890 kB compress to less than one fetch.
        """
        given = fetched
        if sum(size(record) for part in fetched.values() for record in part.records) > MOST_BYTES:
            given = shortened(fetched, MOST_BYTES)
        for topic, part in given.items():
            self._next[topic] = part.next
            left = fetched[topic].records[len(part.records) :]
            if left:
                self._rest[topic] = Fetched(left, fetched[topic].next)
        return given

    async def _fetch(self, topics: Sequence[str], most: int, wait_s: float) -> dict[str, Fetched]:
        """Fetch *topics* from where we left them; return nothing if the assignment changed meanwhile."""
        tps = [self.tp(topic) for topic in topics]
        for tp in tps:
            if await self._log.position(tp) != self._next[tp.topic]:
                self._log.seek(tp, self._next[tp.topic])
        if self._log.assignment() is not self._assignment:
            return {}
        got = await self._log.fetch(tps, wait_s, most)
        if self._log.assignment() is not self._assignment:
            return {}
        return {tp.topic: part for tp, part in got.items()}

    def polled(self, topic: str) -> tuple[int | None, int | None]:
        """Return the topic's high watermark at the last fetch and when that was (ms, this machine's clock)."""
        tp = self.tp(topic)
        if self._log.assignment() is not self._assignment:
            return None, None
        return self._log.end(tp), self._log.polled_ms(tp)


def size(record: Record) -> int:
    """Return the bytes of *record* that a dead letter or a stray would carry: key, value and headers."""
    return beside_value(record.key, record.headers) + len(record.value or b"")


def shortened(fetched: Mapping[str, Fetched], most: int) -> dict[str, Fetched]:
    """Return the first records of each topic, *most* bytes in all. The very first record is returned at any size."""
    left = most
    short: dict[str, Fetched] = {}
    for topic, part in fetched.items():
        taken = 0
        for record in part.records:
            left -= size(record)
            if left < 0 and (taken or any(other.records for other in short.values())):
                break
            taken += 1
        next_ = part.next if taken == len(part.records) else begins(part.records[taken])
        short[topic] = Fetched(part.records[:taken], next_)
    return short
