"""Collectors and mappers under faults, run as users run them. `make webhooks` prints a report.

`python -m tests.system.webhooks [--kills 20] [--seconds 60] [--case NAME] [--report FILE]`. Every case compares what Kafka
holds with what senders were answered. Exit code 1 when an event is missing or doubled, when an answer came after 2.5 s, or when
the memory grew with what waited.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import click

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from tests.kit.collect_faults import Row, killed, stalled, stopped
from tests.kit.collectors import Park, park_of

MOST_GROWTH_MB = 80

Case = Callable[[Park, Kafka, int, float], Awaitable[Row]]
"""(park, broker, kills, seconds) → what it gave."""


CASES: dict[str, Case] = {
    "kills": lambda park, _, kills, __: killed(park, kills, deals=True, seed=random.randrange(2**32)),
    "suspended": lambda park, kafka, _, seconds: stopped(park, kafka, "suspended", seconds),
    "restarted": lambda park, kafka, _, seconds: stopped(park, kafka, "killed", seconds),
    "stalled": lambda park, kafka, _, seconds: stalled(park, kafka, seconds),
    "crowd": lambda park, kafka, _, seconds: stalled(park, kafka, seconds, senders=500, size=2_000, again_s=5.0),
}


async def try_all(names: Iterable[str], kills: int, seconds: float) -> list[Row]:
    """Try the cases *names*, one after the other."""
    rows = []
    with Kafka({"group.min.session.timeout.ms": "1000"}) as kafka:
        for name in names:
            # A Redis of its own: ids come again from case to case, and one that was seen is left out.
            with tempfile.TemporaryDirectory(prefix="leadpulse-webhooks-") as folder, Redis(keep=False) as redis:
                async with park_of(kafka.address, redis.url, Path(folder)) as park:
                    row = await CASES[name](park, kafka, kills, seconds)
            rows.append(row)
            click.echo(f"{row.name}: {fault(row) or 'ok'}", err=True)
    return rows


def fault(row: Row) -> str:
    """Return what is wrong in *row*; empty for nothing."""
    grown = row.rest_mb and row.peak_mb - row.rest_mb > MOST_GROWTH_MB
    return row.wrong or (f"{row.peak_mb:.0f} MB" if grown else "")


def table(rows: Iterable[Row]) -> str:
    """Return the report as Markdown."""
    lines = [
        "| case | answered 200 | asked to come again | without an answer | missing | doubled | after 2.5 s"
        " | slowest at the sender | memory, at most | took |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.taken:,} | {row.again:,} | {row.lost:,} | {row.missing} | {row.doubled} | {row.late:g}"
        f" | {row.slowest_s:.1f} s | {f'{row.peak_mb:.0f} MB' if row.peak_mb else ''} | {row.seconds:.0f} s |"
        for row in rows
    ]
    return "\n".join(lines)


@click.command()
@click.option("--kills", default=20, show_default=True, help="Of collector and mapper, in all.")
@click.option("--seconds", default=60.0, show_default=True, help="For which Kafka is away.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Only this one; may be given again.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there too.")
def main(kills: int, seconds: float, names: tuple[str, ...], report: Path | None) -> None:
    """Try faults on collectors, and show what became of their webhooks."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    rows = asyncio.run(try_all(names or tuple(CASES), kills, seconds))
    page = table(rows)
    click.echo(page)
    if report is not None:
        report.write_text(page + "\n")
    sys.exit(1 if any(fault(row) for row in rows) else 0)


if __name__ == "__main__":
    main()
