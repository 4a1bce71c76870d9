"""`leadpulse top`: the hottest leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.table import Table

from worker.cli.common import grid_option, json_line, load, run_async, settings_flags, show
from worker.core.contract.printable import plain
from worker.core.scoring.prediction import model_of
from worker.queries.leads import Hot, Leads, held_leads, hottest, likeliest
from worker.settings import ReaderSettings


@click.command()
@click.option("--count", "-n", type=click.IntRange(1, 100_000), default=20, metavar="N", help="Number of leads.  [default 20]")
@click.option(
    "--by",
    type=click.Choice(["score", "probability"]),
    default="score",
    help="Order: by score, or by the chance to be won, for a grid with a model. That reads every lead.  [default score]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per lead.")
@grid_option
@settings_flags("redis", "namespace", "partitions")
def top(count: int, by: str, as_json: bool, grid: str | None, **flags: Any) -> None:
    """List the hottest leads, exactly.

    Reads Redis only. Each lead is evaluated by the grid in force at its clock: the latest of its events and of its
    partition's ticks. Equal scores are ordered by id. A grid with a model also gives each lead its chance to be won.
    """
    leads = run_async(_hottest(load(ReaderSettings, flags), count, grid, by))
    if as_json:
        for lead in leads:
            click.echo(json_line(lead))
    else:
        show(_table(leads))
    if not leads:
        click.echo("no leads are held in this namespace", err=True)


async def _hottest(settings: ReaderSettings, count: int, grid: str | None, by: str) -> list[Hot]:
    async with held_leads(settings, grid) as leads:
        if any(at.requeued is not None or (at.clock_ms or 0) < (at.regraded_ms or 0) for at in leads.positions):
            click.echo("warning: the grid changed, and not every lead is judged by it yet: some may be missing here", err=True)
        if by == "probability":
            return await _likeliest(leads, count)
        return await hottest(leads.stores, leads.scorers, count)


async def _likeliest(leads: Leads, count: int) -> list[Hot]:
    models = [model_of(scorer) for scorer in leads.scorers]
    withheld = {model.withheld for model in models if model is not None}
    if not withheld:
        raise click.ClickException(
            "the grid has no model: add `prediction: {file: model.json}`, as `leadpulse learn fit` writes it"
        )
    for why in withheld - {None}:
        click.echo(f"warning: the model gives no chance ({why})", err=True)
    return await likeliest(leads.stores, leads.scorers, count)


def _table(leads: Sequence[Hot]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("lead", no_wrap=True)
    for name in ("score", "fit", "engagement"):
        table.add_column(name, justify="right")
    for name in ("grade", "stage", "as of"):
        table.add_column(name)
    if any(lead.p is not msgspec.UNSET for lead in leads):
        table.add_column("chance", justify="right")
    for place, lead in enumerate(leads, start=1):
        numbers = (f"{value:.1f}" for value in (lead.score, lead.fit, lead.engagement))
        chance = [] if lead.p is msgspec.UNSET else [f"{100 * lead.p:.1f} %" if isinstance(lead.p, float) else ""]
        table.add_row(str(place), plain(lead.lead_id), *numbers, lead.grade or "", lead.stage, lead.as_of[:19] + "Z", *chance)
    return table
