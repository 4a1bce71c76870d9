"""`leadpulse archive run`: archives topics until it is stopped."""

from __future__ import annotations

from typing import Any

import click

from worker.cli.common import load, needs_extra, settings_flags
from worker.errors import FilesError
from worker.settings import ArchiveSettings

_FLAGS = [name for name in ArchiveSettings.model_fields if name not in ("archive_to", "redis", "partitions", "grid")]


@click.command()
@click.option(
    "--to", "archive_to", metavar="PLACE",
    help="Place of the archive: a folder, or an address such as s3://bucket/path.  [env LEADPULSE_ARCHIVE_TO]",
)  # fmt: skip
@settings_flags(*_FLAGS, of=ArchiveSettings)
def run(**flags: Any) -> None:
    """Archive inputs, journal and outputs until SIGTERM or Ctrl-C.

    Reads committed records, and writes files of Parquet, each whole or not at all. The folder tells where each partition goes
    on, so a crash loses nothing and repeats nothing. On a signal the program writes what it has read, within 8 s, and exits
    with 0. If it cannot continue, it exits with 1, and its last line names the reason. Any number of processes share the
    partitions.

    A `lead.erased` erases the person from all files.
    """
    needs_extra("archive", "pyarrow", "duckdb")
    settings = load(ArchiveSettings, flags)
    if not settings.archive_to:
        raise click.UsageError("name the place of the archive: --to PLACE, or LEADPULSE_ARCHIVE_TO")
    from worker.history.app import create_app  # Faust, for this command alone

    try:
        app = create_app(settings)
    except FilesError as error:
        raise click.ClickException(str(error)) from None
    app.Worker(quiet=True).execute_from_commandline()
