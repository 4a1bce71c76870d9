"""`leadpulse connections`: checks, shows and tries the tools around LeadPulse."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from worker.cli.common import json_line, load, run_async, show
from worker.connections.models import Connections
from worker.core.contract.printable import plain
from worker.core.grid.values import did_you_mean
from worker.errors import ConnectionsError
from worker.settings import CollectSettings, ReaderSettings

if TYPE_CHECKING:
    from rich.table import Table

    from worker.queries.connection_status import Standing

_DEFAULT: Final = "connections.yaml"
_MOST_DAYS: Final = 30
_COUNTS: Final = ("budget", "pending", "held", "dead", "unknown")


def _file(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("file", envvar="LEADPULSE_CONNECTIONS", default=_DEFAULT, metavar="[FILE]")(command)


def _read(file: str, *, secrets: bool) -> Connections:
    from worker.connections.file import read_connections

    try:
        return read_connections(file, os.environ if secrets else None)
    except ConnectionsError as error:
        raise click.ClickException(str(error)) from error


@click.group()
def connections() -> None:
    """Check and show the tools that events come from and that are acted on."""


@connections.command()
@_file
@click.option("--no-secrets", is_flag=True, help="Do not look whether the secrets are there, as where a file is reviewed.")
def check(file: str, no_secrets: bool) -> None:
    """Check FILE whole, and name every mistake by line.

    FILE is LEADPULSE_CONNECTIONS or connections.yaml by default. The command also looks whether every secret that FILE refers
    to is there. It prints none.
    """
    found = _read(file, secrets=not no_secrets)
    click.echo(
        f"{file}: {len(found.sites)} sites, {len(found.sources)} sources, {len(found.targets)} targets: no mistake", err=True
    )


@connections.command(name="show")
@_file
def show_file(file: str) -> None:
    """Print FILE as JSON, with every default filled in and references in place of secrets."""
    from worker.connections.secret import Secret

    found = _read(file, secrets=False)

    def referred(value: Any) -> Any:
        if isinstance(value, Secret):
            return value.text
        raise TypeError(type(value).__name__)

    click.echo(json.dumps(found.model_dump(by_alias=True), default=referred, indent=2, ensure_ascii=False))


@connections.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors of YAML."""
    from worker.connections.file import connections_schema

    click.echo(json.dumps(connections_schema(), indent=2, ensure_ascii=False))


_FILE_OPTION = click.option(
    "--file", envvar="LEADPULSE_CONNECTIONS", default=_DEFAULT, help="File of connections.  [env LEADPULSE_CONNECTIONS]"
)


@connections.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_FILE_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per finding.")
def test(names: tuple[str, ...], file: str, as_json: bool) -> None:
    """Try the sources and targets called NAME, or all of them.

    Looks whether the secrets are there, logs in to each target, and asks the live account. It only reads, and sends no message.
    A source with `api` is tried by the target that answers its look-ups. A field that only acts need gives a warning.

    Exits with 1 if a connection does not work.
    """
    found = _read(file, secrets=False)
    known = {*found.sources, *found.targets}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or f"; it has {', '.join(sorted(known)) or 'none'}"
            raise click.ClickException(f"{file} has no source or target {name!r}{hint}")
    if run_async(_try(found, names, as_json)):
        raise click.exceptions.Exit(1)


async def _try(found: Connections, names: tuple[str, ...], as_json: bool) -> int:
    """Print what is found, and return the number of errors."""
    from worker.queries.connection_tests import try_connections

    errors = 0
    async for one in try_connections(found, os.environ, names):
        errors += one.level == "error"
        if as_json:
            click.echo(json_line(one))
            continue
        text = f"{one.what}: {one.what_to_do}" if one.what_to_do else one.what
        click.echo(f"{one.level:7}  {one.direction} {one.name}: {plain(text)}", err=True)
    return errors


@connections.command()
@_FILE_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per source and target.")
def status(file: str, as_json: bool) -> None:
    """Show how each source and target is.

    Of a source: when the last webhook came, the last error, look-ups that wait, and webhooks that could not be mapped.
    Of a target: the last act, the last error, the breaker, the budget, and acts that are pending, held, dead or unknown.

    Reads Redis and Kafka, by the settings of `leadpulse collect` and `leadpulse act` in the environment. What cannot be read is
    left out, and named on stderr. The command exits with 1 then.
    """
    found = _read(file, secrets=False)
    standings, missing = run_async(_standings(load(CollectSettings, {}), found))
    if as_json:
        for one in standings:
            click.echo(json_line(one))
    else:
        show(_table(standings))
    for words in missing:
        click.echo(f"not read: {plain(words)}", err=True)
    if missing:
        raise click.exceptions.Exit(1)


async def _standings(settings: CollectSettings, found: Connections) -> tuple[list[Standing], list[str]]:
    from worker.queries.connection_status import standings

    return await standings(settings, found, _targets)


async def _targets(kinds: Mapping[str, str]) -> dict[str, Standing]:
    """Return the standing of each target, as the program that acts left it."""
    from worker.automations.operations import now_ms, open_acts
    from worker.core.scoring.calendar import rfc3339
    from worker.queries.connection_status import Standing

    async with open_acts(load(ReaderSettings, {})) as acts:
        told = await acts.standing(list(kinds), now_ms())
    return {
        name: Standing(
            "target",
            name,
            kinds[name],
            last_event=rfc3339(one.success_ms) if one.success_ms else None,
            last_error=one.failure or None,
            last_error_at=rfc3339(one.failure_ms) if one.failure_ms else None,
            breaker=one.breaker,
            budget=one.budget,
            pending=sum(one.figures.get(state, 0) for state in ("intent", "retry", "states")),
            held=one.figures.get("held", 0),
            dead=one.figures.get("dead", 0) + one.figures.get("states_dead", 0),
            unknown=one.figures.get("unknown", 0),
        )
        for name, one in told.items()
    }


def _table(standings: Sequence[Standing]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("", "name", "kind"):
        table.add_column(name, no_wrap=True)  # on a narrow terminal, the others give way
    for name in ("last event", "last error", "breaker"):
        table.add_column(name)
    for name in _COUNTS:
        table.add_column(name, justify="right")
    for one in standings:
        error = f"{_short(one.last_error_at)} {one.last_error}" if one.last_error else ""
        words = (one.direction, one.name, one.kind, _short(one.last_event), error, one.breaker or "")
        counts = (getattr(one, name) for name in _COUNTS)
        table.add_row(*map(plain, words), *("" if count is None else f"{count:g}" for count in counts))
    return table


def _short(instant: str | None) -> str:
    return f"{instant[:19]}Z" if instant else ""


@connections.command()
@click.argument("site")
@click.argument("lead")
@click.option("--days", default=7.0, show_default=True, help="Days for which the token holds, at most 30.")
@_FILE_OPTION
def token(site: str, lead: str, days: float, file: str) -> None:
    """Print an identify token: it tells the pixel of SITE that its visitor is LEAD.

    Put it into links of your mails as ?lp=TOKEN. A visitor with the token is taken for LEAD.
    """
    from worker.connections.identify import token_of

    found = _read(file, secrets=False)
    if site not in found.sites:
        raise click.ClickException(f"{file} has no site {site!r}; it has {', '.join(found.sites) or 'none'}")
    if not found.sites[site].identify:
        raise click.ClickException(f"sites.{site} of {file} has no `identify`: add a secret that its tokens are signed with")
    if not 0 < days <= _MOST_DAYS:
        raise click.BadParameter(f"a token holds for at most {_MOST_DAYS} days", param_hint="--days")
    try:
        secret = found.sites[site].identify[-1].resolve(os.environ)
    except ConnectionsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(token_of(lead, site, int(time.time() + days * 86_400), secret))
