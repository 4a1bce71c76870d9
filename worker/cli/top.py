"""`leadpulse top`: the hottest leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table

from worker.cli.common import grid_option, json_line, load, run_async, settings_flags, show
from worker.core.contract.printable import plain
from worker.queries.leads import Hot, held_leads, hottest
from worker.settings import ReaderSettings


@click.command()
@click.option("--count", "-n", type=click.IntRange(1, 100_000), default=20, metavar="N", help="Number of leads.  [default 20]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per lead.")
@grid_option
@settings_flags("redis", "namespace", "partitions")
def top(count: int, as_json: bool, grid: str | None, **flags: Any) -> None:
    """List the hottest leads, exactly.

    Reads Redis only. Each lead is evaluated by the grid in force at its clock: the latest of its events and of its
    partition's ticks. Equal scores are ordered by id.
    """
    leads = run_async(_hottest(load(ReaderSettings, flags), count, grid))
    if as_json:
        for lead in leads:
            click.echo(json_line(lead))
    else:
        show(_table(leads))
    if not leads:
        click.echo("no leads are held in this namespace", err=True)


async def _hottest(settings: ReaderSettings, count: int, grid: str | None) -> list[Hot]:
    async with held_leads(settings, grid) as leads:
        if any(at.requeued is not None or (at.clock_ms or 0) < (at.regraded_ms or 0) for at in leads.positions):
            click.echo("warning: the grid changed, and not every lead is judged by it yet: some may be missing here", err=True)
        return await hottest(leads.stores, leads.scorers, count)


def _table(leads: Sequence[Hot]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("lead", no_wrap=True)
    for name in ("score", "fit", "engagement"):
        table.add_column(name, justify="right")
    for name in ("grade", "stage", "as of"):
        table.add_column(name)
    for place, lead in enumerate(leads, start=1):
        numbers = (f"{value:.1f}" for value in (lead.score, lead.fit, lead.engagement))
        table.add_row(str(place), plain(lead.lead_id), *numbers, lead.grade or "", lead.stage, lead.as_of[:19] + "Z")
    return table
