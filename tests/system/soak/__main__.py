"""Every fault again and again under load, each run held to the core alone, with a table at the end: `make soak`.

`python -m tests.system.soak [--minutes 20] [--seed N] [--fault NAME] [--report FILE]`. Seed and fault describe a run whole.
`--seed N --fault NAME --minutes 0` repeats one that failed. The exit code is 1 when anything was lost, doubled or different,
or when a worker did not recover.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from pathlib import Path

import click

from tests.system.soak import (
    grid_faults,
    kafka_faults,
    network_faults,
    redis_faults,
    traffic_faults,
    worker_faults,
)
from tests.system.soak.run import FAULTS
from tests.system.soak.table import Row, table
from tests.system.soak.tries import soak

MODULES = (grid_faults, kafka_faults, network_faults, redis_faults, traffic_faults, worker_faults)
"""Their import names the faults."""


@click.command()
@click.option("--minutes", type=float, default=20.0, help="How long; every fault is tried once even in 0.  [default 20]")
@click.option("--seed", type=int, help="Of the first turn; each turn adds 1.  [default: random]")
@click.option("--fault", "names", multiple=True, type=click.Choice(list(FAULTS)), help="Only this one; may be given again.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there too.")
def main(minutes: float, seed: int | None, names: tuple[str, ...], report: Path | None) -> None:
    """Try every fault under load, and show what was lost, doubled, different, and how long recovery took."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the brokers are ended on purpose
    first = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {first}", err=True)
    rows: dict[str, Row] = {}
    asyncio.run(soak(minutes, first, list(names or FAULTS), rows))
    page = table(rows)
    click.echo(page)
    if report is not None:
        report.write_text(page + "\n")
    failed = [why for row in rows.values() for why in row.failed]
    for why in failed:
        click.echo(f"\nFAILED {why}", err=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
