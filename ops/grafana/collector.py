"""The collector's row of the dashboard for operators: do requests get their answers, and webhooks become events?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from ops.grafana.panels import Query, lines, metric, quantile, rate, row


def with_collector(board: Dashboard) -> Dashboard:
    """Add the row to *board*."""
    return (
        board.with_row(row("Collector"))
        .with_panel(
            lines(
                "Requests",
                "Answered, by endpoint and status. 429 and 503 ask the sender to come again, 401 is a wrong secret.",
                "reqps",
                Query(f"sum by (endpoint, status) ({rate('collect_requests_total')})", "{{endpoint}} {{status}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Time to an answer",
                "99 of 100 requests were answered within, by endpoint. An answer of 200 waits until Kafka has the events.",
                "s",
                Query(quantile(0.99, "collect_request_seconds", by="endpoint"), "{{endpoint}}"),
            )
        )
        .with_panel(
            lines(
                "Taken by Kafka",
                "Webhooks by source, and events that came as events by endpoint.",
                "short",
                Query(f"sum by (source) ({rate('collect_webhooks_total')})", "{{source}}"),
                Query(f"sum by (endpoint) ({rate('collect_events_total')})", "events: {{endpoint}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "From webhook to event",
                "From a transaction's oldest webhook to the commit of its events: half and 99 of 100 took no longer.",
                "s",
                Query(quantile(0.5, "collect_map_age_seconds"), "50 %"),
                Query(quantile(0.99, "collect_map_age_seconds"), "99 %"),
            )
        )
        .with_panel(
            lines(
                "Webhooks that wait",
                "In `lead.inbound`, until a mapper has made events of them.",
                "short",
                Query(f"sum(max by (job, partition) ({metric('collect_map_lag_records')}))", "webhooks"),
            )
        )
        .with_panel(
            lines(
                "Refused and left out",
                "Within five minutes each: webhooks refused for their signature or dead, events that were seen before, "
                "requests that are too large, and requests whose sender must come again.",
                "short",
                Query(f"sum by (source) (increase({metric('collect_bad_signatures_total', '5m')}))", "signature: {{source}}"),
                Query(f"sum by (source) (increase({metric('collect_dead_webhooks_total', '5m')}))", "dead: {{source}}"),
                Query(f"sum by (source) (increase({metric('collect_repeated_events_total', '5m')}))", "repeated: {{source}}"),
                Query(f"sum by (endpoint) (increase({metric('collect_too_large_total', '5m')}))", "too large: {{endpoint}}"),
                Query(f"sum by (reason) (increase({metric('collect_unanswered_total', '5m')}))", "come again: {{reason}}"),
            )
        )
    )
