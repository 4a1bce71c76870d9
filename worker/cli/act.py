"""`leadpulse act`: acts on what the worker publishes, and the commands about it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "check": ("worker.cli.act_file", "check"),
    "show": ("worker.cli.act_file", "show"),
    "schema": ("worker.cli.act_file", "schema"),
    "preview": ("worker.cli.act_file", "preview"),
    "list": ("worker.cli.act_ledger", "list_acts"),
    "resolve": ("worker.cli.act_ledger", "resolve"),
    "retry": ("worker.cli.act_ledger", "retry"),
    "pause": ("worker.cli.act_ledger", "pause"),
    "resume": ("worker.cli.act_ledger", "resume"),
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
def act() -> None:
    """Act on what the worker publishes: tasks, mails, contracts, and the state of leads in other tools."""
