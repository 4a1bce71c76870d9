"""The row of the program that acts, on the dashboard for operators: are acts done, how soon, and what waits for a person?"""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from ops.grafana.panels import Query, lines, metric, quantile, rate, row


def with_acts(board: Dashboard) -> Dashboard:
    """Add the row to *board*."""
    return (
        board.with_row(row("Acts"))
        .with_panel(
            lines(
                "Attempts at acts",
                "That ended, by target and outcome. `retry` comes again by itself, `put_back` waits for a budget or a breaker.",
                "short",
                Query(f"sum by (target, outcome) ({rate('act_attempts_total')}) > 0", "{{target}} {{outcome}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "From output to act",
                "99 of 100 acts were done within, by output type and kind of act.",
                "s",
                Query(quantile(0.99, "act_seconds", by="type, do"), "{{type}} {{do}}"),
            )
        )
        .with_panel(
            lines(
                "Acts in the ledgers",
                "By target and state. `unknown`, `held` and `dead` wait for a person: `leadpulse act list`.",
                "short",
                Query(
                    f"sum by (target, state) (max by (job, instance, target, state) ({metric('act_acts')}))",
                    "{{target}} {{state}}",
                ),
            )
        )
        .with_panel(
            lines(
                "Oldest act or state that waits",
                "By target. It grows while a target is down, or its budget is too small.",
                "s",
                Query(f"max by (target) ({metric('act_oldest_seconds')})", "{{target}}"),
            )
        )
        .with_panel(
            lines(
                "States of leads",
                "Written to targets or refused, and those that wait.",
                "short",
                Query(f"sum by (target, outcome) ({rate('act_states_total')})", "{{target}} {{outcome}}"),
                Query(f"sum by (target) ({metric('act_states_waiting')})", "waits: {{target}}"),
            )
        )
        .with_panel(
            lines(
                "Outputs that wait, and open breakers",
                "Records of outputs and inputs that the program has not read, and the targets that it leaves alone for now.",
                "short",
                Query(f"sum(max by (job, partition) ({metric('act_lag_records')}))", "records"),
                Query(f"max by (target) ({metric('act_breaker_open')})", "breaker: {{target}}"),
            )
        )
    )
