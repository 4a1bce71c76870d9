"""What several commands share: settings as flags, grids, files of lines, leads read from Redis."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast

import click
import msgspec
from rich.console import Console, RenderableType

from worker.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from worker.core.grid.models import Grid

_PIPED_WIDTH: Final = 10_000

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def settings_flags(*names: str) -> Callable[[F], F]:
    """Offer the settings *names* (all without any) as flags, generated from the model; the environment is the second choice."""

    def decorate(command: F) -> F:
        for name in reversed(names or tuple(Settings.model_fields)):
            field = Settings.model_fields[name]
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = _shown(default)
            flag = "--" + name.replace("_", "-")
            note = f"env {PREFIX}{name.upper()}" + (f", default {shown}" if shown else "")
            said = f"{field.description}  [{note}]"
            if field.annotation is bool:
                option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=said)
            else:
                option = click.option(flag, name, metavar="VALUE", help=said)
            command = option(command)
        return command

    return decorate


def _shown(default: Any) -> str:
    """Return a default as one would write it in the environment; empty for none."""
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None or default is False or default == {} else str(default)


def load_settings(flags: dict[str, Any]) -> Settings:
    """Return the settings of the environment and *flags*; wrong ones end the command with exit code 2."""
    try:
        return Settings.load(os.environ, **flags)
    except SettingsError as err:
        raise click.UsageError(str(err)) from None


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end. An unreachable or unwilling Kafka or Redis, or a lead that cannot be read, ends the command.

    With one line and exit code 1.
    """
    from aiokafka.errors import KafkaError

    from worker.adapters.kafka import Refused, in_words
    from worker.core.scoring.state import UnreadableState
    from worker.ports import StoreRefused, StoreUnavailable

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs what it then raises
    try:
        return asyncio.run(work)
    except (Refused, StoreRefused, UnreadableState) as err:
        raise click.ClickException(str(err)) from None
    except StoreUnavailable as err:
        raise click.ClickException(f"no answer from Redis: {err}: check LEADPULSE_REDIS") from None
    except KafkaError as err:
        raise click.ClickException(in_words(err)) from None


def show(page: RenderableType) -> None:
    """Print *page* on stdout: as wide as the terminal, or wide enough that nothing is cut off in a file or a pipe."""
    console = Console()
    (console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_PIPED_WIDTH)).print(page)


def installed(package: str) -> str:
    """Return the version of *package*; words where it is not installed (a checkout that is run as it is)."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def preset_or_file(name: str) -> bytes:
    """Return the text of the grid in the file *name*, or of the one that comes along under that name. Raises `OSError`."""
    path = Path(name)
    preset = files("grids").joinpath(f"{name}.yaml")
    return preset.read_bytes() if not path.exists() and preset.is_file() else path.read_bytes()


def load_grid(name: str) -> Grid:
    """Return the grid in the file *name*, or the one that comes with LeadPulse under that name.

    A missing file and every mistake in a grid are told, each in a line, and end the command with exit code 1.
    """
    try:
        source = preset_or_file(name)
    except OSError as err:
        raise click.ClickException(f"grid {name}: {err.strerror}; give a YAML file or one of: {', '.join(presets())}") from None
    return parsed(source, name)


def parsed(source: bytes, name: str) -> Grid:
    """Return the grid in *source*; every mistake is told as *name*'s, and ends the command with exit code 1."""
    from worker.core.grid.models import GridError, parse_grid

    try:
        return parse_grid(source, name)
    except GridError as err:
        raise click.ClickException("\n".join(str(mistake) for mistake in err.mistakes)) from None


def presets() -> list[str]:
    """Return the names of the grids that come with LeadPulse."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files("grids").iterdir() if entry.name.endswith(".yaml"))


def opened(name: str) -> BinaryIO:
    """Open a file, or stdin for `-`, to read lines of bytes; gzip is told by its first two bytes, not by the name."""
    raw: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer) if name == "-" else io.FileIO(name)
    stream = io.BufferedReader(raw, 1 << 20)
    return cast(BinaryIO, gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == b"\x1f\x8b" else stream)


def json_line(value: Any) -> str:
    """Return *value* as JSON on one line, with escapes for what is not printable: it may be read on a terminal."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def shown_name(name: str) -> str:
    """Return how messages call the input *name*."""
    return "stdin" if name == "-" else name


def grid_option(command: F) -> F:
    """Offer `--grid` to a command that judges what Redis holds."""
    said = "Judge by this grid instead of the one in force: a file, or the name of one that comes along."
    return click.option("--grid", metavar="GRID", help=said)(command)


def instant_option(_: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Read an RFC 3339 option into ms (a click callback)."""
    from worker.core.contract.codec import instant

    if text is None:
        return None
    at_ms = instant(text)
    if at_ms is None:
        raise click.BadParameter(f"{text!r} is not an instant with an offset, such as 2026-03-05T12:00:00Z", param=param)
    return at_ms
