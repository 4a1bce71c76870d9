"""The `leadpulse` command: thin shells around the program's functions.

JSON goes to stdout, and words go to stderr. Exit code 0 means done, 1 failed, and 2 wrong usage or settings.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

import click


class _Command(NamedTuple):
    module: str
    attribute: str
    help: str
    """The first sentence of the command's own help, so that listing the commands imports none of them."""


COMMANDS: Final[dict[str, _Command]] = {
    "demo": _Command("worker.cli.demo", "demo", "Show everything at work. Only this package needs to be installed."),
    "run": _Command("worker.cli.run", "run", "Run the worker until SIGTERM or Ctrl-C."),
    "replay": _Command("worker.cli.replay", "replay", "Score files of events as the live worker would."),
    "explain": _Command("worker.cli.explain", "explain", "Show where every point of LEAD comes from, and what would move it."),
    "top": _Command("worker.cli.top", "top", "List the hottest leads, exactly."),
    "accounts": _Command("worker.cli.accounts", "accounts", "List the accounts whose leads together have the highest scores."),
    "grid": _Command("worker.cli.grid", "grid", "Check, show and compare scoring grids."),
    "topics": _Command("worker.cli.topics", "topics", "Create the Kafka topics, and change which of them are read."),
    "simulate": _Command("worker.cli.simulate", "simulate", "Simulate the traffic of a B2B site."),
    "convert": _Command("worker.cli.convert", "convert", "Turn other formats into events, one JSON a line on stdout."),
    "produce": _Command("worker.cli.produce", "produce", "Send files of events to Kafka."),
    "collect": _Command("worker.cli.collect", "collect", "Take events over HTTP, and map webhooks, until SIGTERM or Ctrl-C."),
    "connections": _Command(
        "worker.cli.connections", "connections", "Check and show the tools that events come from and that are acted on."
    ),
    "act": _Command(
        "worker.cli.act",
        "act",
        "Act on what the worker publishes: tasks, mails, contracts, and the state of leads in other tools.",
    ),
    "learn": _Command("worker.cli.learn", "learn", "Learn from outcomes which leads close."),
    "archive": _Command(
        "worker.cli.archive",
        "archive",
        "Keep the history in Parquet: archive topics, merge files, check them, and erase persons from them.",
    ),
    "dead": _Command("worker.cli.dead", "dead", "List, show and replay the records that could not be read."),
    "erase": _Command("worker.cli.erase", "erase", "Erase everything held of LEAD, and of every other id of the same person."),
    "export": _Command(
        "worker.cli.export",
        "export",
        "Print everything that is held of LEAD, and of every other id of the same person, as one JSON object.",
    ),
    "doctor": _Command("worker.cli.doctor", "doctor", "Look for faults that would stop the worker."),
    "repartition": _Command(
        "worker.cli.repartition", "repartition", "Copy all leads of a namespace into another, for more partitions."
    ),
    "checkpoint": _Command(
        "worker.cli.checkpoint", "checkpoint", "Write a checkpoint of each partition, which `leadpulse rebuild` begins at."
    ),
    "rebuild": _Command("worker.cli.rebuild", "rebuild", "Allow an emptied partition to be filled again from the topics."),
}


class _Commands(click.Group):
    """Imports a command when it is used: `run` needs Faust, `top` does not."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command: Any = getattr(import_module(entry.module), entry.attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl([*((name, entry.help) for name, entry in COMMANDS.items()), *own.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="leadpulse", message="%(version)s")
def cli() -> None:
    """Score B2B leads while they act: Kafka in, state in Redis, lead.sql out.

    Settings come from the environment (LEADPULSE_*); `leadpulse run --help` lists them all. JSON goes to stdout, and words go
    to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
    """


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(metadata.version("leadpulse"))


def main() -> None:
    """Run the command line (entry point of `leadpulse`)."""
    try:
        cli(prog_name="leadpulse")
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
