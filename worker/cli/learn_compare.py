"""`leadpulse learn compare`: two grids on one history."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from worker.cli.common import Complaints, clock_option, duration_option, load_grid, show
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.core.scoring.calendar import rfc3339
from worker.errors import HistoryError, LearningError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid
    from worker.history.record import Clock, History
    from worker.learning.compare import Comparison, Mover
    from worker.learning.event_table import EventChoice
    from worker.learning.tables import Table


@click.command("compare")
@click.argument("source", metavar="SOURCE")
@click.option(
    "--grid", "-g", "grids", metavar="GRID", multiple=True, help="Give it twice: the grid in force, and the other one."
)
@click.option("--capacity", metavar="N/week", help="Calls that sales can make.  [default: as many as the first grid brings]")
@click.option(
    "--horizon",
    "horizon_ms",
    metavar="D",
    default="90d",
    show_default=True,
    callback=duration_option,
    help="A win counts if it comes within this time.",
)
@click.option("--complete", is_flag=True, help="The log begins with the first lead, so nothing is missing before it.")
@clock_option
@click.option("--leads", "listed", metavar="FILE", help="Write each lead that a grid calls to this CSV file; - is stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", "to", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to FILE.")
def compare(
    source: str, grids: tuple[str, ...], capacity: str | None, horizon_ms: int, complete: bool, clock: Clock,
    listed: str | None, as_json: bool, to: Path | None,
) -> None:  # fmt: skip
    """Compare two grids on one history.

    SOURCE is an archive's folder or address, or a file of events. Shows which leads each grid would call, how those ended, and
    whether the difference is more than chance. Leads that sales were never given are counted apart.

    \b
      leadpulse learn compare history/ --grid grid.yaml --grid proposed.yaml --capacity 40/week
    """  # noqa: D301 (click wants the character itself)
    if len(grids) != 2:
        raise click.UsageError("give --grid twice: the grid in force, and the other one")
    if source == "-":
        raise click.UsageError("the history is read once for each grid: write it to a file first")
    judged = [load_grid(name) for name in grids]
    with needs("learn"):
        from worker.history.records import open_history
        from worker.learning.compare import compare as compared
        from worker.learning.compare import movers
        from worker.learning.event_table import EventChoice
        from worker.learning.goals import calls_a_week
    try:
        a_week = None if capacity is None else calls_a_week(capacity)
        with tempfile.TemporaryDirectory(prefix="leadpulse-compare-") as folder:
            choice = EventChoice(horizon_ms=horizon_ms, complete=complete, shadow=True)
            one, other = (
                _table(open_history(source, clock), source, grid, choice, f"{folder}/{place}")
                for place, grid in enumerate(judged)
            )
        found = compared(one, other, a_week)
    except (LearningError, HistoryError) as error:
        raise click.ClickException(plain(str(error))) from None
    if listed is not None:
        _list(listed, movers(one, other))
    if listed != "-":
        _tell(found, as_json, to)


def _list(out: str, found: Iterable[Mover]) -> None:
    try:
        with click.open_file(out, "w", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("id", "called_by", "at_a", "at_b", "won", "given_to_sales"))
            for lead, a, b in found:
                by = "both" if a and b else "A" if a else "B"
                calls = [call for call in (a, b) if call is not None]
                instants = ("" if call is None else rfc3339(call.at_ms) for call in (a, b))
                won, given = (any(getattr(call, name) for call in calls) for name in ("won", "given"))
                writer.writerow((lead, by, *instants, *("yes" if one else "no" for one in (won, given))))
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}; choose another --leads") from None


def _table(history: History, source: str, grid: Grid, choice: EventChoice, out: str) -> Table:
    from worker.learning.event_table import event_table
    from worker.learning.tables import read_table

    event_table(history, source, grid, choice, out)
    if out.endswith("0"):
        complain = Complaints("lines")
        for refusal in history.refused.first:
            complain(f"{refusal.file}:{refusal.line}: {refusal.why}: the line is left out")
    return read_table(out)


def _tell(found: Comparison, as_json: bool, to: Path | None) -> None:
    from rich.table import Table as Rows

    from worker.learning.compare_words import HEAD, comparison_html, opening, sections, warning

    if to is not None:
        try:
            to.write_text(comparison_html(found), encoding="utf-8")
        except OSError as err:
            raise click.ClickException(f"{to}: {err.strerror}; choose another --html") from None
        click.echo(f"written to {to}", err=True)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo(plain(opening(found)))
    for title, sentences, cells in sections(found):
        click.echo(f"\n{title}\n")
        for sentence in sentences:
            click.echo(plain(sentence))
        if cells:
            table = Rows(box=None, pad_edge=False)
            for name in HEAD:
                table.add_column(name, justify="left" if name == HEAD[0] else "right")
            for row in cells:
                table.add_row(*map(plain, row))
            click.echo()
            show(table)
    said = warning(found)
    if said is not None:
        click.echo(f"\n{said}")
