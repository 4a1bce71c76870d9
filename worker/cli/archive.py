"""`leadpulse archive`: keeps the history in Parquet. Its parts are files of their own."""

from __future__ import annotations

from typing import Final

import click

from worker.cli.lazy import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("worker.cli.archive_run", "run"),
    "compact": ("worker.cli.archive_compact", "compact"),
    "check": ("worker.cli.archive_check", "check"),
    "forget": ("worker.cli.archive_forget", "forget"),
}
"""Name → module and attribute. A command is imported when it is used."""


@click.group(cls=LazyGroup, commands_in=COMMANDS)
def archive() -> None:
    """Keep the history in Parquet: archive topics, merge files, check them, and erase persons from them.

    The archive is a folder, or an address of object storage such as s3://bucket/path. It needs leadpulse[archive].
    """
