"""What a batch tells the metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from worker.core.scoring.outputs import Transition
from worker.metrics import Metrics


def test_the_moves_of_a_batch_are_counted_each() -> None:
    """Two of a kind, one whose beginning is unknown, one below 0, one that moved nowhere."""
    metrics = Metrics(CollectorRegistry())
    for _ in range(2):
        metrics.moves(
            [
                Transition("lead.mql", "contact", "mql", 50.0, 20.0, 30.0, 1_500, p=0.25),
                Transition("lead.mql", "contact", "mql", 60.0, 70.0, -10.0, None),
                Transition("lead.cooled", "sql", "mql", 40.0, 20.0, 20.0, 500),
                Transition("lead.sla_breached", "sql", "sql", 80.0, 40.0, 40.0, None, p=0.5),
            ]
        )
    expected = {
        "transitions_total": {("lead.mql",): 4, ("lead.cooled",): 2, ("lead.sla_breached",): 2},
        "stage_moves_total": {("contact", "mql"): 4, ("sql", "mql"): 2},
        "stage_stays_total": {("contact",): 2, ("sql",): 2},
        "stage_stay_seconds_total": {("contact",): 3.0, ("sql",): 1.0},
        "transition_scores_total": {("lead.mql", "mql"): 4, ("lead.cooled", "mql"): 2},
        "transition_score_points_total": {("lead.mql", "mql"): 220, ("lead.cooled", "mql"): 80},
        "transition_fit_points_total": {("lead.mql", "mql"): 180, ("lead.cooled", "mql"): 40},
        "transition_chances_total": {("lead.mql",): 0.5, ("lead.sla_breached",): 1.0},
        "transition_chances_given_total": {("lead.mql",): 2, ("lead.sla_breached",): 2},
        "transition_engagement_points_total": {("lead.mql", "mql"): 60, ("lead.cooled", "mql"): 40},
    }
    labels = {one.name.removeprefix("leadpulse_"): one.labels for one in metrics.described}
    for name, values in expected.items():
        found = {
            tuple(sample.labels[label] for label in labels[name]): sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"leadpulse_{name}" and sample.value
        }
        assert found == values, name
