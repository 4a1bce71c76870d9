"""The engine's metrics for Prometheus, in base units. No label holds a lead id, or a topic that a producer could invent.

`ops/dev/metrics_page.py` writes `docs/metrics.md` from here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import permutations
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from worker.build_flavour import form
from worker.core.contract.event_types import DATA_FIELDS
from worker.core.contract.model import MESSAGES
from worker.core.grid.models import Grid
from worker.core.scoring.outputs import Transition
from worker.core.scoring.state import STAGES
from worker.declared import Declared, Group
from worker.settings import OUTPUT_TYPES

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600)

STATES: Final = ("taking_over", "ready", "waiting")
"""States of a partition that is assigned to this worker: `waiting` between two incarnations."""

CAUSES: Final = ("fenced", "transaction", "lost", "store", "error")
"""Causes of an incarnation's end."""

STEPS: Final = ("decode", "load", "fold", "outputs", "apply")
"""Steps of a batch of events, in this order."""


_MOVES: Final = (
    ("lead.mql", "mql"),
    ("lead.sql", "sql"),
    ("lead.cooled", "mql"),
    ("lead.cooled", "contact"),
    ("lead.excluded", "excluded"),
    *(("lead.stage", stage) for stage in STAGES if stage != "excluded"),
)
"""Type of output and stage that it leads to."""


class Metrics:
    """The engine's metrics in one registry. Nothing here is touched per event: batches add their sums."""

    _input = Group("Input")
    events = _input.counter("events", "Events taken into lead states, duplicates included", "type")
    unknown = _input.counter("unknown_events", "Valid events of unknown types, which are skipped")
    tombstones = _input.counter("tombstones", "Records without a value, which are skipped")
    duplicates = _input.counter("duplicate_events", "Events dropped because the lead already had them")
    late = _input.counter("late_events", "Events older than their lead's clock")
    erased = _input.counter("erased_events", "Events dropped because their lead was erased later")
    rejected = _input.counter(
        "rejected_records", "Dead letters: records that are no events, and outputs that are too large", "reason"
    )
    strays = _input.counter("stray_records", "Records that came on another partition than their lead's, and were forwarded")
    aliased = _input.counter("aliased_events", "Events of aliases, forwarded to their leads")
    merged = _input.counter("merged_visitors", "Visitors whose history was merged into a known lead")
    dropped_pasts = _input.counter(
        "dropped_pasts",
        "Visitors whose history was dropped. Their lead was erased, and some of the history may be older than that",
    )
    moved = _input.counter(
        "moved_aliases", "Aliases of one lead that another lead claimed. Their later events count for the second lead"
    )
    message_counts = _input.counter(
        "messages",
        f"Messages between the owners of ids ({', '.join(MESSAGES.values())}). Merges cause request and past, addresses"
        " cause request, release and offer, accounts cause share",
        "kind",
    )
    removed = _input.counter("removed_leads", "Leads removed because they were idle for longer than the grid's retention")

    _batches = Group("Batches")
    batches = _batches.counter("batches", "Batches applied: of events, of a tick, or of a changed grid", "kind")
    batch_seconds = _batches.histogram(
        "batch_seconds", "Time from the arrival of a batch's records until Redis has applied it", _SECONDS
    )
    step_seconds = _batches.counter("batch_step_seconds", "Time spent in each step of event batches", "step")
    batch_records = _batches.histogram("batch_records", "Records of a batch", (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000))
    event_age_seconds = _batches.histogram(
        "event_age_seconds",
        "Time from the newest record's Kafka timestamp to its score in Redis, once per batch",
        _AGES,
    )
    refolded = _batches.counter("refolded_batches", "Batches folded again because Redis was behind Kafka", "partition")

    _output = Group("Output")
    outputs = _output.counter("outputs", "Records published and committed", "topic")
    published_age_seconds = _output.histogram(
        "published_age_seconds",
        "Time from the oldest record's Kafka timestamp to the commit of its outputs, once per batch with outputs",
        _AGES,
    )
    transaction_seconds = _output.histogram(
        "transaction_seconds", "Duration of transactions, from encoding to commit", _SECONDS
    )
    transaction_records = _output.counter("transaction_records", "Records sent in transactions, cuts and ticks included")
    pending_outputs = _output.gauge(
        "pending_outputs", "Outputs that are applied but not yet published (the outbox)", "partition"
    )
    pending_bytes = _output.gauge("pending_bytes", "Bytes of the outputs that are applied but not yet published", "partition")
    pending_seconds = _output.gauge(
        "pending_seconds", "Waiting time of the oldest unpublished output; 0 without any", "partition"
    )

    _partitions = Group("Partitions")
    partitions = _partitions.gauge("partitions", "Partitions of every input topic, as configured in this worker")
    ready = _partitions.gauge("partition_ready", "1 while this worker owns the partition and takes its events", "partition")
    partition_state = _partitions.gauge(
        "partition_state", f"1 for the partition's present state ({', '.join(STATES)}), else 0", "partition", "state"
    )
    lag = _partitions.gauge("lag_records", "Input records that wait to be scored, as of the last fetch", "partition")
    lag_seconds = _partitions.gauge(
        "lag_seconds",
        "Upper bound of the age of the oldest input record that waits to be scored; 0 when none waits. Time since"
        " the take-over until that has read a record",
        "partition",
    )
    published_lag = _partitions.gauge(
        "published_lag_records", "Input records that wait to be scored, or whose outputs wait to be published",
        "partition",
    )  # fmt: skip
    published_lag_seconds = _partitions.gauge(
        "published_lag_seconds",
        "Age of the oldest input record that waits to be scored, or whose outputs wait to be published; 0 when none waits",
        "partition",
    )
    fetch_age = _partitions.gauge(
        "fetch_age_seconds",
        "Time since Kafka last answered a fetch of the partition. It does not fetch while fetched records wait",
        "partition",
    )
    retention = _partitions.gauge(
        "retention_seconds",
        "Shortest time-based retention of the input topics when the worker started; +Inf without any. A longer lag loses"
        " events. Retention by size is not included",
    )
    clock = _partitions.gauge("partition_clock_seconds", "Unix time of the partition's last tick", "partition")
    ticks = _partitions.counter("ticks", "Ticks whose due leads are all evaluated", "partition")
    tick_held_back = _partitions.gauge(
        "tick_held_back_seconds", "How far strays of other partitions hold back the time of the tick", "partition"
    )
    tick_overdue = _partitions.counter(
        "tick_held_back_too_long",
        "Ticks written although a partition that forwards strays is over 15 minutes behind",
        "partition",
    )
    rebalances = _partitions.counter("rebalances", "Assignments of partitions to this worker by the consumer group")
    incarnations = _partitions.counter(
        "incarnation_ends",
        "Ends of a partition's incarnation by cause: fenced, transaction, lost, store, error. `lost`: Redis or the log is"
        " not where the worker left it. `store`: Redis refused",
        "partition",
        "cause",
    )
    lost = _partitions.counter(
        "lost_records", "Offsets skipped because their records were deleted before they were read", "partition"
    )

    topic_gone = _partitions.gauge("topic_gone", "1 while an input topic, or the internal topic, is missing", "topic")
    input_compacted = _partitions.gauge(
        "input_compacted",
        "1 while an input topic is compacted. Records that must perhaps be folded again are lost",
        "topic",
    )

    _redis = Group("Redis")
    store_seconds = _redis.histogram(
        "store_call_seconds", "Duration of the calls to Redis that were answered", _SECONDS, "call"
    )
    store_retries = _redis.counter("store_retries", "Calls to Redis that were repeated because no answer came")
    redis_used = _redis.gauge("redis_used_bytes", "Memory that Redis uses; in a cluster, that of its fullest primary")
    redis_max = _redis.gauge(
        "redis_max_bytes",
        "`maxmemory` of that Redis, beyond which it refuses writes; its machine's memory if `maxmemory` is not set",
    )
    redis_evicts = _redis.gauge("redis_evicts", "1 while `maxmemory-policy` is not noeviction. A full Redis then evicts leads")
    redis_evicted = _redis.gauge("redis_evicted_keys", "Keys that Redis has evicted for lack of memory since it started")

    _checkpoints = Group("Checkpoints")
    checkpoint_interval = _checkpoints.gauge(
        "checkpoint_interval_seconds", "Configured time between two checkpoints of a partition; 0: this worker writes none"
    )
    checkpoint_time = _checkpoints.gauge(
        "checkpoint_timestamp_seconds",
        "Unix time at which the partition's newest checkpoint was completed; 0 without any",
        "partition",
    )
    checkpoint_bytes = _checkpoints.gauge(
        "checkpoint_bytes", "Size of the partition's last checkpoint by this worker", "partition"
    )
    checkpoints = _checkpoints.counter("checkpoints", "Checkpoints of partitions by result: done, failed", "result")

    _grid_and_program = Group("Grid and program")
    grid = _grid_and_program.gauge("grid_info", "Always 1; the labels name the grid in force", "name", "version", "sha256")
    grid_refused = _grid_and_program.gauge(
        "grid_refused", "1 while the grid file has mistakes, is missing, or may not follow the grid in force, which stays"
    )
    tables_superseded = _grid_and_program.gauge(
        "tables_superseded",
        "1 while newer mail lists, time zones or Unicode tables of another worker have replaced this worker's",
    )
    build = _grid_and_program.gauge(
        "build_info",
        "Always 1; the labels name the version, Python, and the core's build: pure or compiled",
        "version",
        "python",
        "core",
    )

    _leads_and_sales = Group("Leads and sales")
    leads = _leads_and_sales.gauge(
        "leads", "Leads by stage: exact as of the partition's last check, a few seconds ago", "partition", "stage"
    )
    transitions = _leads_and_sales.counter(
        "transitions",
        "Outputs about leads and accounts, by type, when they arise. `account.hot` minus `account.cooled` is the growth in"
        " hot accounts",
        "type",
    )
    stage_moves = _leads_and_sales.counter("stage_moves", "Moves of leads from one stage to another", "origin", "to")
    stage_stays = _leads_and_sales.counter("stage_stays", "Completed stays in a stage whose beginning is known", "stage")
    stage_stay_seconds = _leads_and_sales.counter("stage_stay_seconds", "Total length of those stays", "stage")
    score_points = _leads_and_sales.counter(
        "transition_score_points", "Sum of the scores at transitions; below 0 counts as 0", "type", "to"
    )
    fit_points = _leads_and_sales.counter(
        "transition_fit_points", "Sum of the fit at transitions; below 0 counts as 0", "type", "to"
    )
    engagement_points = _leads_and_sales.counter(
        "transition_engagement_points", "Sum of the engagement at transitions; below 0 counts as 0", "type", "to"
    )
    measured_moves = _leads_and_sales.counter("transition_scores", "Number of scores in these sums", "type", "to")
    chances = _leads_and_sales.counter(
        "transition_chances", "Sum of the chances to be won in outputs, from 0 to 1 each", "type"
    )
    measured_chances = _leads_and_sales.counter("transition_chances_given", "Number of chances in these sums", "type")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.described = [one.described for one in vars(Metrics).values() if isinstance(one, Declared)]
        for attribute, one in vars(Metrics).items():
            if isinstance(one, Declared):
                vars(self)[attribute] = one.make(registry)
        self.build.labels(version("leadpulse"), platform.python_version(), form()).set(1)
        self._begin_at_0()

    def _begin_at_0(self) -> None:
        """Show rare counters at 0 before their first event: Prometheus sees no increase in a counter that begins at 1.

        One missing event among thousands does not matter. One missing `crm.won` does.
        """
        for event in DATA_FIELDS:
            self.events.labels(event)  # a worker to which nothing comes says so
        for kind in OUTPUT_TYPES:
            if kind != "lead.dead":
                self.transitions.labels(kind)
        for kind in MESSAGES.values():
            self.message_counts.labels(kind)
        for result in ("done", "failed"):
            self.checkpoints.labels(result)
        for stage in STAGES:
            self.stage_stays.labels(stage)
            self.stage_stay_seconds.labels(stage)
        for origin, to in permutations(STAGES, 2):
            self.stage_moves.labels(origin, to)
        for kind, to in _MOVES:
            for figure in (self.score_points, self.fit_points, self.engagement_points, self.measured_moves):
                figure.labels(kind, to)

    def grid_is(self, grid: Grid) -> None:
        """Name *grid* as the one in force."""
        self.grid.clear()
        self.grid.labels(grid.grid, str(grid.version), grid.sha256).set(1)

    def state_is(self, partition: int, state: str) -> None:
        """Record which of `STATES` *partition* is in. Its counters of faults begin at 0, as in `_begin_at_0`."""
        label = str(partition)
        for trouble in (self.refolded, self.lost, self.tick_overdue):
            trouble.labels(label)
        for cause in CAUSES:
            self.incarnations.labels(label, cause)
        for name in STATES:
            self.partition_state.labels(label, name).set(name == state)
        self.ready.labels(label).set(state == "ready")

    def leads_are(self, partition: int, leads: Mapping[str, int]) -> None:
        """Record how many leads of each stage *partition* holds."""
        for stage in STAGES:
            self.leads.labels(str(partition), stage).set(leads.get(stage, 0))

    def messages(self, counts: Mapping[str, int]) -> None:
        """Count the messages of one batch to the owners of other ids."""
        for kind, count in counts.items():
            self.message_counts.labels(kind).inc(count)

    def unsent(self, count: int) -> None:
        """Count outputs that were too large for any topic. A dead letter was published for each."""
        if count:
            self.rejected.labels("output_too_large").inc(count)

    def moves(self, moves: Iterable[Transition]) -> None:
        """Count the transitions of one batch, summed by kind, because finding a counter costs more than adding to it."""
        kinds: dict[tuple[str, str, str], list[Transition]] = {}
        for move in moves:
            kinds.setdefault((move.type, move.origin, move.to), []).append(move)
        for (kind, origin, to), some in kinds.items():
            self.transitions.labels(kind).inc(len(some))
            if chances := [move.p for move in some if move.p is not None]:
                self.chances.labels(kind).inc(sum(chances))
                self.measured_chances.labels(kind).inc(len(chances))
            if origin == to:
                continue
            self.stage_moves.labels(origin, to).inc(len(some))
            stays_ms = [move.stayed_ms for move in some if move.stayed_ms is not None]
            if stays_ms:
                self.stage_stays.labels(origin).inc(len(stays_ms))
                self.stage_stay_seconds.labels(origin).inc(sum(stays_ms) / 1000)
            self.measured_moves.labels(kind, to).inc(len(some))
            self.score_points.labels(kind, to).inc(sum(max(0.0, move.score) for move in some))
            self.fit_points.labels(kind, to).inc(sum(max(0.0, move.fit) for move in some))
            self.engagement_points.labels(kind, to).inc(sum(max(0.0, move.engagement) for move in some))

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that another worker owns and reports now."""
        self.forget_figures(partition)
        for gauge in (self.ready, self.partition_state, self.leads, self.checkpoint_time, self.checkpoint_bytes):
            gauge.remove_by_labels({"partition": str(partition)})

    def forget_figures(self, partition: int) -> None:
        """Drop the gauges that are known only while the partition takes events."""
        label = {"partition": str(partition)}
        for gauge in (
            self.lag,
            self.lag_seconds,
            self.published_lag,
            self.published_lag_seconds,
            self.fetch_age,
            self.clock,
            self.tick_held_back,
            self.pending_outputs,
            self.pending_bytes,
            self.pending_seconds,
        ):
            gauge.remove_by_labels(label)
