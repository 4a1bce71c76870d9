"""The row of the program that archives, on the dashboard for operators: is everything in files, and are the erased gone?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from ops.grafana.panels import Query, lines, metric, quantile, rate, row


def with_archive(board: Dashboard) -> Dashboard:
    """Add the row to *board*."""
    return (
        board.with_row(row("Archive"))
        .with_panel(
            lines(
                "Archived records",
                "That are in a file, by topic.",
                "short",
                Query(f"sum by (topic) ({rate('archive_records_total')})", "{{topic}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Records that are in no file yet",
                "Of all partitions. They are in Kafka until retention deletes them.",
                "short",
                Query(f"sum({metric('archive_lag_records')})", "records"),
            )
        )
        .with_panel(
            lines(
                "Oldest record that waits for a file",
                "It falls when a file is written. It grows while the storage takes none.",
                "s",
                Query(f"max({metric('archive_oldest_seconds')})", "oldest"),
            )
        )
        .with_panel(
            lines(
                "Time to write a file",
                "99 of 100 files were written within.",
                "s",
                Query(quantile(0.99, "archive_write_seconds"), "write"),
            )
        )
        .with_panel(
            lines(
                "Failures and losses",
                "Attempts to write that failed and are repeated, and offsets that retention deleted before.",
                "short",
                Query(f"sum({rate('archive_write_failures_total')})", "failures"),
                Query(f"sum({rate('archive_lost_records_total')})", "lost"),
            )
        )
        .with_panel(
            lines(
                "Erased ids that files may still have",
                "A pass over all files erases them, within minutes.",
                "short",
                Query(f"max({metric('archive_erasures_waiting')})", "wait"),
            )
        )
    )
