"""`leadpulse act`: acts on what the worker publishes, and the commands about it."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from worker.cli.common import instant_option, load, settings_flags
from worker.cli.lazy import LazyGroup
from worker.errors import AutomationsError, ConnectionsError
from worker.settings import ActSettings

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "check": ("worker.cli.act_file", "check"),
    "show": ("worker.cli.act_file", "show"),
    "schema": ("worker.cli.act_file", "schema"),
    "preview": ("worker.cli.act_file", "preview"),
    "prepare": ("worker.cli.act_prepare", "prepare"),
    "test": ("worker.cli.act_trial", "trial"),
    "list": ("worker.cli.act_ledger", "list_acts"),
    "resolve": ("worker.cli.act_ledger", "resolve"),
    "retry": ("worker.cli.act_ledger", "retry"),
    "pause": ("worker.cli.act_ledger", "pause"),
    "resume": ("worker.cli.act_ledger", "resume"),
}
"""Name → module and attribute. A command is imported when it is used."""


@click.group(cls=LazyGroup, commands_in=COMMANDS, invoke_without_command=True)
@settings_flags(of=ActSettings)
@click.option(
    "--from",
    "since",
    metavar="T",
    callback=instant_option,
    help="Where a group begins that has read nothing: at the first output at T (RFC 3339) or later.  [default: at the end]",
)
@click.pass_context
def act(ctx: click.Context, /, since: int | None, **flags: Any) -> None:
    """Act on what the worker publishes: tasks, mails, contracts, and the state of leads in other tools.

    Without a command, it acts until SIGTERM or Ctrl-C. It reads outputs, writes acts down in Redis, and does them at the
    targets. On a signal it lets the acts end that are being done, within 8 s, and exits with 0. If it cannot continue, it
    exits with 1, and its last line names the reason. Any number of processes share the partitions.

    Every setting is a flag and an environment variable. The flag takes precedence.
    """
    if ctx.invoked_subcommand is not None:
        given = [name for name, value in flags.items() if value is not None]
        if given:
            flag = f"--{given[0].replace('_', '-')}"
            raise click.UsageError(f"{flag} has no effect before `{ctx.invoked_subcommand}`: write it behind the command")
        return
    settings = load(ActSettings, flags)
    from worker.automations.app import create_app  # Faust, for this command alone

    try:
        app = create_app(settings, os.environ, -1 if since is None else since)
    except (ConnectionsError, AutomationsError) as error:
        raise click.ClickException(str(error)) from None
    app.Worker(quiet=True).execute_from_commandline()
