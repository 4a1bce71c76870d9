"""`leadpulse learn leaks`: columns and events of a table that seem to know the outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table as Rows

from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import LearningError

if TYPE_CHECKING:
    from worker.learning.leaks import Leak

_ORDER: Final = ("refuse", "ask", "ok")


@click.command("leaks")
@click.argument("table", metavar="T.parquet")
@click.option("--json", "as_json", is_flag=True, help="Print every column as JSON, in the order of the table.")
def leaks(table: str, as_json: bool) -> None:
    """Look for columns and events that know the outcome.

    Sales write some columns with the outcome, or after it. A fit with such a column looks excellent, and its points are worth
    nothing for leads that are still open.

    `refuse`: `learn fit` stops until you drop the column or allow it. `ask`: find out when it is filled in, and by whom.
    """
    with needs("learn"):
        from worker.learning.leaks import find_leaks
        from worker.learning.tables import read_table
    try:
        found = find_leaks(read_table(table))
    except LearningError as error:
        raise click.ClickException(plain(str(error))) from None
    if as_json:
        click.echo(json.dumps({"columns": [leak._asdict() for leak in found]}, ensure_ascii=False))
        return
    _print(found)


def _print(found: list[Leak]) -> None:
    """Print what is refused and asked about, and only the names of the others."""
    counts = {verdict: sum(leak.verdict == verdict for leak in found) for verdict in _ORDER}
    suspects = sorted((leak for leak in found if leak.verdict != "ok"), key=lambda leak: _ORDER.index(leak.verdict))
    if suspects:
        rows = Rows(box=None, pad_edge=False)
        for title in ("verdict", "column", "why"):
            rows.add_column(title, overflow="fold", no_wrap=title == "verdict")
        for leak in suspects:
            rows.add_row(leak.verdict, plain(leak.name), plain(leak.why))
        Console(highlight=False, markup=False).print(rows)
    clean = [plain(leak.name) for leak in found if leak.verdict == "ok"]
    if clean:
        click.echo(f"ok: {', '.join(clean)}")
    click.echo(f"{len(found)} columns: {counts['refuse']} refused, {counts['ask']} asked about, {counts['ok']} ok", err=True)
