"""The dashboard for owners of a grid: where leads stand, how they move, and whether called leads buy."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from ops.grafana.panels import COUNT, Query, bars, board, figure, gained, lines, metric, rate, row


def _transitions(kind: str) -> str:
    return f"sum({gained('transitions_total', type=kind)})"


def _moves(**labels: str) -> str:
    return f"sum({gained('stage_moves_total', **labels)})"


def funnel() -> Dashboard:
    """Return the dashboard."""
    fit, engagement = (f"sum by (to) ({gained(f'transition_{part}_points_total')})" for part in ("fit", "engagement"))
    moves = f"({gained('stage_moves_total')})"
    return (
        board(
            "leadpulse-funnel",
            "LeadPulse: funnel",
            "Where leads stand, how they move, and whether called leads buy. Counts are of the shown time range.",
            "now-7d",
        )
        .with_panel(
            figure(
                "lead.mql",
                "Published under that name: leads for marketing to look after.",
                COUNT,
                Query(_transitions("lead.mql"), "lead.mql"),
            )
        )
        .with_panel(
            figure("lead.sql", "Published under that name: leads to call.", COUNT, Query(_transitions("lead.sql"), "lead.sql"))
        )
        .with_panel(
            figure(
                "From mql to sql",
                "Leads that became sql, as a share of those that became mql. In a short time range, these may be different "
                "leads.",
                "percentunit",
                Query(f"{_moves(origin='mql', to='sql')} / ({_moves(origin='contact', to='mql')} > 0)", "share"),
            )
        )
        .with_panel(
            figure(
                "Won",
                "Leads that became clients, by `crm.won`.",
                COUNT,
                Query(_moves(to="client"), "won"),
            )
        )
        .with_panel(
            figure(
                "Nobody answered in time",
                "`lead.sla_breached`, as a share of `lead.sql`: leads without a response within the grid's `sla`.",
                "percentunit",
                Query(f"{_transitions('lead.sla_breached')} / ({_transitions('lead.sql')} > 0)", "share"),
                red_from=0.1,
            )
        )
        .with_panel(
            figure("Leads held", "In any stage, now.", COUNT, Query(f"sum({metric('leads')})", "leads")),
        )
        .with_row(row("Where leads stand"))
        .with_panel(bars("Leads by stage", "Now.", "short", Query(f"sum by (stage) ({metric('leads')})", "{{stage}}"), span=8))
        .with_panel(
            lines(
                "Ripe leads, course",
                "Leads by stage without contacts, who are most of them.",
                "short",
                Query(f"sum by (stage) ({metric('leads')} unless {metric('leads', stage='contact')})", "{{stage}}"),
                span=16,
                stacked=True,
            )
        )
        .with_row(row("How they move"))
        .with_panel(
            lines(
                "Outputs an hour",
                "As they are brought about, by type.",
                "short",
                Query(f"3600 * sum by (type) ({rate('transitions_total')})", "{{type}}"),
            )
        )
        .with_panel(
            bars(
                "Where they go from each stage",
                "Share of the moves out of a stage.",
                "percentunit",
                Query(
                    f"(sum by (origin, to) {moves} > 0) / on (origin) group_left () sum by (origin) {moves}",
                    "{{origin}} → {{to}}",
                ),
                most=1,
            )
        )
        .with_panel(
            bars(
                "Time in a stage",
                "Mean length of the stays that ended, where their beginning is known.",
                "s",
                Query(
                    f"sum by (stage) ({gained('stage_stay_seconds_total')})"
                    f" / (sum by (stage) ({gained('stage_stays_total')}) > 0)",
                    "{{stage}}",
                ),
            )
        )
        .with_row(row("What the score is worth"))
        .with_panel(
            bars(
                "Score at each move",
                "Mean score with which leads came into a stage. Clients who came with less than an sql's show what the "
                "grid misses.",
                "short",
                Query(
                    f"sum by (to) ({gained('transition_score_points_total')})"
                    f" / (sum by (to) ({gained('transition_scores_total')}) > 0)",
                    "{{to}}",
                ),
            )
        )
        .with_panel(
            bars(
                "Fit's share of the score",
                "At each move into a stage; the rest is engagement.",
                "percentunit",
                Query(f"{fit} / ({fit} + {engagement} > 0)", "{{to}}"),
                most=1,
            )
        )
        .with_panel(
            lines(
                "What leads do",
                "Events an hour, by type.",
                "short",
                Query(f"3600 * sum by (type) ({rate('events_total')})", "{{type}}"),
                stacked=True,
            )
        )
        .with_row(row("Who they are"))
        .with_panel(
            figure(
                "Visitors recognized",
                "Visitors whose past became a known lead's.",
                COUNT,
                Query(f"sum({gained('merged_visitors_total')})", "visitors"),
                span=8,
            )
        )
        .with_panel(
            figure(
                "Erased",
                "`lead.erased`: ids of people who asked to be forgotten.",
                COUNT,
                Query(_transitions("lead.erased"), "ids"),
                span=8,
            )
        )
        .with_panel(
            figure(
                "Removed",
                "Contacts that were idle past the grid's `retention`.",
                COUNT,
                Query(f"sum({gained('removed_leads_total')})", "leads"),
                span=8,
            )
        )
        .with_panel(
            figure(
                "Claimed twice",
                "Visitors of one lead that another lead claimed, and got from then on.",
                "short",
                Query(f"sum({gained('moved_aliases_total')})", "visitors"),
                span=8,
            )
        )
        .with_panel(
            figure(
                "Addresses of two leads",
                "`lead.duplicate`: merged only when a `lead.identified` says so.",
                "short",
                Query(_transitions("lead.duplicate"), "leads"),
                span=8,
            )
        )
        .with_panel(
            figure(
                "Accounts that became hot",
                "`account.hot`, of grids with `accounts`.",
                "short",
                Query(_transitions("account.hot"), "accounts"),
                span=8,
            )
        )
        .build()
    )
