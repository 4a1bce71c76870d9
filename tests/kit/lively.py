"""Lively traffic, and grids under which much happens, folded in batches of any size."""

from __future__ import annotations

from importlib.resources import files

from tests.kit.grids import changed, compiled
from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Output, Record
from worker.demo.simulate import Scenario, events

GRID = files("grids").joinpath("saas-b2b.yaml").read_text()
LOW = changed(
    GRID,
    {
        "stages.mql": "{enter: 12, leave: 6}",
        "stages.sql.enter": 25,
        "stages.sql.leave": 20,
        "stages.sql.min_fit": None,
    },
)
SHORT_LIVED = changed(LOW, {"stages.quiet": "1d", "retention": "3d", "engagement.rules.email-open.expires_after": "6h"})
UNFIT = changed(
    GRID,
    {
        "stages.mql.min_fit": 39,
        "stages.sql.min_fit": 39,
        "exclusions.unsubscribed.on": "[email.unsubscribed, email.clicked]",
    },
)
TAKING = changed(
    LOW,
    {
        "velocity.comes-back.steps": "{2: 3, 3: -6, 5: -12}",
        "engagement.rules.product-page.points": -3,
        "inactivity": "{after: 8h, every: 6h, points: -2, min: -40}",
    },
)
NURTURED = changed(
    TAKING,
    {
        "phases": "{discovery: {enter: 3, leave: 1}, consideration: {enter: 9, leave: 8}, decision: {enter: 30, leave: 10}}",
        "stages.mql.min_engagement": 5,
        "stages.mql.intent_within": "2d",
        "stages.sql.min_engagement": 18,
        "stages.sql.sla": '{within: 2h, hours: {days: mon-fri, from: "09:00", to: "18:00"}}',
        "stages.mql.enter": 40,
        "stages.sql.enter": 60,
    },
)
"""Phases, most of whose changes find a lead off the ladder, and rungs that ask for engagement."""


def traffic(seed: int) -> list[Event]:
    """Return simulated traffic of few, busy leads; a tenth of it late."""
    made = events(Scenario(seed=seed, leads=150, days=None, limit=2_500, late=0.1, duplicates=0.02))
    records = (Record(r.topic, 0, at, None, r.key, r.value, r.headers) for at, r in enumerate(made))
    return [event for record in records if isinstance(event := decode(record), Event)]


def folded(grid: str, log: list[Event], size: int) -> tuple[dict[str, bytes], list[tuple[object, ...]], list[Output]]:
    """Fold *log* in batches of *size* events, and at the end a tick a month later."""
    scorer = compiled(grid)
    states: dict[str, bytes] = {}
    fields: dict[str, tuple[object, ...]] = {}
    outputs: list[Output] = []
    for first in range(0, len(log), size):
        batch = log[first : first + size]
        plan = plan_events(scorer, {event.lead: states.get(event.lead) for event in batch}, batch, None)
        outputs += plan.outputs
        for write in plan.writes:
            states[write.lead] = write.state
            fields[write.lead] = (write.score, write.fit, write.engagement, write.stage, write.grade, write.due_ms, write.rank)
    end_ms = max(event.at_ms for event in log) + 30 * 86_400_000
    plan = plan_tick(scorer, dict(states), end_ms, None)
    return (
        states,
        [fields[lead] for lead in sorted(fields)],
        [*sorted(outputs, key=by_lead), *sorted(plan.outputs, key=by_lead)],
    )


def by_lead(output: Output) -> tuple[bytes, int]:
    """Return what puts outputs in an order that batches do not change."""
    value = output.value or b""
    return output.key or b"", int(value.partition(b'"sequence":"')[2].partition(b'"')[0])
