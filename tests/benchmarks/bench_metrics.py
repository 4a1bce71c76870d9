"""What metrics and trace context cost a batch: `python -m tests.benchmarks.bench_metrics [EVENTS]`.

One process, no Kafka, no Redis: simulated B2B traffic, `saas-b2b.yaml`, batches as the worker folds them. What a batch tells
the metrics is timed beside the batch itself, in the same pass; so is the reading of the contexts, of events that all have one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.resources import files

import click
from prometheus_client import CollectorRegistry

from worker.core.contract.model import Headers, Record
from worker.core.contract.trace_context import context
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.demo.simulate import Scenario, events
from worker.engine.batch_builder import BatchBuilder, BatchResult, BatchStart
from worker.engine.lag import report
from worker.metrics import Metrics
from worker.settings import Settings

ROUNDS = 7
SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": "1"})
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def tell(metrics: Metrics, taken: BatchResult, records: Sequence[Record], began_s: float) -> None:
    """Tell *metrics* all that a batch of events tells them: the batch, its two calls to Redis, what waits in the outbox."""
    for call in ("load", "apply"):
        metrics.store_seconds.labels(call).observe(0.001)
    metrics.step_seconds.labels("apply").inc(0.001)
    report(metrics, taken, records, began_s)
    for waiting in (1, 0):  # as it comes, and as it is published
        metrics.pending_outputs.labels("0").set(waiting)
        metrics.pending_bytes.labels("0").set(waiting)
    metrics.published_age_seconds.observe(0.1)


async def once(scorer: CompiledGrid, records: Sequence[Record], size: int) -> tuple[float, float, float]:
    """Return the µs of CPU an event of the batches, of telling the metrics, and of reading the contexts of what they caused."""
    states: dict[str, bytes | None] = {}

    async def load(leads: Sequence[str], batch: int, most: float) -> list[bytes | None]:
        return [states.get(lead) for lead in leads]

    folder = BatchBuilder(SETTINGS, scorer, 0, load, asyncio.Lock())
    metrics = Metrics(CollectorRegistry())
    folded = told = read = 0.0
    for number, first in enumerate(range(0, len(records), size), start=1):
        batch = records[first : first + size]
        began_s = time.perf_counter()
        began = time.process_time()
        taken = await folder.events(batch, BatchStart(number, {"lead.events.web": first + size}, None))
        at_fold = time.process_time()
        tell(metrics, taken, batch, began_s)
        at_told = time.process_time()
        for record in batch[: len(taken.batch.entry.outputs)]:
            context(record)
        read += time.process_time() - at_told
        folded += at_fold - began
        told += at_told - at_fold
        states.update((write.lead, write.state) for write in taken.batch.writes)
    return folded / len(records) * 1e6, told / len(records) * 1e6, read / len(records) * 1e6


def traced(record: Record, how: str) -> Record:
    """Return *record* with a context: as Kafka's header, or inside the event."""
    if how == "header":
        headers: Headers = (*record.headers, ("traceparent", PARENT.encode()))
        return record._replace(headers=headers)
    return record._replace(value=json.dumps({**json.loads(record.value or b"{}"), "traceparent": PARENT}).encode())


def main() -> None:
    """Print medians over the rounds, and shares as medians of the rounds' own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    grid = files("grids").joinpath("saas-b2b.yaml").read_text()
    scorer = CompiledGrid(parse_grid(grid, "saas-b2b.yaml"), "/leadpulse/bench")
    made = events(Scenario(seed=1, leads=2_000, days=None, limit=count, late=0.02, duplicates=0.01))
    plain = [Record("lead.events.web", 0, at, r.at_ms, r.key, r.value, r.headers) for at, r in enumerate(made)]
    logs = {"none": plain, **{how: [traced(record, how) for record in plain] for how in ("header", "event")}}
    click.echo(
        "| records a batch | context | batch, µs an event | metrics, µs an event | share | reading contexts, µs an event |"
    )
    click.echo("|---|---|---|---|---|---|")
    for size in (500, 50, 5):
        found: dict[str, list[tuple[float, float, float]]] = {how: [] for how in logs}
        for _ in range(ROUNDS):
            for how, records in logs.items():
                found[how].append(asyncio.run(once(scorer, records, size)))
        for how, rounds in found.items():
            batch, told, read = (spread([one[at] for one in rounds]) for at in range(3))
            share = spread([told / (folded + told) * 100 for folded, told, _ in rounds])
            click.echo(f"| {size} | {how} | {batch} | {told} | {share} % | {read} |")


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the greatest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
