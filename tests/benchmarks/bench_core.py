"""What an event costs in the pure core: decode against pydantic in turns, then fold, judge and pack, and a lead's size.

`python -m tests.benchmarks.bench_core [EVENTS]`: one process, no Kafka, no Redis; simulated B2B traffic, `saas-b2b.yaml`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.resources import files

import click

from schemas import read_input
from worker.core.batch.plan import plan_events
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.simulate import Scenario, events

ROUNDS = 7
BATCH = 500


def microseconds(work: Callable[[], object], count: int) -> float:
    """Return what one of *count* items costs when *work* does them all, in µs of CPU."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / count * 1e6


def main() -> None:
    """Print medians over the rounds, the rival's in turn with ours."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    grid = files("grids").joinpath("saas-b2b.yaml").read_text()
    scorer = CompiledGrid(parse_grid(grid, "saas-b2b.yaml"), "/leadpulse/bench")
    made = events(Scenario(seed=1, leads=2_000, days=None, limit=count, late=0.02, duplicates=0.01))
    records = [Record(r.topic, 0, at, None, r.key, r.value, r.headers) for at, r in enumerate(made)]
    known = [record for record in records if isinstance(decode(record), Event)]
    values = [record.value or b"" for record in known]
    taken = [event for record in known if isinstance(event := decode(record), Event)]
    ours, theirs, planned = [], [], []
    states: dict[str, bytes | None] = {}

    def plan_all() -> None:
        states.clear()
        for first in range(0, len(taken), BATCH):
            batch = taken[first : first + BATCH]
            plan = plan_events(scorer, {event.lead: states.get(event.lead) for event in batch}, batch, None)
            states.update((write.lead, write.state) for write in plan.writes)

    for _ in range(ROUNDS):
        ours.append(microseconds(lambda: [decode(record) for record in known], len(known)))
        theirs.append(microseconds(lambda: [read_input(value) for value in values], len(values)))
        planned.append(microseconds(plan_all, len(taken)))
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    sizes = sorted(len(state) for state in states.values() if state is not None)
    click.echo(f"{len(taken):,} events of {sum(map(len, values)) // len(values)} bytes, {len(states):,} leads, {ROUNDS} rounds")
    click.echo(f"decode              {statistics.median(ours):6.2f} µs an event ({min(ours):.2f} to {max(ours):.2f})")
    click.echo(f"decode by pydantic  {statistics.median(theirs):6.2f} µs an event; ratio pydantic/ours {ratio:.1f}")
    click.echo(f"fold, judge, pack   {statistics.median(planned):6.2f} µs an event ({min(planned):.2f} to {max(planned):.2f})")
    click.echo(f"packed state        {sizes[len(sizes) // 2]} bytes a lead (median), {sizes[-1]} at most")


if __name__ == "__main__":
    main()
