"""`leadpulse learn`: points and probabilities from outcomes. A command a file; each is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "table": ("worker.cli.learn_table", "table"),
    "leaks": ("worker.cli.learn_leaks", "leaks"),
    "rates": ("worker.cli.learn_rates", "rates"),
    "fit": ("worker.cli.learn_fit", "fit"),
    "compare": ("worker.cli.learn_compare", "compare"),
    "report": ("worker.cli.learn_report", "report"),
    "score": ("worker.cli.learn_score", "score"),
    "experiment": ("worker.cli.learn_experiment", "experiment"),
}
"""Name → module and attribute."""


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
def learn() -> None:
    """Learn from outcomes which leads close.

    Needs the extra `learn`. Nothing here changes points by itself: a person puts a proposed grid in force.
    """
