"""Shared by commands about an archive: its place, and what it needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from worker.cli.common import needs_extra
from worker.errors import FilesError

if TYPE_CHECKING:
    from worker.history.operations import Files

F = TypeVar("F", bound=Callable[..., Any])


def place_option(command: F) -> F:
    """Offer `--to`, the place of the archive."""
    return click.option(
        "--to", "place", metavar="PLACE", envvar="LEADPULSE_ARCHIVE_TO",
        help="Place of the archive: a folder, or an address such as s3://bucket/path.  [env LEADPULSE_ARCHIVE_TO]",
    )(command)  # fmt: skip


def opened(place: str | None) -> tuple[str, Files]:
    """Return the place and its files. Ends the command where the extra or the place is missing."""
    from worker.history.operations import files_of

    needs_extra("archive", "pyarrow", "duckdb")
    if not place:
        raise click.UsageError("name the place of the archive: --to PLACE, or LEADPULSE_ARCHIVE_TO")
    if "://" not in place and not os.path.isdir(place):  # noqa: PTH112 (a text as it was given)
        raise click.ClickException(f"{place} does not exist; `leadpulse archive run --to {place}` writes it")
    logging.getLogger("worker.history").setLevel(logging.WARNING)
    try:
        return place, files_of(place)
    except FilesError as error:
        raise click.ClickException(str(error)) from None
