"""A worker under pressure, run as users run it: its memory, its place in the group, its lag. `make pressure` prints a report.

`python -m tests.system.pressure [--events 1000000] [--case NAME] [--report FILE]`. Every case ends with the oracle's verdict on
all states and outputs. Exit code 1 when one differs, when a worker left its group or began anew, or needed over 400 MB.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import random
import re
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from ops.dev.services import HOST
from tests.kit.backlogs import (
    HEAVY,
    PARTITIONS,
    an_event,
    backlog,
    drained,
    heavy,
    judged,
    members,
    memory_mb,
    produce,
    undisturbed,
)
from tests.kit.proxy import Network, proxied
from tests.kit.site import Site
from tests.kit.traffic import Sent, now_ms
from tests.kit.workers import Worker

MOST_MB = 400


STALL_S = 20


class Live(Worker):
    """`leadpulse run`."""

    program = ("worker.cli", "run")

    def pages(self) -> str:
        """Return where its health and metrics pages are."""
        said = re.search(r"pages on (http://\S+):", self.log.read_text())
        assert said is not None
        return said[1]


@dataclass
class Row:
    """What one case gave."""

    name: str
    events: int = 0
    outputs: int = 0
    seconds: float = 0.0
    at_rest_mb: float = 0.0
    peak_mb: float = 0.0
    unpublished_mb: float = 0.0
    wrong: str = ""


@dataclass
class Stage:
    """Where a case takes place."""

    site: Site
    redis: Redis
    to_kafka: Network
    row: Row
    events: int
    told: dict[str, Any]

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """Run a worker while the block lasts, measure it, and see that it keeps its place in the group."""
        site, row = self.site, self.row
        worker = Live(site, "", self.told)
        site.workers.append(worker)
        await worker.ready(PARTITIONS, 60)
        row.at_rest_mb = row.at_rest_mb or memory_mb(worker, "VmRSS")
        before = await members(site)
        watching = asyncio.create_task(self._watch(worker))
        try:
            yield
        finally:
            watching.cancel()
            row.peak_mb = max(row.peak_mb, memory_mb(worker))
        wrong = undisturbed(worker, PARTITIONS)
        if await members(site) != before:
            wrong += " left its group and came again"
        row.wrong = "; ".join(filter(None, (row.wrong, wrong)))
        await worker.stop()

    async def _watch(self, worker: Live) -> None:
        while True:
            page = await asyncio.to_thread(self._metrics, worker.pages())
            held = sum(float(value) for value in re.findall(r"^leadpulse_pending_bytes\{.*\} (\S+)$", page, re.MULTILINE))
            self.row.unpublished_mb = max(self.row.unpublished_mb, held / 2**20)
            await asyncio.sleep(0.5)

    def _metrics(self, address: str) -> str:
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            page: bytes = answer.read()
        return page.decode()

    async def drained(self, share: float = 1.0) -> None:
        """Wait until that share of the events is applied."""
        self.row.seconds += await drained(self.site, share)

    def fill(self, messages: Iterable[Sent]) -> None:
        """Write *messages*, to be counted."""
        self.row.events += produce(self.site, messages)


Case = Callable[[Stage], Awaitable[None]]


CASES: dict[str, tuple[Case, dict[str, Any]]] = {}


def case(name: str, **settings: Any) -> Callable[[Case], Case]:
    """Name a case; *settings* are its workers', and `grid` is a grid's text."""

    def note(run: Case) -> Case:
        CASES[name] = run, settings
        return run

    return note


@case("a backlog")
async def _backlog(stage: Stage) -> None:
    stage.fill(backlog(stage.site, stage.events))
    async with stage.worker():
        await stage.drained()


@case(f"Redis stalled for {STALL_S} s in a backlog")
async def _redis_stalled(stage: Stage) -> None:
    stage.fill(backlog(stage.site, stage.events // 4))
    async with stage.worker():
        await stage.drained(0.3)
        stage.redis.suspend()
        await asyncio.sleep(STALL_S)
        stage.redis.resume()
        stage.row.seconds += STALL_S
        await stage.drained()


@case(f"Kafka far away (100 ms each way, 640 kB/s a connection) for {STALL_S} s in a backlog")
async def _kafka_slow(stage: Stage) -> None:
    stage.fill(backlog(stage.site, stage.events // 4))
    async with stage.worker():
        await stage.drained(0.3)
        stage.to_kafka.delay_s = 0.1
        await asyncio.sleep(STALL_S)
        stage.to_kafka.mend()
        stage.row.seconds += STALL_S
        await stage.drained()


@case("one lead with nine tenths of a backlog")
async def _hot(stage: Stage) -> None:
    stage.fill(backlog(stage.site, stage.events // 4, hot=0.9))
    async with stage.worker():
        await stage.drained()


@case("2,000 leads with 60 kB of traits go to sql at once, and cool at one tick", grid=HEAVY)
async def _heavy(stage: Stage) -> None:
    await _heavy_leads(stage, 0.0)


@case("the same through a network with 3 MB/s a connection: the outbox is full", grid=HEAVY)
async def _outbox_full(stage: Stage) -> None:
    await _heavy_leads(stage, 0.02)


@case("1,000 records of 850 kB that no compression helps, all for the dead letters", max_bad_share=1)
async def _large_records(stage: Stage) -> None:
    rnd = random.Random(1)
    noise = base64.b64encode(rnd.randbytes(900_000)).decode()
    pieces = (noise[rnd.randrange(300_000) :][:850_000] for _ in range(1_000))
    values = (
        an_event(f"lead-{n}", "profile.updated", str(n), now_ms(), f'"traits":{{"a":"{p}"}}') for n, p in enumerate(pieces)
    )
    stage.fill(Sent(stage.site.web, n % PARTITIONS, value) for n, value in enumerate(values))
    async with stage.worker():
        await stage.drained()


async def _heavy_leads(stage: Stage, delay_s: float) -> None:
    site, at_ms, leads = stage.site, now_ms() - 3_600_000, 2_000
    stage.told["clock"] = "events"
    stage.fill(heavy(site, leads, "profile.updated", at_ms))
    async with stage.worker():
        await stage.drained()
        stage.to_kafka.delay_s = delay_s
        stage.fill(heavy(site, leads, "demo.requested", at_ms + 1_000))
        await stage.drained()
        stage.to_kafka.mend()
    stage.told["clock"] = "wall"
    async with stage.worker():
        stage.to_kafka.delay_s = delay_s
        await judged(site)
        stage.to_kafka.mend()


async def once(name: str, events: int, kafka: Kafka, redis: Redis, to_kafka: Network, folder: Path) -> Row:
    """Try one case."""
    run, settings = CASES[name]
    row = Row(name)
    site = Site(
        kafka.address,
        redis.url,
        f"pressure-{list(CASES).index(name)}",
        folder,
        partitions=PARTITIONS,
        clock="wall",
        tick_interval=10,
        publish_interval=0.1,
        session_timeout=10,
        metrics_port=0,
    )
    told = {"kafka": f"{HOST}:{to_kafka.port}", **settings}
    site.put_grid(told.pop("grid", None) or files("grids").joinpath("saas-b2b.yaml").read_text())
    try:
        await site.prepare()
        await run(Stage(site, redis, to_kafka, row, events, told))
        verdict = await site.verdict()
        row.outputs = verdict.transitions.total() + verdict.dead.total()
    except Exception as err:  # noqa: BLE001 (the other cases are tried all the same)
        row.wrong += f"{type(err).__name__}: {err}"
    finally:
        to_kafka.mend()
        site.close()
    if row.peak_mb > MOST_MB:
        row.wrong += f"; over {MOST_MB} MB"
    async with site.redis() as client:
        await client.flushall()
    return row


async def try_all(names: Iterable[str], events: int) -> list[Row]:
    """Try the cases *names*, one after the other."""
    rows = []
    kafka, to_kafka = proxied(heap="1g", lasting=True)
    with tempfile.TemporaryDirectory(prefix="leadpulse-pressure-") as folder, Redis(keep=False) as redis, kafka:
        async with to_kafka:
            for name in names:
                row = await once(name, events, kafka, redis, to_kafka, Path(folder))
                rows.append(row)
                click.echo(f"{name}: {row.wrong or 'ok'}, {row.peak_mb:.0f} MB at most", err=True)
    return rows


def table(rows: Iterable[Row]) -> str:
    """Return the report as Markdown."""
    lines = [
        "| case | events | outputs | took | events/s | at rest | memory, at most | unpublished, at most | undisturbed, right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.events:,} | {row.outputs:,} | {row.seconds:.0f} s | {row.events / (row.seconds or 1):,.0f}"
        f" | {row.at_rest_mb:.0f} MB | {row.peak_mb:.0f} MB | {row.unpublished_mb:.0f} MB | {'NO' if row.wrong else 'yes'} |"
        for row in rows
    ]
    return "\n".join(lines)


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="Of the backlog; other cases take a quarter of them.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Only this one; may be given again.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there too.")
def main(events: int, names: tuple[str, ...], report: Path | None) -> None:
    """Put a worker under pressure, and show what it needed and whether it kept its group."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    rows = asyncio.run(try_all(names or tuple(CASES), events))
    page = table(rows)
    click.echo(page)
    if report is not None:
        report.write_text(page + "\n")
    for row in rows:
        if row.wrong:
            click.echo(f"\nFAILED {row.name}: {row.wrong}", err=True)
    sys.exit(1 if any(row.wrong for row in rows) else 0)


if __name__ == "__main__":
    main()
