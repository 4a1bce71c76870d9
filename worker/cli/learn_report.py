"""`leadpulse learn report`: the month's figures for marketing and sales."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from worker.cli.common import Complaints, clock_option, duration_option, load_grid, show
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import HistoryError, LearningError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid
    from worker.history.record import Clock
    from worker.learning.event_table import EventChoice
    from worker.learning.funnel import Funnel
    from worker.learning.grid_quality import GridQuality


class _Found(NamedTuple):
    funnel: Funnel
    outputs: str
    """`recorded` or `replayed`."""
    quality: GridQuality | None
    why_not: str


@click.command("report")
@click.argument("source", metavar="SOURCE")
@click.option("--grid", "-g", "grid_name", required=True, metavar="GRID", help="The grid in force.")
@click.option(
    "--horizon", "horizon_ms", metavar="TIME", default="90d", show_default=True, callback=duration_option,
    help="A win counts if it comes within this time.",
)  # fmt: skip
@click.option("--complete", is_flag=True, help="The log begins with the first lead, so nothing is missing before it.")
@clock_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", "to", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to FILE.")
def report(
    source: str, grid_name: str, horizon_ms: int, complete: bool, clock: Clock, as_json: bool, to: Path | None
) -> None:  # fmt: skip
    """Report how far leads came, how sales answered, and how well the grid does.

    SOURCE is an archive's folder or address, or a file of events. A log without outputs is replayed under GRID. The report has
    the funnel by month and source, times, answers of sales, mails, and wins seen and expected.

    \b
      leadpulse learn report history/ --grid grid.yaml --html report.html
    """  # noqa: D301 (click wants the character itself)
    if source == "-":
        raise click.UsageError("the history is read more than once: write it to a file first")
    grid = load_grid(grid_name)
    with needs("learn"):
        import worker.learning.grid_quality  # noqa: F401 (only whether its libraries are there)
        from worker.learning.event_table import EventChoice
    try:
        found = _found(source, clock, grid, EventChoice(horizon_ms=horizon_ms, complete=complete))
    except (LearningError, HistoryError) as error:
        raise click.ClickException(plain(str(error))) from None
    _tell(found, f"{grid.grid} version {grid.version}", as_json, to)


def _found(source: str, clock: Clock, grid: Grid, choice: EventChoice) -> _Found:
    from worker.history.records import open_history
    from worker.learning.event_table import event_table
    from worker.learning.funnel import funnel
    from worker.learning.grid_quality import grid_quality
    from worker.learning.journeys import journeys
    from worker.learning.replayed import has_outputs, with_outputs
    from worker.learning.tables import read_table

    recorded = has_outputs(open_history(source, clock))
    history = open_history(source, clock)
    leads, end_ms = journeys(history.events() if recorded else with_outputs(history, grid))
    complain = Complaints("lines")
    for refusal in history.refused.first:
        complain(f"{refusal.file}:{refusal.line}: {refusal.why}: the line is left out")
    figures = funnel(leads, end_ms, grid.timezone)
    outputs = "recorded" if recorded else "replayed"
    with tempfile.TemporaryDirectory(prefix="leadpulse-report-") as folder:
        out = f"{folder}/t.parquet"
        try:
            event_table(open_history(source, clock), source, grid, choice, out)
        except LearningError as error:
            return _Found(figures, outputs, None, f"Not known: {error}.")
        quality = grid_quality(read_table(out), grid)
    return _Found(figures, outputs, quality, "Not known: it takes ten leads that were won, and ten that were not.")


def _tell(found: _Found, grid: str, as_json: bool, to: Path | None) -> None:
    from rich.table import Table as Rows

    from worker.learning.report_words import report_html, sections

    if to is not None:
        try:
            to.write_text(report_html(found.funnel, found.quality, found.why_not, grid), encoding="utf-8")
        except OSError as err:
            raise click.ClickException(f"{to}: {err.strerror}; choose another --html") from None
        click.echo(f"written to {to}", err=True)
    if as_json:
        whole = {"grid": grid, "outputs": found.outputs, "funnel": found.funnel, "quality": found.quality}
        click.echo(msgspec.json.encode(whole))
        return
    if to is not None:
        return
    for part in sections(found.funnel, found.quality, found.why_not):
        click.echo(f"\n{part.title}\n")
        for sentence in part.sentences:
            click.echo(plain(sentence))
        if part.rows:
            rows = Rows(box=None, pad_edge=False)
            for place, name in enumerate(part.head):
                rows.add_column(name, justify="right" if place else "left")
            for row in part.rows:
                rows.add_row(*map(plain, row))
            show(rows)
