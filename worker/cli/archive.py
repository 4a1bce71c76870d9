"""`leadpulse archive`: keeps the history in Parquet. Its parts are files of their own."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("worker.cli.archive_run", "run"),
    "compact": ("worker.cli.archive_compact", "compact"),
    "check": ("worker.cli.archive_check", "check"),
    "forget": ("worker.cli.archive_forget", "forget"),
}
"""Name → module and attribute. A command is imported when it is used."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: Any = getattr(import_module(entry[0]), entry[1])
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands)
def archive() -> None:
    """Keep the history in Parquet: archive topics, merge files, check them, and erase persons from them.

    The archive is a folder, or an address of object storage such as s3://bucket/path. It needs leadpulse[archive].
    """
