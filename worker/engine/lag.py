"""Metrics of a partition's lag and of its batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from worker.core.contract.event_types import CUSTOM, KNOWN_TYPES
from worker.core.contract.model import Record
from worker.engine.batch_builder import BatchResult, TickResult
from worker.engine.publisher import Publisher
from worker.engine.reader import PartitionReader
from worker.engine.ticks import View
from worker.metrics import Metrics


class Lag:
    """Keeps the times of each input's records, for one incarnation."""

    def __init__(self, metrics: Metrics, partition: int, inputs: Sequence[str]) -> None:
        self._metrics = metrics
        self._label = str(partition)
        self._inputs = inputs
        self._applied_ms: dict[str, int] = {}
        self._first_ms: dict[str, int] = {}
        """Kafka timestamp of each topic's first fetched record, which may wait for long to be applied."""
        self._at_end_ms: dict[str, float] = {}
        """When `observe` last found a topic without waiting records."""
        self.began_ms = time.time() * 1000

    def fetched(self, records: Sequence[Record]) -> None:
        """Note the first records of a fetch."""
        for record in records:
            if record.timestamp_ms is not None:
                self._first_ms.setdefault(record.topic, record.timestamp_ms)

    def saw(self, record: Record, polled_ms: int | None) -> None:
        """Note an applied record. Its topic was last fetched at *polled_ms*."""
        if record.timestamp_ms is not None:
            # A producer's clock may run ahead, but no topic is read beyond the time of its last fetch.
            self._applied_ms[record.topic] = min(record.timestamp_ms, polled_ms or record.timestamp_ms)

    def views(self, reader: PartitionReader, next_: Mapping[str, int]) -> list[View]:
        """Return each topic by the consumer's last fetch, for a partition with the next offsets *next_*."""
        return [View(offset, *reader.polled(topic), self._applied_ms.get(topic)) for topic, offset in next_.items()]

    def observe(self, reader: PartitionReader, publisher: Publisher, next_: Mapping[str, int]) -> None:
        """Set the metrics of the lag, for the next offsets *next_*."""
        now_ms = time.time() * 1000
        lag = unpublished = 0
        oldest_ms = fetched_ms = now_ms
        for topic in self._inputs:
            highwater, polled_ms = reader.polled(topic)
            fetched_ms = min(fetched_ms, polled_ms or self.began_ms)
            end = max(highwater or 0, next_[topic])
            unpublished += end - publisher.next.get(topic, end)
            if end > next_[topic]:
                lag += end - next_[topic]
                oldest_ms = min(oldest_ms, self._waits_since_ms(topic))
            elif highwater is not None:
                self._at_end_ms[topic] = now_ms
        metrics, label = self._metrics, self._label
        pending_s = publisher.pending_s()
        unpublished_ms = publisher.oldest_ms()
        metrics.lag.labels(label).set(lag)
        metrics.lag_seconds.labels(label).set(max(0.0, now_ms - oldest_ms) / 1000)
        metrics.fetch_age.labels(label).set((now_ms - fetched_ms) / 1000)
        metrics.published_lag.labels(label).set(unpublished)
        published_ms = oldest_ms if unpublished_ms is None else min(oldest_ms, unpublished_ms)
        metrics.published_lag_seconds.labels(label).set(max(0.0, now_ms - published_ms) / 1000)
        metrics.pending_seconds.labels(label).set(pending_s)

    def _waits_since_ms(self, topic: str) -> float:
        """Return an instant not later than the arrival of the first waiting record of *topic*.

        No waiting record is older than the last applied one, nor than the last time when none waited. A backlog from before the
        take-over counts from the take-over, until its first records are fetched.
        """
        taken_ms = self._applied_ms.get(topic, self._first_ms.get(topic))
        known = [at_ms for at_ms in (taken_ms, self._at_end_ms.get(topic)) if at_ms is not None]
        return max(known, default=self.began_ms)


def report_slice(metrics: Metrics, taken: TickResult) -> None:
    """Count the results of one batch of a tick."""
    metrics.batches.labels("tick").inc()
    metrics.removed.inc(taken.removed)
    metrics.messages(taken.messages)
    metrics.moves(taken.moves)
    metrics.unsent(taken.unsent)


def report(metrics: Metrics, taken: BatchResult, records: Sequence[Record], began_s: float) -> None:
    """Count the results of a batch of *records*, which began at *began_s* (`time.perf_counter`)."""
    for kind, count in taken.types.items():
        metrics.events.labels(kind if kind in KNOWN_TYPES else CUSTOM).inc(count)
    for reason, count in taken.reasons.items():
        metrics.rejected.labels(reason).inc(count)
    metrics.unknown.inc(taken.unknown)
    metrics.tombstones.inc(taken.tombstones)
    metrics.strays.inc(taken.strays)
    metrics.duplicates.inc(taken.duplicates)
    metrics.late.inc(taken.late)
    metrics.erased.inc(taken.erased)
    metrics.aliased.inc(taken.aliased)
    metrics.merged.inc(taken.merged)
    metrics.dropped_pasts.inc(taken.dropped)
    metrics.moved.inc(taken.moved)
    metrics.messages(taken.messages)
    metrics.removed.inc(taken.removed)
    metrics.moves(taken.moves)
    metrics.unsent(taken.unsent)
    for step, seconds in taken.seconds.items():
        metrics.step_seconds.labels(step).inc(seconds)
    metrics.batches.labels("events").inc()
    metrics.batch_records.observe(len(records))
    metrics.batch_seconds.observe(time.perf_counter() - began_s)
    newest_ms = max((record.timestamp_ms or 0 for record in records), default=0)
    if newest_ms:
        metrics.event_age_seconds.observe(max(0.0, time.time() - newest_ms / 1000))
