"""The dashboard for operators: do events pass through, how fast, and where do they wait?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard as DashboardBuilder
from grafana_foundation_sdk.models.dashboard import Dashboard

from ops.grafana.act import with_acts
from ops.grafana.archive import with_archive
from ops.grafana.collector import with_collector
from ops.grafana.panels import COUNT, Query, board, figure, lines, metric, names, quantile, rate, row

NOT_INTERNAL = '!~"leadpulse[.].+[.]internal"'
"""Topics that are no namespace's journal."""


def pipeline() -> Dashboard:
    """Return the dashboard."""
    return with_archive(with_acts(with_collector(_of_workers()))).build()


def _of_workers() -> DashboardBuilder:
    records, rejected = rate("batch_records_sum"), rate("rejected_records_total")
    return (
        board(
            "leadpulse-pipeline",
            "LeadPulse: pipeline",
            "Do events come through, how fast, and if not, where do they wait?",
            "now-1h",
        )
        .with_panel(
            figure(
                "Partitions without an owner",
                "Partitions of which no worker takes events now: their leads are not scored. Taking over lasts moments.",
                COUNT,
                Query(f"sum(max by (job) ({metric('partitions')})) - sum({metric('partition_ready')})", "partitions"),
                red_from=1,
            )
        )
        .with_panel(
            figure(
                "Workers",
                "Workers whose page of metrics answers.",
                COUNT,
                Query(f"count({metric('build_info')})", "workers"),
            )
        )
        .with_panel(
            figure(
                "Oldest that waits",
                "Age of the oldest input record that is not scored yet, or whose outputs are not published yet.",
                "s",
                Query(f"max({metric('published_lag_seconds')})", "oldest"),
                red_from=60,
            )
        )
        .with_panel(
            figure(
                "Records waiting",
                "Input records that wait to be scored, or for what they brought about to be published.",
                COUNT,
                Query(f"sum({metric('published_lag_records')})", "records"),
            )
        )
        .with_panel(
            figure(
                "Dead letters",
                "Share of the records read that go to the dead-letter topic, because they are no events.",
                "percentunit",
                Query(f"sum({rejected}) / (sum({records}) > 0)", "share"),
                red_from=0.05,
            )
        )
        .with_panel(
            figure(
                "Redis memory",
                "Of what it may use. When it is full, writes are refused and workers wait.",
                "percentunit",
                Query(f"max({metric('redis_used_bytes')} / {metric('redis_max_bytes')})", "used"),
                red_from=0.8,
            )
        )
        .with_row(row("Traffic"))
        .with_panel(
            lines(
                "Events in",
                "Taken into lead states, duplicates included, by type.",
                "eps",
                Query(f"sum by (type) ({rate('events_total')})", "{{type}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Records out",
                "Published and committed, by topic. What partitions say to each other is no output.",
                "recps",
                Query(f"sum by (topic) ({rate('outputs_total', topic=NOT_INTERNAL)})", "{{topic}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Out of the ordinary",
                "Late events count like others. Strays and events of aliases are forwarded to their owners. Duplicates, "
                "unknown types, events of erased leads and rejected records are not scored.",
                "recps",
                Query(f"sum by (reason) ({rejected})", "rejected: {{reason}}"),
                Query(f"sum({rate('duplicate_events_total')})", "duplicates"),
                Query(f"sum({rate('late_events_total')})", "late"),
                Query(f"sum({rate('unknown_events_total')})", "unknown types"),
                Query(f"sum({rate('erased_events_total')})", "of erased leads"),
                Query(f"sum({rate('stray_records_total')})", "strays"),
                Query(f"sum({rate('aliased_events_total')})", "of aliases"),
            )
        )
        .with_row(row("Freshness"))
        .with_panel(
            lines(
                "From Kafka to the score",
                "Age of a batch's newest record when its score was in Redis: half and 99 of 100 batches took no longer.",
                "s",
                Query(quantile(0.5, "event_age_seconds"), "50 %"),
                Query(quantile(0.99, "event_age_seconds"), "99 %"),
            )
        )
        .with_panel(
            lines(
                "From Kafka to the output",
                "Age of a batch's oldest record when what it brought about was committed: half and 99 of 100 batches with "
                "outputs took no longer.",
                "s",
                Query(quantile(0.5, "published_age_seconds"), "50 %"),
                Query(quantile(0.99, "published_age_seconds"), "99 %"),
            )
        )
        .with_panel(
            lines(
                "Oldest that waits, by partition",
                "Age of the oldest input record that is not scored yet, or whose outputs are not published yet.",
                "s",
                Query(f"max by (job, partition) ({metric('published_lag_seconds')})", "{{job}} {{partition}}"),
            )
        )
        .with_row(row("Where time goes"))
        .with_panel(
            lines(
                "Steps of batches",
                "Seconds a second that all workers spend in each step; `load` and `apply` wait for Redis.",
                "percentunit",
                Query(f"sum by (step) ({rate('batch_step_seconds_total')})", "{{step}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Batches and transactions",
                "99 of 100 took no longer.",
                "s",
                Query(quantile(0.99, "batch_seconds"), "batch"),
                Query(quantile(0.99, "transaction_seconds"), "transaction"),
            )
        )
        .with_panel(
            lines(
                "Records a batch",
                "On average. Few: the worker keeps up. As many as `LEADPULSE_MAX_BATCH`: it catches up.",
                "short",
                Query(f"sum({records}) / (sum({rate('batch_records_count')}) > 0)", "records"),
            )
        )
        .with_panel(
            lines(
                "Calls to Redis",
                "99 of 100 were answered within, by kind.",
                "s",
                Query(quantile(0.99, "store_call_seconds", by="call"), "{{call}}"),
            )
        )
        .with_panel(
            lines(
                "Outbox, by partition",
                "Outputs applied and not yet published. A partition with 20,000, or 8 MB, takes no more until some are out.",
                "short",
                Query(f"sum by (job, partition) ({metric('pending_outputs')})", "{{job}} {{partition}}"),
            )
        )
        .with_panel(
            lines(
                "Redis memory, course",
                "Of the fullest primary of a cluster.",
                "bytes",
                Query(f"max by (job) ({metric('redis_used_bytes')})", "{{job}}"),
            )
        )
        .with_row(row("Partitions"))
        .with_panel(
            lines(
                "States",
                "Partitions that workers own, by what they do with them.",
                "short",
                Query(f"sum by (state) ({metric('partition_state')})", "{{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Behind the clock",
                "How long ago each partition's last tick was. Without ticks no lead cools by time alone; a partition at rest "
                "has few. Held back: by strays of other partitions.",
                "s",
                Query(f"time() - min by (job) ({metric('partition_clock_seconds')} > 0)", "oldest clock {{job}}"),
                Query(f"max by (job) ({metric('tick_held_back_seconds')})", "held back {{job}}"),
            )
        )
        .with_panel(
            lines(
                "Unrest",
                "Within five minutes each: partitions given anew by the group, incarnations ended by cause, calls to Redis "
                "repeated, batches folded again after a rollback of Redis, records lost to retention.",
                "short",
                Query(f"sum(increase({metric('rebalances_total', '5m')}))", "rebalances"),
                Query(f"sum by (cause) (increase({metric('incarnation_ends_total', '5m')}))", "ended: {{cause}}"),
                Query(f"sum(increase({metric('store_retries_total', '5m')}))", "calls repeated"),
                Query(f"sum(increase({metric('refolded_batches_total', '5m')}))", "folded again"),
                Query(f"sum(increase({metric('lost_records_total', '5m')}))", "lost"),
            )
        )
        .with_row(row("What runs"))
        .with_panel(
            names(
                "Grid in force",
                "The grid that workers judge by. Two: one of them has not looked at the changed file yet.",
                Query(f"count by (name, version) ({metric('grid_info')})", "{{name}} {{version}}"),
                span=6,
            )
        )
        .with_panel(
            names(
                "Version",
                "Of the program and of Python.",
                Query(f"count by (version, python) ({metric('build_info')})", "{{version}}, Python {{python}}"),
                span=6,
            )
        )
        .with_panel(
            figure(
                "Grid file refused",
                "Workers whose grid file has mistakes or is gone: the last good one stays in force.",
                COUNT,
                Query(f"sum({metric('grid_refused')})", "workers"),
                span=6,
                red_from=1,
            )
        )
        .with_panel(
            figure(
                "Until loss",
                "What is left before retention deletes the oldest record that waits. Infinite where nothing is deleted "
                "by time.",
                "s",
                Query(
                    f"min(min by (job) ({metric('retention_seconds')}) - max by (job) ({metric('published_lag_seconds')}))",
                    "left",
                ),
                span=6,
            )
        )
    )
