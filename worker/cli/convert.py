"""`leadpulse convert`: other formats as events, one JSON a line."""

from __future__ import annotations

import contextlib
import sys
import zlib
from typing import Any, Final

import click

from worker.cli.common import load, opened, shown_name
from worker.cli.convert_csv import csv
from worker.core.contract.printable import plain
from worker.intake.access_log import AccessLog, Summary, VisitorBy, lines
from worker.intake.log_formats import FORMATS, Malformed, Parser, detected
from worker.settings import ConverterSettings

NAMED_LINES: Final = 100
"""Malformed lines that are named on stderr. Others are only counted, so that a wrong file does not flood the terminal."""

_SAMPLE_LINES: Final = 100
_SAMPLE_BYTES: Final = 65_536
_NEARLY_ALL: Final = 0.9
_MANY_PAGES: Final = 50


@click.group()
def convert() -> None:
    """Turn other formats into events, one JSON a line on stdout.

    Use it for data that does not come as events, such as the log of a web server. Score the output with `leadpulse replay`,
    or send it to Kafka with `leadpulse produce`.
    """


convert.add_command(csv)


@convert.command("access-log")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@click.option(
    "--format", "format_", default="auto", type=click.Choice(["auto", *FORMATS]), show_default=True,
    help="Format of the lines. `auto` tells it by each file's first lines, and refuses if that is not certain.",
)  # fmt: skip
@click.option("--site", default="", metavar="URL", help="Prefix of relative urls, such as https://example.com.")
@click.option(
    "--salt", metavar="TEXT",
    help="Secret key of the visitor ids. Without it, anyone can compute an id from an address.  [env LEADPULSE_VISITOR_SALT]",
)  # fmt: skip
@click.option(
    "--forwarded", is_flag=True, help="Behind a proxy: take the first address of X-Forwarded-For, where it is logged."
)
@click.option(
    "--visitor-field", default="", metavar="FIELD",
    help="Field that names the visitor, such as a cookie: its name in JSON, else its number after the user agent, from 1.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop at the first malformed line, and exit with 1.")
def access_log(
    files: tuple[str, ...], format_: str, site: str, salt: str | None, forwarded: bool, visitor_field: str, strict: bool
) -> None:
    """Turn web server logs into `page.viewed` events.

    FILES are plain or gzipped, and `-` is stdin. Files of one rotated log are read in the order of their times. The formats
    are combined (Apache, nginx), vhost (Debian's Apache with virtual hosts), common, json (nginx, Caddy, Traefik) and traefik.
    Only page views count: GET, answered with 200 or 304. Images, styles, scripts, fonts, feeds and downloads are left out.

    The lead is `visitor:` and a hash of address and user agent. Crawlers are marked `machine`. Half an hour of silence ends a
    session. Malformed lines are named on stderr and skipped.

    The same log gives the same event ids. `leadpulse produce --sent FILE` makes it safe to send a log twice.
    """
    if site and not site.startswith(("http://", "https://")):
        raise click.BadParameter(f"{site!r} is not like https://example.com", param_hint="--site")
    settings = load(ConverterSettings, {"visitor_salt": salt})
    try:
        log = AccessLog(site, settings.visitor_salt, VisitorBy(forwarded, visitor_field))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--salt") from error
    for name in _by_time(files):
        _convert_file(log, name, format_, strict)
    _report(log.summary, format_, forwarded)


def _report(found: Summary, format_: str, forwarded: bool) -> None:
    """Print what was found on stderr. Raises `click.ClickException` when no line is in the format."""
    click.echo(
        f"{found.lines:,} lines, {found.malformed:,} malformed; {found.pages:,} page views by {found.visitors:,} visitors in"
        f" {found.sessions:,} sessions; machines: {found.machine_pages:,} page views by {found.machine_visitors:,} visitors",
        err=True,
    )
    if found.lines and found.malformed == found.lines:
        raise click.ClickException(f"no line is in the {'combined' if format_ == 'auto' else format_} log format")
    people = found.pages - found.machine_pages
    if people >= _MANY_PAGES and found.busiest_pages > _NEARLY_ALL * people:
        advice = "--visitor-field FIELD names a cookie" if forwarded else "try --forwarded, or --visitor-field FIELD"
        click.echo(
            plain(
                f"warning: {found.busiest_pages:,} of {people:,} page views come from the address {found.busiest}."
                f" If that is a proxy's, its visitors are taken for one: {advice}."
            ),
            err=True,
        )


def _by_time(files: tuple[str, ...]) -> list[str]:
    """Return *files* in the order of their first instants, and report a changed order; with stdin, as they are.

    The shell sorts a rotated log's files by name, newest first, which would split visits at their borders.
    """
    if "-" in files or len(files) == 1:
        return list(files)
    firsts = {name: _first_instant(name) for name in files}
    if None in firsts.values():
        return list(files)
    ordered = sorted(files, key=lambda name: firsts[name] or 0)
    if ordered != list(files):
        click.echo(plain(f"read in the order of their times: {', '.join(ordered)}"), err=True)
    return ordered


def _first_instant(name: str) -> int | None:
    sample = _sample(name)
    format_ = detected(sample)
    if format_ is None:
        return None
    for line in sample:
        with contextlib.suppress(Malformed):
            return FORMATS[format_](line.rstrip(b"\r\n")).at_ms
    return None


def _sample(name: str) -> list[bytes]:
    try:
        with opened(name) as stream:
            return _whole_lines(stream)
    except (OSError, EOFError, zlib.error):
        return []  # named when the file is converted


def _whole_lines(stream: Any) -> list[bytes]:
    """Return the first lines of *stream* that are there already, without taking them."""
    return bytes(stream.peek(_SAMPLE_BYTES)[:_SAMPLE_BYTES]).splitlines(keepends=True)[:_SAMPLE_LINES]


def _parser(format_: str, stream: Any, shown: str) -> Parser:
    """Return the parser of *format_*; of `auto`, by the first lines. Raises `click.ClickException` where these say nothing."""
    if format_ != "auto":
        return FORMATS[format_]
    sample = _whole_lines(stream)
    name = detected(sample[:-1] if len(sample) > 1 and not sample[-1].endswith(b"\n") else sample)
    if name is not None:
        return FORMATS[name]
    if not any(line.strip() for line in sample):
        return FORMATS["combined"]
    try:
        FORMATS["combined"](sample[0].rstrip(b"\r\n"))
        why = "most of its first lines are in other formats"
    except Malformed as error:
        why = f"its first line is {error}" if str(error).startswith("not like") else str(error)
    raise click.ClickException(f"{shown}: its format is not certain: {why}. Name it: --format {'|'.join(FORMATS)}")


def _convert_file(log: AccessLog, name: str, format_: str, strict: bool) -> None:
    """Write the events of one file, named as the user named it. Raises `click.ClickException`."""
    out = sys.stdout.buffer
    shown = shown_name(name)
    try:
        with opened(name) as stream:
            log.parse = _parser(format_, stream, shown)
            for number, line in enumerate(lines(stream), start=1):
                try:
                    event = log.convert(line)
                except Malformed as error:
                    if strict:
                        raise click.ClickException(f"{shown}:{number}: {error}") from error
                    if log.summary.malformed <= NAMED_LINES:
                        click.echo(plain(f"{shown}:{number}: {error}"), err=True)
                    elif log.summary.malformed == NAMED_LINES + 1:
                        click.echo("further malformed lines are only counted", err=True)
                    continue
                if event is not None:
                    out.write(event + b"\n")
                    if name == "-":  # whoever reads a followed log wants each event now, not 8 kB of them later
                        out.flush()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise click.ClickException(f"{shown}: {error}") from error
    finally:
        out.flush()
