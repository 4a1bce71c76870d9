"""Lively traffic, and grids under which much happens, folded in batches of any size."""

from __future__ import annotations

from importlib.resources import files

from worker.core.batch.plan import plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Output, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.simulate import events

GRID = files("grids").joinpath("saas-b2b.yaml").read_text()
LOW = GRID.replace("mql: {enter: 50, leave: 40, min_fit: 0}", "mql: {enter: 12, leave: 6}").replace(
    "sql: {enter: 75, leave: 60, min_fit: 0,", "sql: {enter: 25, leave: 20,"
)
SHORT_LIVED = LOW.replace("  quiet: 7d", "  quiet: 1d\nretention: 3d").replace("expires_after: 30d", "expires_after: 6h")
UNFIT = GRID.replace("min_fit: 0", "min_fit: 39").replace("on: email.unsubscribed}", "on: [email.unsubscribed, email.clicked]}")
TAKING = (
    LOW.replace("steps: {2: 3, 3: 6, 5: 10}", "steps: {2: 3, 3: -6, 5: -12}")
    .replace(
        "points: 3, on: page.viewed, where: {page_type: product}", "points: -3, on: page.viewed, where: {page_type: product}"
    )
    .replace(
        "inactivity: {after: 14d, every: 7d, points: -5, min: -30}", "inactivity: {after: 8h, every: 6h, points: -2, min: -40}"
    )
)


def traffic(seed: int) -> list[Event]:
    """Return simulated traffic of few, busy leads; a tenth of it late."""
    made = events(seed, 150, days=None, limit=2_500, late=0.1, duplicates=0.02)
    records = (Record(r.topic, 0, at, None, r.key, r.value, r.headers) for at, r in enumerate(made))
    return [event for record in records if isinstance(event := decode(record), Event)]


def folded(grid: str, log: list[Event], size: int) -> tuple[dict[str, bytes], list[tuple[object, ...]], list[Output]]:
    """Fold *log* in batches of *size* events, and at the end a tick a month later."""
    scorer = CompiledGrid(parse_grid(grid, "grid.yaml"), "/leadpulse/test")
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
