"""`leadpulse learn rates`: how often each answer closes, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.common import load_grid, show
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import LearningError


@click.command("rates")
@click.argument("table", metavar="T.parquet", type=click.Path(exists=True, dir_okay=False))
@click.option("--grid", "grid_name", metavar="G", help="Show the rules of this grid, with their points.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", "page", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to FILE.")
def rates(table: str, grid_name: str | None, as_json: bool, page: Path | None) -> None:
    """Show how often each answer closes.

    Each line has its counts, rate, likely range, and how many times as often as everyone. One word tells how sure that is.
    Points are those of the grid now, and those that `learn fit` would propose.
    """
    with needs("learn"):
        from worker.learning.rates_table import HEAD, cells, opening, rates_html, rates_json, rates_of
        from worker.learning.tables import read_table

    from rich.table import Table as Rows

    try:
        read = read_table(table)
        found = rates_of(read, None if grid_name is None else load_grid(grid_name))
    except LearningError as error:
        raise click.ClickException(plain(str(error))) from None
    if page is not None:
        try:
            page.write_text(rates_html(found, read), encoding="utf-8")
        except OSError as err:
            raise click.ClickException(f"{page}: {err.strerror}; choose another --html") from None
        click.echo(f"written to {page}", err=True)
    if as_json:
        click.echo(rates_json(found, read), nl=False)
    elif page is None:
        rows = Rows(box=None, pad_edge=False)
        for title in HEAD:
            rows.add_column(title, justify="right" if title in ("n", "won", "closed", "now", "proposed") else "left")
        for line in cells(found.lines):
            rows.add_row(*map(plain, line))
        click.echo(opening(found))
        show(rows)
        for one in found.left_out:
            click.echo(plain(f"left out: {one.name}: {one.why}"))
        if found.note:
            click.echo(plain(f"no proposed points: {found.note}"))
