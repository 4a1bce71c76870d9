"""What the engine counts and times, for Prometheus. Base units; no lead ids, no topic that a producer could make up.

`docs/metrics.md` is written from here: `python -m worker.metrics > docs/metrics.md`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Final, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from worker.build_flavour import form
from worker.core.contract.event_types import KNOWN_TYPES
from worker.core.contract.model import MESSAGES
from worker.core.grid.models import Grid
from worker.core.scoring.outputs import Transition
from worker.core.scoring.state import STAGES
from worker.settings import OUTPUT_TYPES

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600)

STATES: Final = ("taking_over", "ready", "waiting")
"""Of a partition that the group gave to this worker: `waiting` between two incarnations."""

CAUSES: Final = ("fenced", "transaction", "lost", "store", "error")
"""Of an incarnation's end."""

STEPS: Final = ("decode", "load", "fold", "outputs", "apply")
"""Of a batch of events, in this order."""


_MOVES: Final = (
    ("lead.mql", "mql"),
    ("lead.sql", "sql"),
    ("lead.cooled", "mql"),
    ("lead.cooled", "contact"),
    ("lead.excluded", "excluded"),
    *(("lead.stage", stage) for stage in STAGES if stage != "excluded"),
)
"""Type of output and stage that it leads to."""


class Described(NamedTuple):
    """One metric, as `docs/metrics.md` lists it."""

    group: str
    name: str
    """As Prometheus shows it: a counter with `_total`, a histogram without its suffixes."""
    kind: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    """The engine's metrics in one registry. Nothing here is touched per event: batches add their sums."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.described: list[Described] = []
        group = ""

        def counter(name: str, text: str, *labels: str) -> Counter:
            self.described.append(Described(group, f"leadpulse_{name}_total", "counter", labels, text))
            return Counter(f"leadpulse_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self.described.append(Described(group, f"leadpulse_{name}", "gauge", labels, text))
            return Gauge(f"leadpulse_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            self.described.append(Described(group, f"leadpulse_{name}", "histogram", labels, text))
            return Histogram(f"leadpulse_{name}", text, labels, registry=registry, buckets=buckets)

        group = "What comes in"
        self.events = counter("events", "Events taken into lead states, duplicates included", "type")
        self.unknown = counter("unknown_events", "Valid events of a type that is not known, passed over")
        self.duplicates = counter("duplicate_events", "Events dropped because the lead had them already")
        self.late = counter("late_events", "Events older than their lead's clock")
        self.erased = counter("erased_events", "Events dropped because their lead was erased after them")
        self.rejected = counter(
            "rejected_records", "Dead letters: records that are no events, outputs that are too large", "reason"
        )
        self.strays = counter("stray_records", "Records that came on another partition than their lead's, forwarded")
        self.aliased = counter("aliased_events", "Events of aliases, forwarded to the leads that they stand for")
        self.merged = counter("merged_visitors", "Visitors whose past became a known lead's")
        self.dropped_pasts = counter(
            "dropped_pasts", "Visitors whose past no lead got: the lead was erased, and it was not all known to be later"
        )
        self.moved = counter("moved_aliases", "Aliases of one lead that another lead claimed, and got from then on")
        self.said = counter(
            "messages",
            f"What owners of ids said to each other ({', '.join(MESSAGES.values())}): what merges (request, past), addresses"
            " (request, release, offer) and accounts (share) cost",
            "kind",
        )
        self.removed = counter("removed_leads", "Leads removed because they were idle past the grid's retention")

        group = "Batches"
        self.batches = counter("batches", "Batches applied: of events, of a tick, of a changed grid", "kind")
        self.batch_seconds = histogram("batch_seconds", "From the records of a batch to its being applied", _SECONDS)
        self.step_seconds = counter("batch_step_seconds", "Time spent in each step of the batches of events", "step")
        self.batch_records = histogram("batch_records", "Records of a batch", (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000))
        self.event_age_seconds = histogram(
            "event_age_seconds",
            "From the newest record's Kafka timestamp to its score in Redis, once a batch",
            _AGES,
        )
        self.refolded = counter("refolded_batches", "Batches folded again because Redis was behind Kafka", "partition")

        group = "What goes out"
        self.outputs = counter("outputs", "Records published, committed", "topic")
        self.published_age_seconds = histogram(
            "published_age_seconds",
            "From the oldest record's Kafka timestamp to its outputs being committed, once a batch with outputs",
            _AGES,
        )
        self.transaction_seconds = histogram("transaction_seconds", "Transactions, from encoding to commit", _SECONDS)
        self.transaction_records = counter("transaction_records", "Records sent in transactions, cuts and ticks included")
        self.pending_outputs = gauge("pending_outputs", "Outputs applied and not yet published (the outbox)", "partition")
        self.pending_bytes = gauge("pending_bytes", "Bytes of the outputs applied and not yet published", "partition")
        self.pending_seconds = gauge(
            "pending_seconds", "How long the oldest output has waited to be published; 0 without any", "partition"
        )

        group = "Partitions"
        self.partitions = gauge("partitions", "Partitions of every input topic, as this worker was told")
        self.ready = gauge("partition_ready", "1 when this worker owns the partition and takes its events", "partition")
        self.partition_state = gauge(
            "partition_state", f"1 for the state that the partition is in ({', '.join(STATES)}), else 0", "partition", "state"
        )
        self.lag = gauge("lag_records", "Input records that wait to be scored, as of the last fetch", "partition")
        self.lag_seconds = gauge(
            "lag_seconds",
            "Age of the oldest input record that waits to be scored, at most; 0 when none waits. Until a take-over has read"
            " one: time since the take-over",
            "partition",
        )
        self.published_lag = gauge(
            "published_lag_records", "Input records that wait to be scored, or for what they brought about to be published",
            "partition",
        )  # fmt: skip
        self.published_lag_seconds = gauge(
            "published_lag_seconds",
            "Age of the oldest input record that waits to be scored, or for its outputs to be published; 0 when none waits",
            "partition",
        )
        self.fetch_age = gauge(
            "fetch_age_seconds",
            "Time since Kafka last answered a fetch of the partition; it is not asked while what it gave waits to be taken",
            "partition",
        )
        self.retention = gauge(
            "retention_seconds",
            "Shortest time-based retention of the input topics when the worker started; +Inf without any. A lag beyond it is"
            " loss; what a topic loses for its size is not seen here",
        )
        self.clock = gauge("partition_clock_seconds", "Unix time of the partition's last tick", "partition")
        self.ticks = counter("ticks", "Ticks judged to their end", "partition")
        self.tick_held_back = gauge(
            "tick_held_back_seconds", "How far strays of other partitions hold the tick's time back", "partition"
        )
        self.tick_overdue = counter(
            "tick_held_back_too_long",
            "Ticks written though a partition that forwards strays lags over 15 minutes behind",
            "partition",
        )
        self.rebalances = counter("rebalances", "Assignments of partitions that the group gave to this worker")
        self.incarnations = counter(
            "incarnation_ends",
            "Ends of a partition's incarnation by cause: fenced, transaction, lost (Redis or the log is not where it was left),"
            " store (Redis refused), error",
            "partition",
            "cause",
        )
        self.lost = counter(
            "lost_records", "Offsets passed over because their records were deleted before they were read", "partition"
        )

        self.topic_gone = gauge("topic_gone", "1 while an input topic, or the internal one, is not there", "topic")
        self.input_compacted = gauge(
            "input_compacted",
            "1 while an input topic is compacted: records that may have to be folded again get lost",
            "topic",
        )

        group = "Redis"
        self.store_seconds = histogram("store_call_seconds", "Calls to Redis that were answered", _SECONDS, "call")
        self.store_retries = counter("store_retries", "Calls to Redis repeated because no answer came")
        self.redis_used = gauge("redis_used_bytes", "Memory that Redis uses; of a cluster, of its fullest primary")
        self.redis_max = gauge(
            "redis_max_bytes",
            "`maxmemory` of that Redis, past which it refuses writes; its machine's memory where none is set",
        )
        self.redis_evicts = gauge("redis_evicts", "1 while `maxmemory-policy` is not noeviction: full, Redis drops leads")
        self.redis_evicted = gauge("redis_evicted_keys", "Keys that Redis has dropped for want of memory since it started")

        group = "Checkpoints"
        self.checkpoint_interval = gauge(
            "checkpoint_interval_seconds", "Time between two checkpoints of a partition, as set; 0: this worker writes none"
        )
        self.checkpoint_time = gauge(
            "checkpoint_timestamp_seconds",
            "Unix time at which the partition's newest checkpoint was completed; 0 without any",
            "partition",
        )
        self.checkpoint_bytes = gauge(
            "checkpoint_bytes", "Size of the last checkpoint that this worker wrote of the partition", "partition"
        )
        self.checkpoints = counter("checkpoints", "Checkpoints of partitions by what came of them: done, failed", "result")

        group = "Grid and program"
        self.grid = gauge("grid_info", "1, labelled with the grid in force", "name", "version", "sha256")
        self.grid_refused = gauge(
            "grid_refused", "1 while the grid's file has mistakes, is gone, or may not follow the one in force, which stays"
        )
        self.tables_superseded = gauge(
            "tables_superseded", "1 while other workers' mail lists, time zones or Unicode have replaced this one's"
        )
        self.build = gauge(
            "build_info",
            "1, labelled with the program's version and the form of its core: pure, or compiled",
            "version",
            "python",
            "core",
        )
        self.build.labels(version("leadpulse"), platform.python_version(), form()).set(1)

        group = "Leads and sales"
        self.leads = gauge(
            "leads", "Leads held, by stage: exact as of the partition's last look, a few seconds ago", "partition", "stage"
        )
        self.transitions = counter(
            "transitions",
            "Outputs about leads and accounts as they were brought about; SLA breaches are `lead.sla_breached`, addresses that"
            " two leads have `lead.duplicate`; `account.hot` less `account.cooled`: how many more accounts are hot than before",
            "type",
        )
        self.stage_moves = counter("stage_moves", "Moves of leads from one stage to another", "origin", "to")
        self.stage_stays = counter("stage_stays", "Ends of stays in a stage of which the beginning is known", "stage")
        self.stage_stay_seconds = counter("stage_stay_seconds", "Length of those stays", "stage")
        self.score_points = counter(
            "transition_score_points", "Scores at transitions, summed; below 0 counts as 0", "type", "to"
        )
        self.fit_points = counter("transition_fit_points", "The part of fit in them; below 0 counts as 0", "type", "to")
        self.engagement_points = counter(
            "transition_engagement_points", "The part of engagement in them; below 0 counts as 0", "type", "to"
        )
        self.measured_moves = counter("transition_scores", "How many scores were summed", "type", "to")
        self._begin_at_0()

    def _begin_at_0(self) -> None:
        """Show what leads may do before the first does it: Prometheus sees no increase in a counter that begins at 1.

        Of what comes by the thousand nobody misses one; of those that were won somebody does.
        """
        for event in sorted(KNOWN_TYPES):
            self.events.labels(event)  # a worker to which nothing comes says so
        for kind in OUTPUT_TYPES:
            if kind != "lead.dead":
                self.transitions.labels(kind)
        for kind in MESSAGES.values():
            self.said.labels(kind)
        for result in ("done", "failed"):
            self.checkpoints.labels(result)
        for stage in STAGES:
            self.stage_stays.labels(stage)
            self.stage_stay_seconds.labels(stage)
            for to in STAGES:
                if to != stage:
                    self.stage_moves.labels(stage, to)
        for kind, to in _MOVES:
            for figure in (self.score_points, self.fit_points, self.engagement_points, self.measured_moves):
                figure.labels(kind, to)

    def grid_is(self, grid: Grid) -> None:
        """Name *grid* as the one in force."""
        self.grid.clear()
        self.grid.labels(grid.grid, str(grid.version), grid.sha256).set(1)

    def state_is(self, partition: int, state: str) -> None:
        """Note which of `STATES` *partition* is in. What may befall it begins at 0, as in `_begin_at_0`."""
        label = str(partition)
        for trouble in (self.refolded, self.lost, self.tick_overdue):
            trouble.labels(label)
        for cause in CAUSES:
            self.incarnations.labels(label, cause)
        for one in STATES:
            self.partition_state.labels(label, one).set(one == state)
        self.ready.labels(label).set(state == "ready")

    def leads_are(self, partition: int, leads: Mapping[str, int]) -> None:
        """Note how many leads of each stage *partition* holds."""
        for stage in STAGES:
            self.leads.labels(str(partition), stage).set(leads.get(stage, 0))

    def messages(self, said: Mapping[str, int]) -> None:
        """Count what one batch said to the owners of other ids."""
        for kind, count in said.items():
            self.said.labels(kind).inc(count)

    def unsent(self, count: int) -> None:
        """Count outputs that were too large for any topic: a letter went out for each."""
        if count:
            self.rejected.labels("output_too_large").inc(count)

    def moves(self, moves: Iterable[Transition]) -> None:
        """Count the transitions of one batch: of each kind its sums, for finding a counter costs more than adding to it."""
        kinds: dict[tuple[str, str, str], list[Transition]] = {}
        for move in moves:
            kinds.setdefault((move.type, move.origin, move.to), []).append(move)
        for (kind, origin, to), some in kinds.items():
            self.transitions.labels(kind).inc(len(some))
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
        """Drop the gauges of a partition that is no longer ours; another worker reports them now."""
        self.forget_figures(partition)
        for gauge in (self.ready, self.partition_state, self.leads, self.checkpoint_time, self.checkpoint_bytes):
            gauge.remove_by_labels({"partition": str(partition)})

    def forget_figures(self, partition: int) -> None:
        """Drop what is known of a partition only while it takes events."""
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


_INTRODUCTION: Final = """\
# Metrics

`/metrics` on `LEADPULSE_METRICS_PORT`, in Prometheus' text format. Written from `worker/metrics.py` by
`python -m worker.metrics > docs/metrics.md`; a test holds the two equal.

- **Each process has pages of its own**: with `leadpulse run --workers 4` and port 6066, scrape 6066, 6067, 6068 and 6069. A
  port that does not answer is a worker that does not run. Give all workers of one namespace one `job` whose name begins with
  `leadpulse`, and each namespace its own: the rules in `ops/prometheus/rules` sum by `job`.
- **Counters** are of one process and begin at 0 with it: sum their `rate` or `increase` over the workers. What a batch did
  is counted once it is applied; a worker that is killed in that moment does not count it. Batches that are folded again
  after a rollback of Redis are counted in `leadpulse_refolded_batches_total` alone. What is rare and matters one by one
  (transitions, moves, stays, what ends or befalls a partition) is shown from 0 on, so that `increase` sees the first.
- **Gauges with `partition`** are shown by the partition's owner only. Ages and lags are reckoned when the page is asked
  for, so a partition that hangs shows for how long.
- **Labels** never hold a lead, an address, or anything else that a producer could make up: types, topics, reasons and
  stages come from closed sets.
- **They cost** a batch about 45 µs and half a microsecond an event: 2 % of a backlog's batches (`docs/benchmarks.md`).
- **Leads by stage** are counters in the partition's position in Redis, changed by the very call that writes the leads:
  exact after a take-over, a rollback and a rebuild. A state that an older version wrote is counted once, when its partition
  is next taken over.
"""


def page() -> str:
    """Return `docs/metrics.md`."""
    lines = [_INTRODUCTION.rstrip("\n")]
    for group, metrics in groupby(Metrics(CollectorRegistry()).described, key=lambda one: one.group):
        lines += ["", f"## {group}", "", "| metric | type | labels | what |", "|---|---|---|---|"]
        for one in metrics:
            labels = ", ".join(f"`{label}`" for label in one.labels)
            lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 (a page on stdout is what this is for)
