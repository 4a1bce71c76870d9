"""Stops a worker when too many records are bad. A bad deploy of a producer must not drain its topic."""

from __future__ import annotations

from collections import Counter, deque

from worker.errors import WorkerMustStop

_WINDOW = 1_000
_LEAST_BAD = 200


class BadShare:
    """Watches the share of bad records among a partition's last `_WINDOW` records, batch by batch."""

    def __init__(self, most: float, partition: int) -> None:
        self._most = most
        self._partition = partition
        self._batches: deque[tuple[int, int]] = deque()
        self._records = 0
        self._bad = 0

    def add(self, records: int, reasons: Counter[str]) -> None:
        """Count a batch that is not applied yet. Raises `WorkerMustStop` if the share crosses the limit.

        Otherwise a bad deploy of a producer would drain its topic into the dead-letter topic. The records of a stopped worker
        stay in Kafka.
        """
        bad = reasons.total()
        self._batches.append((records, bad))
        self._records += records
        self._bad += bad
        while self._records - self._batches[0][0] >= _WINDOW:
            old, old_bad = self._batches.popleft()
            self._records -= old
            self._bad -= old_bad
        if bad and self._bad >= _LEAST_BAD and self._bad > self._most * self._records:
            counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            raise WorkerMustStop(
                f"partition {self._partition}: {self._bad} of the last {self._records} records are bad ({counts}): mend their"
                " producer, or, if they are meant to go to the dead-letter topic, raise LEADPULSE_MAX_BAD_SHARE"
                f" (now {self._most:g}; 1 never stops)"
            )
