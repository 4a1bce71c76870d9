"""How cost grows: with leads, rules, events a lead, batch size, workers, input topics; through a Redis Cluster.

`python -m tests.benchmarks.growth [--only leads …]`: each case drains a log of its own by `leadpulse run`.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import redis

from ops.dev.kafka_broker import Kafka, create_topics
from ops.dev.redis_server import Redis, RedisCluster
from tests.benchmarks import report
from tests.benchmarks.contestants import leadpulse
from tests.benchmarks.log import ZIPF, lines
from tests.benchmarks.measure import produce
from tests.benchmarks.place import AS_DEPLOYED, LOG, PARTITIONS, Place

TYPES = ("page.viewed", "email.opened", "email.clicked", "content.downloaded", "form.submitted", "webinar.attended")


@dataclass
class Case:
    """A log, and how it is drained."""

    group: str
    name: str
    events: int = 200_000
    leads: int = 50_000
    zipf: float = ZIPF
    topics: int = 1
    workers: int = 1
    nodes: int = 1
    rules: int | None = None
    """So many rules; `None`: `saas-b2b.yaml`."""
    settings: dict[str, Any] = field(default_factory=dict)


def cases(scale: float = 1.0) -> Iterator[Case]:
    """Yield all cases; *scale* of the events."""
    some = int(200_000 * scale)
    for leads in (10_000, 100_000, 1_000_000):
        yield Case("leads", f"{leads:,} leads, evenly", max(some, int(leads * max(1, scale))), leads, zipf=0)
    for rules in (10, 50, 200):
        yield Case("rules", f"{rules} rules", some, rules=rules)
    for each in (10, 100, 1_000, 10_000):
        yield Case("events a lead", f"{each:,} events a lead", some, max(1, some // each), zipf=0)
    for batch in (50, 500, 5_000):
        yield Case("batch", f"batches of {batch:,} records", some, settings={"max_batch": batch})
    for workers in (1, 2, 4):
        yield Case("workers", f"{workers} workers", some, workers=workers)
    for topics in (1, 5):
        yield Case("topics", f"{topics} input topics", some, topics=topics)
    for nodes in (1, 3):
        yield Case("cluster", f"Redis Cluster of {nodes}" if nodes > 1 else "Redis alone", some, nodes=nodes)


def grid(rules: int) -> str:
    """Return a grid of so many rules, spread over the types; a sixth of them on page views, told apart by their page."""
    pages = ("pricing", "product", "proof", "blog")
    lines_ = ["grid: growth", "version: 1", "engagement:", "  half_life: 14d", "  rules:"]
    for n in range(rules):
        kind = TYPES[n % len(TYPES)]
        where = f", where: {{page_type: {pages[n // len(TYPES) % 4]}}}" if kind == "page.viewed" else ""
        lines_.append(f"    - {{id: rule-{n}, points: 1, on: {kind}{where}, cap: 5}}")
    return "\n".join([*lines_, "stages:", "  mql: {enter: 25, leave: 18}", "  sql: {enter: 45, leave: 35}", ""])


async def measure(case: Case, kafka: Kafka, server: Redis | RedisCluster, folder: Path, number: int) -> str:
    """Return the table's row of *case*."""
    topics = [f"{LOG}-{number}-{n}" for n in range(case.topics)]
    await create_topics(kafka.address, topics, PARTITIONS, {"retention.ms": "-1"})
    produce(kafka.address, topics, lines(case.events, case.leads, zipf=case.zipf), PARTITIONS)
    sizes = {topic: len(range(n, case.events, case.topics)) for n, topic in enumerate(topics)}
    place = Place(kafka, server, folder, 0, {}, sizes, number * 100)
    text = files("grids").joinpath("saas-b2b.yaml").read_text() if case.rules is None else grid(case.rules)
    before, _ = _held(server)
    result, _ = await leadpulse(place, case.name, text, topics, case.workers, **case.settings)
    after, leads = _held(server)
    a_lead = (after - before) / max(1, leads)
    return (
        f"| {case.name} | {case.events:,} | {leads:,} | {result.rate:,.0f} | {result.cpu_us:.1f} | {result.kafka_us:.1f}"
        f" | {result.redis_us:.1f} | {a_lead:,.0f} | {result.peak_mb:.0f} MB |"
    )


def _held(server: Redis | RedisCluster) -> tuple[int, int]:
    """Return the bytes that Redis uses, and how many keys are leads."""
    used = leads = 0
    for node in server.nodes if isinstance(server, RedisCluster) else [server]:
        with redis.Redis(port=node.port) as client:
            memory: Any = client.info("memory")
            used += int(memory["used_memory"])
            leads += sum(1 for _ in client.scan_iter(match="*:lead:*", count=5_000))
    return used, leads


async def measure_all(groups: tuple[str, ...], scale: float) -> str:
    """Return the tables."""
    head = (
        "| | events | leads | events/s | µs of CPU an event | … broker | … Redis | bytes of Redis a lead | memory, at most |\n"
        + "|---" * 9
        + "|"
    )
    rows = [head]
    with tempfile.TemporaryDirectory(prefix="leadpulse-bench-") as folder, Kafka(heap="1g", lasting=True) as kafka:
        for number, case in enumerate(cases(scale), start=1):
            if groups and case.group not in groups:
                continue
            with RedisCluster(case.nodes, settings=AS_DEPLOYED) if case.nodes > 1 else Redis(AS_DEPLOYED) as server:
                rows.append(await measure(case, kafka, server, Path(folder), number))
            click.echo(rows[-1], err=True)
    return "\n".join(rows)


@click.command()
@click.option("--only", multiple=True, help="Only this group of cases: leads, rules, …; may be given again.")
@click.option("--scale", default=1.0, show_default=True, help="Of the events.")
@click.option("--write", "target", type=click.Path(dir_okay=False, path_type=Path), help="Put the table into this page.")
def main(only: tuple[str, ...], scale: float, target: Path | None) -> None:
    """Measure how cost grows."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    text = f"Measured on {report.where()}, each case once.\n\n{asyncio.run(measure_all(only, scale))}"
    click.echo(text)
    if target is not None:
        report.write(target, "growth", text)


if __name__ == "__main__":
    main()
