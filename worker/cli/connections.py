"""`leadpulse connections`: checks, shows and explains the file of connections."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, Final

import click

from worker.connections.models import Connections
from worker.errors import ConnectionsError

_DEFAULT: Final = "connections.yaml"
_MOST_DAYS: Final = 30


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


@connections.command()
@_file
def show(file: str) -> None:
    """Print FILE as JSON, with every default filled in and references in place of secrets."""
    from worker.connections.secret import Secret

    found = _read(file, secrets=False)

    def plain(value: Any) -> Any:
        if isinstance(value, Secret):
            return value.text
        raise TypeError(type(value).__name__)

    click.echo(json.dumps(found.model_dump(by_alias=True), default=plain, indent=2, ensure_ascii=False))


@connections.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors of YAML."""
    from worker.connections.file import connections_schema

    click.echo(json.dumps(connections_schema(), indent=2, ensure_ascii=False))


@connections.command()
@click.argument("site")
@click.argument("lead")
@click.option("--days", default=7.0, show_default=True, help="Days for which the token holds, at most 30.")
@click.option(
    "--file", envvar="LEADPULSE_CONNECTIONS", default=_DEFAULT, help="File of connections.  [env LEADPULSE_CONNECTIONS]"
)
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
