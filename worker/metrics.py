"""What the engine counts and times, for Prometheus. Base units; no lead ids, no topic that a producer could make up."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from worker.core.grid import Grid

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The engine's metrics in one registry. Nothing here is touched per event: batches add their sums."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"leadpulse_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"leadpulse_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"leadpulse_{name}", text, labels, registry=registry, buckets=buckets)

        self.registry = registry
        self.events = counter("events", "Events taken into lead states, duplicates included", "type")
        self.unknown = counter("unknown_events", "Valid events of a type that is not known, passed over")
        self.duplicates = counter("duplicate_events", "Events dropped because the lead had them already")
        self.late = counter("late_events", "Events older than their lead's clock")
        self.erased = counter("erased_events", "Events dropped because their lead was erased after them")
        self.rejected = counter("rejected_records", "Records sent to the dead-letter topic", "reason")
        self.strays = counter("stray_records", "Records that came on another partition than their lead's, forwarded")
        self.aliased = counter("aliased_events", "Events of aliases, forwarded to the leads that they stand for")
        self.merged = counter("merged_visitors", "Visitors whose past became a known lead's")
        self.moved = counter("moved_aliases", "Aliases of one lead that another lead claimed, and got from then on")
        self.removed = counter("removed_leads", "Leads removed because they were idle past the grid's retention")
        self.outputs = counter("outputs", "Records published, committed", "topic")
        self.batches = counter("batches", "Batches applied", "kind")
        self.batch_seconds = histogram("batch_seconds", "From the records of a batch to its being applied", _SECONDS)
        self.batch_records = histogram("batch_records", "Records of a batch", (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000))
        self.event_age_seconds = histogram(
            "event_age_seconds",
            "From the newest record's Kafka timestamp to its batch being applied, once a batch",
            (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600),
        )
        self.transaction_seconds = histogram("transaction_seconds", "Transactions, from encoding to commit", _SECONDS)
        self.ready = gauge("partition_ready", "1 when this worker owns the partition and takes its events", "partition")
        self.clock = gauge("partition_clock_seconds", "Unix time of the partition's last tick", "partition")
        self.tick_held_back = gauge(
            "tick_held_back_seconds", "How far strays of other partitions hold the tick's time back", "partition"
        )
        self.tick_overdue = counter(
            "tick_held_back_too_long",
            "Ticks written though a partition that forwards strays lags over 15 minutes behind",
            "partition",
        )
        self.lag = gauge("lag_records", "Records that wait in the partition's topics, as of the last fetch", "partition")
        self.pending_outputs = gauge("pending_outputs", "Outputs applied and not yet published", "partition")
        self.pending_bytes = gauge("pending_bytes", "Bytes of the outputs applied and not yet published", "partition")
        self.incarnations = counter("incarnation_ends", "Ends of a partition's incarnation by cause", "partition", "cause")
        self.refolded = counter("refolded_batches", "Batches folded again because Redis was behind Kafka", "partition")
        self.lost = counter(
            "lost_records", "Offsets passed over because their records were deleted before they were read", "partition"
        )
        self.grid = gauge("grid_info", "1, labelled with the grid in force", "name", "version", "sha256")
        self.grid_refused = gauge("grid_refused", "1 while the grid's file has mistakes or is gone: the last good one stays")
        self.store_retries = counter("store_retries", "Calls to the store repeated because no answer came")

    def grid_is(self, grid: Grid) -> None:
        """Name *grid* as the one in force."""
        self.grid.clear()
        self.grid.labels(grid.grid, str(grid.version), grid.sha256).set(1)

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that is no longer ours; another worker reports them now."""
        for gauge in (self.ready, self.clock, self.tick_held_back, self.lag, self.pending_outputs, self.pending_bytes):
            gauge.remove_by_labels({"partition": str(partition)})
