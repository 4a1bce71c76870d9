"""A group of commands that imports each command when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are in modules of their own. *commands_in*: name → module and attribute."""

    def __init__(self, *args: Any, commands_in: Mapping[str, tuple[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in their order."""
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; `None` for a name that there is not."""
        entry = self._commands_in.get(cmd_name)
        if entry is None:
            return None
        command: Any = getattr(import_module(entry[0]), entry[1])
        return command if isinstance(command, click.Command) else None
