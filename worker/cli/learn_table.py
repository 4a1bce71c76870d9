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
from typing import TYPE_CHECKING, BinaryIO

import click

from worker.cli.common import Complaints, shown_name
from worker.cli.extras import needs
from worker.core.contract.printable import plain
from worker.errors import LearningError

if TYPE_CHECKING:
    from worker.learning.tables import TableFacts


@click.command("table")
@click.argument("source", type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@click.option("--out", metavar="T.parquet", required=True, help="Where to write the table.")
@click.option("--outcome", metavar="COLUMN", required=True, help="The column that says how it ended.")
@click.option("--won", metavar="VALUE", multiple=True, required=True, help="Its value for a won lead. Repeat it for several.")
@click.option("--id", "id_", metavar="COLUMN", help="The column with the lead's id.  [default: the line of the row]")
@click.option("--order", metavar="COLUMN", help="A column that orders the leads in time: numbers, or dates such as 2026-03-05.")
@click.option("--ignore", metavar="COLUMN", multiple=True, help="Leave this column out. Repeat it for several.")
@click.option("--encoding", metavar="NAME", help="The file's encoding, such as windows-1252.  [default: by its beginning]")
@click.option("--delimiter", metavar="CHARACTER", help="What separates cells, such as ';'.  [default: by its beginning]")
def table(
    source: str, out: str, outcome: str, won: tuple[str, ...], id_: str | None, order: str | None, ignore: tuple[str, ...],
    encoding: str | None, delimiter: str | None,
) -> None:  # fmt: skip
    """Make a learning table from a CRM's export.

    SOURCE is a CSV file, plain or gzipped, with one header and a row for each lead. `-` is stdin. Names, ids and values are
    kept as they are, blanks too.

    \b
      leadpulse learn table leads.csv --outcome Status --won "Closed won" --id "Lead ID" --out leads.parquet
    """  # noqa: D301 (click wants the character itself)
    with needs("learn"):
        from worker.learning.csv_table import CsvChoice, csv_table
    choice = CsvChoice(outcome, won, id_, order, ignore, encoding, delimiter)
    name = shown_name(source)
    try:
        with _file(source) as path:
            facts = csv_table(lambda: _opened(path), name, choice, out, Complaints("bad rows"))
    except LearningError as error:
        raise click.ClickException(plain(str(error))) from None
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{name}: {error}") from None
    _say(facts, out)


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
