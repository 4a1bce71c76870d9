"""`leadpulse convert csv`: contacts and deals from a CRM's export."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import click

from worker.cli.common import Complaints, instant_option, shown_name
from worker.core.contract.printable import plain
from worker.core.scoring.calendar import rfc3339

_LOOKED_AT = 200


@click.command("csv")
@click.argument("file", type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@click.option(
    "--map", "map_file", metavar="MAP.yaml", type=click.Path(exists=True, dir_okay=False),
    help="Which column is what. Without it, the command prints a proposed map.",
)  # fmt: skip
@click.option(
    "--at", "at_ms", metavar="T", callback=instant_option,
    help="The date of the export (RFC 3339), for rows without a date of their own.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop at the first bad row, and exit with 1.")
def csv(file: str, map_file: str | None, at_ms: int | None, strict: bool) -> None:
    """Turn a table of contacts or deals into `profile.updated` and `crm.*` events.

    FILE is a CSV file, plain or gzipped, with one header. `-` is stdin. First run the command without --map, save the proposed
    map, and edit it. Then give it with --map:

    \b
      leadpulse convert csv contacts.csv > contacts.map.yaml
      leadpulse convert csv contacts.csv --map contacts.map.yaml > events.jsonl

    The file's beginning decides about delimiter and encoding, unless the map names them. The same file gives the same event
    ids. Bad rows are named on stderr and skipped. Columns that the map leaves out are listed.
    """  # noqa: D301 (click wants the character itself)
    from worker.intake.csv_rows import CsvError

    try:
        stream = _seekable(file)
        if map_file is None:
            _propose(stream, file)
        else:
            _convert(stream, file, Path(map_file), None if at_ms is None else rfc3339(at_ms), strict)
    except CsvError as error:
        raise click.ClickException(plain(f"{shown_name(file)}: {error}")) from error
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise click.ClickException(f"{shown_name(file)}: {error}") from error


def _seekable(name: str) -> BinaryIO:
    raw: Any = io.BytesIO(sys.stdin.buffer.read()) if name == "-" else Path(name).open("rb")  # noqa: SIM115 (until the end)
    gzipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream: BinaryIO = gzip.GzipFile(fileobj=raw) if gzipped else raw  # type: ignore[assignment]
    return stream


def _stem(file: str) -> str:
    return "stdin" if file == "-" else Path(file).name.partition(".")[0]


def _propose(stream: BinaryIO, file: str) -> None:
    from worker.intake.csv_proposal import proposal
    from worker.intake.csv_rows import dialect_of, header_and_rows

    dialect = dialect_of(stream)
    header, rows = header_and_rows(stream, dialect)
    click.echo(proposal(header, islice(rows, _LOOKED_AT), dialect, shown_name(file), _stem(file)), nl=False)
    click.echo("a proposed map: edit it, then give it with --map", err=True)


def _convert(stream: BinaryIO, file: str, map_file: Path, at: str | None, strict: bool) -> None:
    from worker.intake.csv_events import BadRow, RowEvents
    from worker.intake.csv_map import MapError, check_columns, parse_map
    from worker.intake.csv_rows import dialect_of, header_and_rows

    try:
        map_, document = parse_map(map_file.read_bytes(), str(map_file))
        dialect = dialect_of(stream, map_.encoding, map_.delimiter)
        header, rows = header_and_rows(stream, dialect)
        check_columns(map_, document, str(map_file), header)
    except MapError as error:
        raise click.ClickException(str(error)) from error
    if dialect.guessed:
        click.echo(f"{dialect.guessed}; name another with `encoding:` in the map", err=True)
    makes = RowEvents(map_, map_.source or f"/csv/{_stem(file)}", at)
    refused, count, bad, events = Complaints("bad rows"), 0, 0, 0
    out = sys.stdout.buffer
    for row in rows:
        count += 1
        try:
            for event in makes.of(row):
                out.write(event + b"\n")
                events += 1
        except BadRow as error:
            place = f"{shown_name(file)}:{row.number}"
            if strict:
                raise click.ClickException(plain(f"{place}: {error}")) from error
            bad += 1
            refused(plain(f"{place}: {error}"))
    out.flush()
    mapped = {column for _, column in map_.columns()}
    left = [name for name in header if name not in mapped]
    click.echo(
        f"{count:,} rows, {bad:,} bad; {events:,} events" + (f"; not mapped: {', '.join(left)}" if left else ""), err=True
    )
    if count and bad == count:
        raise click.ClickException("no row is an event")
