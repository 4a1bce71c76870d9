"""`leadpulse convert`: other formats as events, one JSON a line."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

import click

from worker.cli.common import Complaints, opened, shown_name
from worker.intake.access_log import AccessLog, Malformed, lines


@click.group()
def convert() -> None:
    """Turn other formats into events, one JSON a line on stdout."""


@convert.command("access-log")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True, dir_okay=False))
@click.option("--site", default="", metavar="URL", help="Prefix of relative urls, such as https://example.com.")
@click.option(
    "--salt", default="", metavar="TEXT", envvar="LEADPULSE_VISITOR_SALT",
    help="Secret key of the visitor ids. Without it, anyone can compute an id from an address.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop at the first malformed line, and exit with 1.")
def access_log(files: tuple[str, ...], site: str, salt: str, strict: bool) -> None:
    """Turn web server logs in the combined format into `page.viewed` events.

    FILES are read in the given order, plain or gzipped. `-` is stdin. Only page views count: GET, answered with 200 or 304.
    Images, styles, scripts, fonts, feeds and downloads are left out. Events keep the order of the log, which differs slightly
    from the order of their times.

    The lead is `visitor:` and a hash of address and user agent. Crawlers are marked `machine`. Half an hour of silence ends a
    session. Malformed lines are named on stderr and skipped.
    """
    if site and not site.startswith(("http://", "https://")):
        raise click.BadParameter(f"{site!r} is not like https://example.com", param_hint="--site")
    try:
        log = AccessLog(site, salt)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--salt") from error
    malformed = _stop if strict else Complaints("malformed lines")
    for name in files:
        _convert_file(log, name, malformed)
    found = log.summary
    click.echo(
        f"{found.lines:,} lines, {found.malformed:,} malformed; {found.pages:,} page views by {found.visitors:,} visitors in"
        f" {found.sessions:,} sessions; machines: {found.machine_pages:,} page views by {found.machine_visitors:,} visitors",
        err=True,
    )
    if found.lines and found.malformed == found.lines:
        raise click.ClickException("no line is in the combined log format")


def _convert_file(log: AccessLog, name: str, malformed: Callable[[str], None]) -> None:
    """Write the events of one file, named as the user named it. Raises `click.ClickException`."""
    out = sys.stdout.buffer
    shown = shown_name(name)
    try:
        with opened(name) as stream:
            for number, line in enumerate(lines(stream), start=1):
                event = _converted(log, f"{shown}:{number}", line, malformed)
                if event is None:
                    continue
                out.write(event + b"\n")
                if name == "-":  # the reader of a followed log wants each event now, not 8 kB of them later
                    out.flush()
    except BrokenPipeError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{shown}: {error}") from error
    finally:
        out.flush()


def _converted(log: AccessLog, where: str, line: bytes, malformed: Callable[[str], None]) -> bytes | None:
    """Return the event of one line; `None` for no page view, and for a malformed line, which is reported."""
    try:
        return log.convert(line)
    except Malformed as error:
        malformed(f"{where}: {error}")
        return None


def _stop(words: str) -> None:
    raise click.ClickException(words)
