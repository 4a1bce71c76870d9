"""`leadpulse learn table`: the table that everything else under `leadpulse learn` reads."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import click
from click.core import ParameterSource

from worker.cli.common import Complaints, clock_option, duration_option, load_grid, shown_name
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import HistoryError, LearningError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid
    from worker.history.record import Clock, History
    from worker.learning.event_table import Engine, EventChoice
    from worker.learning.tables import TableFacts


Label = Literal["won", "opportunity", "accepted"]


@click.command("table")
@click.argument("source")
@click.option("--out", metavar="T.parquet", required=True, help="Where to write the table.")
@click.option("--grid", "grid_name", metavar="GRID", help="Events: the grid that reads the leads, a file or a preset's name.")
@click.option(
    "--horizon", "horizon_ms", metavar="TIME", default="90d", show_default=True, callback=duration_option,
    help="Events: the longest time in which an outcome counts. It is shorter where most wins come sooner.",
)  # fmt: skip
@click.option(
    "--every", "every_ms", metavar="TIME", default="7d", show_default=True, callback=duration_option,
    help="Events: the time between two rows of a lead.",
)  # fmt: skip
@click.option(
    "--label", type=click.Choice(["won", "opportunity", "accepted"]), default="won", show_default=True,
    help="Events: the outcome. The earlier ones come more often, and sooner.",
)  # fmt: skip
@click.option("--complete", is_flag=True, help="Events: the log begins with the first lead, so nothing is missing before it.")
@clock_option
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True,
    help="Events: fold on this machine, or on Spark (needs leadpulse[spark] and Java).",
)  # fmt: skip
@click.option("--master", metavar="URL", default="local[2]", show_default=True, help="Spark: the address of its master.")
@click.option("--work", metavar="FOLDER", help="Spark: a folder or address that all machines of the cluster see.")
@click.option("--outcome", metavar="COLUMN", help="CSV: the column that says how it ended.")
@click.option("--won", metavar="VALUE", multiple=True, help="CSV: its value for a won lead. Repeat it for several.")
@click.option("--id", "id_", metavar="COLUMN", help="CSV: the column with the lead's id.  [default: the line of the row]")
@click.option("--order", metavar="COLUMN", help="CSV: what orders the leads in time: numbers, or dates such as 2026-03-05.")
@click.option("--ignore", metavar="COLUMN", multiple=True, help="CSV: leave this column out. Repeat it for several.")
@click.option("--encoding", metavar="NAME", help="CSV: the encoding, such as windows-1252.  [default: by its beginning]")
@click.option("--delimiter", metavar="CHARACTER", help="CSV: what separates cells, such as ';'.  [default: by its beginning]")
@click.pass_context
def table(
    ctx: click.Context, /, source: str, out: str, grid_name: str | None, horizon_ms: int, every_ms: int, label: Label,
    complete: bool, clock: Clock, engine: str, master: str, work: str | None, outcome: str | None, won: tuple[str, ...],
    **columns: Any,
) -> None:  # fmt: skip
    """Make a learning table from a log of events, or from a CRM's export.

    SOURCE with --grid is an archive's folder or address, or a file of events, one CloudEvent a line. Each lead at risk has a
    row every week. A row holds what was known then, and whether the lead was won within the horizon.

    SOURCE with --outcome and --won is a CSV file with one header and a row for each lead. Names, ids and values are kept as
    they are, blanks too. Files may be gzipped, and `-` is stdin.

    \b
      leadpulse learn table history/ --grid saas-b2b --out leads.parquet
      leadpulse learn table leads.csv --outcome Status --won "Closed won" --id "Lead ID" --out leads.parquet
    """  # noqa: D301 (click wants the character itself)
    if (grid_name is None) == (outcome is None):
        raise click.UsageError("give --grid for a log of events, or --outcome and --won for a CSV file")
    _refuse_other(ctx, events=grid_name is not None)
    if outcome is not None and not won:
        raise click.UsageError("--outcome needs --won: the value of a won lead")
    grid = None if grid_name is None else load_grid(grid_name)
    with needs("learn"):
        from worker.history.records import open_history
        from worker.learning.event_table import EventChoice
    name = shown_name(source)
    try:
        if grid is not None:
            chosen = EventChoice(horizon_ms, every_ms, label, complete, young=True)
            facts = _from_events(
                open_history(source, clock), name, grid, chosen, out, _spark(master, work) if engine == "spark" else None
            )
        else:
            facts = _from_csv(source, name, (outcome, won, *columns.values()), out)
    except (LearningError, HistoryError) as error:
        raise click.ClickException(plain(str(error))) from None
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{name}: {error}") from None
    _say(facts, out)


def _spark(master: str, work: str | None) -> Engine:
    with needs("spark"):
        from worker.learning.spark_table import SparkEngine
    return SparkEngine(master, work)


OF_EVENTS: Final = ("horizon_ms", "every_ms", "label", "complete", "clock", "engine", "master", "work")
OF_SPARK: Final = ("master", "work")
OF_CSV: Final = ("won", "id_", "order", "ignore", "encoding", "delimiter")


def _refuse_other(ctx: click.Context, *, events: bool) -> None:
    """Refuse options that have no effect on this kind of source."""
    for option in ctx.command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT and ctx.params[name] not in (None, (), False)
        if given and name in (OF_CSV if events else OF_EVENTS):
            kind = "a log of events" if events else "a CSV file"
            raise click.UsageError(f"{option.opts[0]} has no effect on {kind}")
        if given and name in OF_SPARK and ctx.params["engine"] != "spark":
            raise click.UsageError(f"{option.opts[0]} has no effect without --engine spark")


def _from_events(history: History, name: str, grid: Grid, choice: EventChoice, out: str, engine: Engine | None) -> TableFacts:
    from worker.learning.event_table import event_table, local_engine

    facts = event_table(history, name, grid, choice, out, engine or local_engine)
    complain = Complaints("lines")
    for refusal in history.refused.first:
        complain(f"{refusal.file}:{refusal.line}: {refusal.why}: the line is left out")
    return facts


def _from_csv(source: str, name: str, choice: tuple[Any, ...], out: str) -> TableFacts:
    from worker.learning.csv_table import CsvChoice, csv_table

    with _file(source) as path:
        return csv_table(lambda: _opened(path), name, CsvChoice(*choice), out, Complaints("bad rows"))


@contextmanager
def _file(source: str) -> Iterator[Path]:
    """Yield a file that can be read twice: stdin is copied into one first."""
    if source != "-":
        yield Path(source)
        return
    with tempfile.NamedTemporaryFile(prefix="leadpulse-table-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


def _opened(path: Path) -> BinaryIO:
    stream = path.open("rb")
    gzipped = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    return gzip.GzipFile(fileobj=stream) if gzipped else stream  # type: ignore[return-value]


def _say(facts: TableFacts, out: str) -> None:
    """Tell on stderr what is in the table, and what is not."""
    from worker.learning.table_words import words

    for line in words(facts):
        click.echo(plain(line), err=True)
    click.echo(f"written to {out}", err=True)
