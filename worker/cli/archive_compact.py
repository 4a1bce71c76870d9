"""`leadpulse archive compact`: merges small files."""

from __future__ import annotations

import click

from worker.cli.archive_common import opened, place_option
from worker.cli.common import json_line


@click.command()
@place_option
@click.option(
    "--most", type=click.IntRange(min=1), default=128, show_default=True, metavar="MB", help="Most megabytes of a merged file."
)
def compact(place: str | None, most: int) -> None:
    """Merge small files of the same partition and date, and remove those that are no longer needed.

    Run it once a day, at any time: readers and `archive run` go on meanwhile. Prints one JSON object.
    """
    from worker.history.compact import compact as merge
    from worker.history.forget import Busy

    _, files = opened(place)
    try:
        done = merge(files, most * 1024 * 1024)
    except (Busy, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(json_line(done))
