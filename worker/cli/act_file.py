"""`leadpulse act check|show|schema|preview`: the file of automations, and what it would send."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from worker.cli.common import Complaints, json_line, load, load_grid, opened, settings_flags, shown_name
from worker.errors import AutomationsError, ConnectionsError
from worker.settings import ReaderSettings

if TYPE_CHECKING:
    from worker.automations.output import Output
    from worker.automations.rules import Rules
    from worker.connections.models import Connections

AUTOMATIONS: Final = click.option(
    "--automations",
    "file",
    envvar="LEADPULSE_AUTOMATIONS",
    default="automations.yaml",
    show_default=True,
    metavar="FILE",
    help="File of automations.  [env LEADPULSE_AUTOMATIONS]",
)
CONNECTIONS: Final = click.option(
    "--connections",
    envvar="LEADPULSE_CONNECTIONS",
    default="connections.yaml",
    show_default=True,
    metavar="FILE",
    help="File of connections, which has the targets.  [env LEADPULSE_CONNECTIONS]",
)
_DOCUMENTS: Final = click.option(
    "--documents",
    envvar="LEADPULSE_DOCUMENTS",
    default="documents",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of documents to sign.  [env LEADPULSE_DOCUMENTS]",
)


def _argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("file", envvar="LEADPULSE_AUTOMATIONS", default="automations.yaml", metavar="[FILE]")(command)


def read_files(
    file: str, connections: str, documents: Path | None = None, phases: Collection[str] | None = None
) -> tuple[Rules, Connections]:
    """Return the rules and the connections. Raises click's error with every mistake."""
    from worker.automations.file import read_rules
    from worker.connections.file import read_connections

    try:
        found = read_connections(connections)
        return read_rules(file, found, documents=documents, phases=phases), found
    except (ConnectionsError, AutomationsError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@_argument
@CONNECTIONS
@click.option("--grid", metavar="GRID", help="Name each phase under `nurture` that this grid does not have.")
def check(file: str, connections: str, grid: str | None) -> None:
    """Check FILE whole, and name every mistake by line.

    FILE is LEADPULSE_AUTOMATIONS or automations.yaml by default. Targets are those of the file of connections. Templates are
    read too. Nothing is sent, and no secret is needed.
    """
    phases = None if grid is None else tuple(load_grid(grid).phases or ())
    rules, _ = read_files(file, connections, phases=phases)
    found = rules.automations
    counts = f"{len(found.sync)} states in sync, {len(found.acts)} acts, {len(found.nurture)} nurturing rules"
    click.echo(f"{file}: {counts}: no mistake", err=True)
    if rules.personal:
        click.echo(f"visitors without an address are passed over by {', '.join(rules.personal)}", err=True)


@click.command()
@click.argument("what", nargs=-1, metavar="[FILE | RULE OUTPUT]")
@CONNECTIONS
@settings_flags("redis", "namespace", "partitions", of=ReaderSettings)
def show(what: tuple[str, ...], connections: str, **flags: Any) -> None:
    """Print FILE as JSON, with every default filled in, or one act of the ledger with all that is known of it.

    FILE is LEADPULSE_AUTOMATIONS or automations.yaml by default. An act is named by its RULE and its OUTPUT, as `leadpulse act
    list` shows them.
    """
    if len(what) > 2:
        raise click.UsageError("name a file, or the rule and the output of one act")
    if len(what) == 2:
        from worker.cli.act_ledger import show_act

        show_act(load(ReaderSettings, flags), *what)
        return
    from worker.automations.file import automations_json

    rules, _ = read_files(what[0] if what else os.environ.get("LEADPULSE_AUTOMATIONS") or "automations.yaml", connections)
    click.echo(json.dumps(automations_json(rules.automations), indent=2, ensure_ascii=False))


@click.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors of YAML."""
    from worker.automations.file import automations_schema

    click.echo(json.dumps(automations_schema(), indent=2, ensure_ascii=False))


def _lines(name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not empty, with their numbers."""
    try:
        with opened(name) as stream:
            yield from ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{shown_name(name)}: {error}") from None


def _published(line: bytes) -> Output:
    """Return the output of a line. Raises `NotAnOutput`, also for an event that comes in."""
    from worker.automations.output import PAYLOAD, NotAnOutput, read_output

    output = read_output(line)
    if output.type not in PAYLOAD:
        raise NotAnOutput(f"{output.type} is no type of outputs; `leadpulse replay --events` writes outputs")
    return output


@click.command()
@click.argument(
    "outputs",
    metavar="OUTPUTS.jsonl...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@AUTOMATIONS
@CONNECTIONS
@_DOCUMENTS
def preview(outputs: tuple[str, ...], file: str, connections: str, documents: Path) -> None:
    """Print the requests that would be sent for each output in OUTPUTS.jsonl, and send nothing.

    The file has one published event a line, as `leadpulse replay --events` writes it; `-` is stdin. Each request is one JSON
    object a line. Secrets are shown as <secret>, and what only an answer, the clock or chance gives as <contact_id>,
    <timestamp>. An act that cannot be written has an `error` in place of the request. A line that is no output is named on
    stderr, and makes the exit code 1.
    """
    from worker.automations.output import NotAnOutput
    from worker.automations.preview import Preview
    from worker.automations.targets.registry import KINDS

    rules, found = read_files(file, connections, documents)
    shown = Preview(rules, found.targets, KINDS)
    complain = Complaints("lines")
    bad = 0
    for name in outputs:
        for number, line in _lines(name):
            try:
                output = _published(line)
            except NotAnOutput as error:
                bad += 1
                complain(f"{shown_name(name)}:{number}: no published event: {error}")
                continue
            for request in shown.lines(output):
                click.echo(json_line(request))
    if bad:
        raise click.exceptions.Exit(1)
