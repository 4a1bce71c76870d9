"""Shared by several commands: settings as flags, grids, files of lines, output."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec
from rich.console import Console, RenderableType

from worker.core.contract.printable import plain
from worker.errors import SettingsError
from worker.history.lines import opened as opened
from worker.settings import PREFIX, FromEnvironment, Settings

if TYPE_CHECKING:
    from worker.core.grid.models import Grid

_PIPED_WIDTH: Final = 10_000

NOT_EVENTS: Final = "`leadpulse convert` turns tables and logs into events"
"""What to do with a file that holds no events."""

S = TypeVar("S", bound=FromEnvironment)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def settings_flags(*names: str, of: type[FromEnvironment] = Settings) -> Callable[[F], F]:
    """Offer the settings *names* (all without any) of a program as flags, from the model. A flag precedes the environment."""

    def decorate(command: F) -> F:
        for name in reversed(names or tuple(of.model_fields)):
            field = of.model_fields[name]
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = _shown(default)
            flag = "--" + name.replace("_", "-")
            note = f"env {PREFIX}{name.upper()}" + (f", default {shown}" if shown else "")
            text = f"{field.description}  [{note}]"
            if field.annotation is bool:
                option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
            else:
                option = click.option(flag, name, metavar="VALUE", help=text)
            command = option(command)
        return command

    return decorate


def _shown(default: Any) -> str:
    """Return a default as you would write it in the environment; empty for none."""
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None or default is False or default == {} else str(default)


def load_settings(flags: dict[str, Any]) -> Settings:
    """Return the worker's settings of the environment and *flags*. Wrong ones end the command with exit code 2."""
    return load(Settings, flags)


def load(program: type[S], flags: dict[str, Any]) -> S:
    """Return a program's settings of the environment and *flags*. Wrong ones end the command with exit code 2."""
    try:
        return program.load(os.environ, **flags)
    except SettingsError as err:
        raise click.UsageError(str(err)) from None


def load_part(program: type[S], flags: dict[str, Any]) -> S:
    """Return the settings of one of the programs that a command concerns, of those *flags* that are its own."""
    return load(program, {name: value for name, value in flags.items() if name in program.model_fields})


class _ExtraMissing(click.ClickException):
    exit_code = 2


def needs_extra(extra: str, *modules: str) -> None:
    """End the command with exit code 2 where one of *modules* is not installed, which the *extra* brings."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise _ExtraMissing(f"this needs {', '.join(missing)}: pip install 'leadpulse[{extra}]'")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end. An expected error ends the command with its one line and exit code 1."""
    from worker.adapters.refusals import refusal

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs what it then raises
    try:
        return asyncio.run(work)
    except Exception as err:
        line = refusal(err)
        if line is None:
            raise
        raise click.ClickException(line) from None


def show(page: RenderableType) -> None:
    """Print *page* on stdout: as wide as the terminal. In a file or a pipe nothing is cut off."""
    console = Console()
    (console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_PIPED_WIDTH)).print(page)


class Complaints:
    """Prints the first lines about bad *things* on stderr; further ones are only counted, not to flood the terminal."""

    NAMED: Final = 100

    def __init__(self, things: str) -> None:
        self._things = things
        self._count = 0

    def __call__(self, words: str) -> None:
        """Print *words*, which name one of the things and its fault."""
        self._count += 1
        if self._count <= self.NAMED:
            click.echo(plain(words), err=True)
        elif self._count == self.NAMED + 1:
            click.echo(f"further {self._things} are only counted", err=True)


def load_grid(name: str) -> Grid:
    """Return the grid in the file *name*, or the grid of that name that comes with LeadPulse.

    A missing file and every mistake in a grid are reported in one line each. They end the command with exit code 1.
    """
    from worker.core.grid.messages import GridError
    from worker.errors import GridNotFound
    from worker.presets import read_grid

    try:
        return read_grid(name)
    except (GridNotFound, GridError) as err:
        raise click.ClickException(str(err)) from None


def json_line(value: Any) -> str:
    """Return *value* as one line of JSON. It escapes unprintable characters, because a terminal may show it."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def shown_name(name: str) -> str:
    """Return the name of the input *name* in messages."""
    return "stdin" if name == "-" else name


def grid_option(command: F) -> F:
    """Offer `--grid` to a command that evaluates leads in Redis."""
    text = "Use this grid instead of the grid in force: a file, or the name of a grid that comes with LeadPulse."
    return click.option("--grid", metavar="GRID", help=text)(command)


def language_option(command: F) -> F:
    """Offer `--lang` to a command that shows the labels of a grid."""
    said = "Language of the grid's labels, as in fr. A label without it is shown in the language that it has."
    return click.option("--lang", "language", metavar="LANG", default="en", show_default=True, help=said)(command)


clock_option: Final = click.option(
    "--clock",
    type=click.Choice(["wall", "events"]),
    default="wall",
    show_default=True,
    help="Archives: a record is known once it came, or from its own time on, as for a worker with LEADPULSE_CLOCK=events.",
)


def duration_option(_: click.Context, param: click.Parameter, text: str) -> int:
    """Read an option such as 90d into ms (a click callback)."""
    from worker.core.grid.values import duration_ms

    try:
        ms = duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None
    if not ms:
        raise click.BadParameter(f"{text!r} is no time: write a duration, as in 7d", param=param)
    return ms


def instant_option(_: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Read an RFC 3339 option into ms (a click callback)."""
    from worker.core.contract.instants import instant

    if text is None:
        return None
    at_ms = instant(text)
    if at_ms is None:
        raise click.BadParameter(f"{text!r} is not an instant with an offset, such as 2026-03-05T12:00:00Z", param=param)
    return at_ms
