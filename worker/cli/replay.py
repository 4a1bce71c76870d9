"""`leadpulse replay`: scores files of events with the worker's core."""

from __future__ import annotations

import contextlib
import functools
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from worker.cli.common import NOT_EVENTS, instant_option, load_grid, needs_extra, opened, shown_name
from worker.core.contract.instants import MAX_AHEAD_MS
from worker.core.contract.model import Record
from worker.core.contract.printable import plain
from worker.core.insight.replay import Counts, Replay
from worker.core.scoring.calendar import rfc3339
from worker.errors import HistoryError
from worker.history.records import is_archive, open_history

_OUT: Final = click.Path(dir_okay=False, allow_dash=True)
_LINES_BETWEEN: Final = 2_000
"""Number of lines after which outputs are written and the progress bar moves."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES")
@click.option(
    "--grid", "-g", required=True, envvar="LEADPULSE_GRID", metavar="GRID",
    help="Grid: a file, or the name of a grid that comes with LeadPulse.  [env LEADPULSE_GRID]",
)  # fmt: skip
@click.option(
    "--at", "at_ms", metavar="T", callback=instant_option,
    help="End with a tick at T (RFC 3339).  [default: the latest time in the input]",
)  # fmt: skip
@click.option("--leads", metavar="OUT", type=_OUT, help="Write one JSON line per lead to OUT, sorted by id; - is stdout.")
@click.option("--events", metavar="OUT", type=_OUT, help="Write the output events to OUT, in order; - is stdout.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line, and exit with 1.")
def replay(files: tuple[str, ...], grid: str, at_ms: int | None, leads: str | None, events: str | None, strict: bool) -> None:
    """Score files of events as the live worker would.

    FILES hold one CloudEvent a line, in order of arrival, plain or gzipped. `-` is stdin. A {"tick": "T"} line is a tick. A
    folder, or an address such as s3://bucket/path, is an archive. The command needs neither Kafka nor Redis. It names a bad
    line on stderr and continues. Without --leads and --events, the leads go to stdout.
    """
    if leads is None and events is None:
        leads = "-"
    archives = _archives(files)
    _refuse_overwriting(files, leads, events)
    began = time.monotonic()
    run = Replay(load_grid(grid))
    bad_lines = _BadLines(run, strict)
    with contextlib.ExitStack() as closing:
        to_events, to_leads = _writer(closing, events), _writer(closing, leads)
        published = 0
        for count, record in enumerate(_records(files, archives), start=1):
            run.record(record)
            bad_lines.report()
            if count % _LINES_BETWEEN == 0:
                published += _write_outputs(to_events, run)
        run.finish(at_ms)
        bad_lines.report()
        published += _write_outputs(to_events, run)
        if at_ms is None:
            _warn_of_the_future(run)
        written = _write(to_leads, (msgspec.json.encode(lead) for lead in run.leads()))
    if run.counts.bad and not run.counts.events:
        click.echo(f"warning: no line is an event; {NOT_EVENTS}", err=True)
    click.echo(_summary(run.counts, written, published, time.monotonic() - began), err=True)


def _warn_of_the_future(run: Replay) -> None:
    """Name the latest line if it lies ahead of this machine's clock: all that decays has decayed by then."""
    if run.latest_ms is not None and run.latest_ms > time.time() * 1000 + MAX_AHEAD_MS:
        file, number = run.latest
        click.echo(
            f"warning: {file}:{number}: {rfc3339(run.latest_ms)} lies in the future, and the replay ends at that time. "
            "Scores have decayed until then. Correct the line, or set the end with --at.",
            err=True,
        )


def _refuse_overwriting(files: tuple[str, ...], leads: str | None, events: str | None) -> None:
    """End with exit 2 when an output would overwrite an input or the other output."""
    if files.count("-") > 1:
        raise click.UsageError("stdin can be read only once, and - is named twice")
    if leads is not None and leads == events:
        raise click.UsageError(f"--leads and --events both go to {leads}; give one of them another file")
    for out in (leads, events):
        if out is not None and any(_same_file(out, file) for file in files):
            raise click.UsageError(f"{out} is read and would be overwritten; write to another file")


def _archives(files: tuple[str, ...]) -> set[str]:
    """Return which of *files* are archives. Ends the command for one that does not exist."""
    try:
        found = {name for name in files if is_archive(name)}
    except HistoryError as err:
        raise click.UsageError(str(err)) from None
    if found:
        needs_extra("archive", "duckdb", "pyarrow")
    return found


def _same_file(out: str, file: str) -> bool:
    return "-" not in (out, file) and Path(out).exists() and Path(out).samefile(file)


def _records(files: tuple[str, ...], archives: Collection[str]) -> Iterator[Record]:
    """Yield each line that is not blank as a record, and the inputs and ticks of archives. Shows progress on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        for name in files:
            if name in archives:
                yield from _archived(name)
                continue
            task = progress.add_task(shown_name(name), total=None if _is_stream(name) else Path(name).stat().st_size)
            for number, line, read in _lines_of(name):
                if line.strip():
                    yield Record(shown_name(name), 0, number, None, None, line.rstrip(b"\r\n"))
                if number % _LINES_BETWEEN == 0 and not _is_stream(name):
                    progress.update(task, completed=read())


def _is_stream(name: str) -> bool:
    return name == "-" or "://" in name


def _archived(place: str) -> Iterator[Record]:
    try:
        for record in open_history(place).events(ticks=True):
            if not record.output:
                yield record.record()
    except HistoryError as err:
        raise click.ClickException(str(err)) from None


def _lines_of(name: str) -> Iterator[tuple[int, bytes, Callable[[], int]]]:
    """Yield the lines of a file with their numbers, and how many bytes of it are read, when asked."""
    try:
        with opened(name) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line, functools.partial(_read_so_far, stream)
    except (OSError, EOFError, zlib.error) as err:
        raise click.ClickException(f"{shown_name(name)}: {err}") from None


def _read_so_far(stream: BinaryIO) -> int:
    """Return the bytes read of the file itself, compressed or not."""
    return getattr(stream, "fileobj", stream).tell()


class _BadLines:
    """Reports each refused line of *run* once. If *strict*, the first ends the command."""

    def __init__(self, run: Replay, strict: bool) -> None:
        self._run = run
        self._strict = strict
        self._reported = 0

    def report(self) -> None:
        """Report the lines that were refused since the last call."""
        refused = self._run.refused
        while self._reported < len(refused):
            file, number, reason = refused[self._reported]
            self._reported += 1
            if self._strict:
                raise click.ClickException(f"{file}:{number}: {reason}")
            click.echo(plain(f"{file}:{number}: {reason}"), err=True)


def _writer(closing: contextlib.ExitStack, name: str | None) -> BinaryIO | None:
    if name is None:
        return None
    if name == "-":
        return click.get_binary_stream("stdout")
    try:
        return closing.enter_context(Path(name).open("wb"))
    except OSError as err:
        raise click.ClickException(f"{name}: {err.strerror}") from None


def _write_outputs(out: BinaryIO | None, run: Replay) -> int:
    """Write the outputs of *run* since the last call, and return how many there were."""
    return _write(out, (output.value or b"" for output in run.take_outputs()))


def _write(out: BinaryIO | None, lines: Iterable[bytes]) -> int:
    """Write *lines* to *out*, if anywhere, and return how many there were."""
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007 (the last number is the answer)
        if out is not None:
            out.write(line + b"\n")
    if out is not None:
        out.flush()
    return count


def _summary(c: Counts, leads: int, published: int, seconds: float) -> str:
    counted = (
        (c.ticks, "tick" if c.ticks == 1 else "ticks"),
        (c.duplicates, "duplicate" if c.duplicates == 1 else "duplicates"),
        (c.late, "late"),
        (c.erased, "dropped after an erasure"),
        (c.removed, "removed after the grid's retention"),
        (c.unknown, "of unknown types"),
        (c.bad, "bad line" if c.bad == 1 else "bad lines"),
    )
    totals = ((c.events, "event"), (leads, "lead"), (published, "output event"))
    parts = [", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in totals)]
    parts += [f"{count:,} {words}" for count, words in counted if count]
    return "; ".join(parts) + f"; {seconds:.1f} s, {c.events / max(seconds, 1e-3):,.0f} events/s"
