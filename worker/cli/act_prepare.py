"""`leadpulse act prepare`: the fields that states need at a target."""

from __future__ import annotations

import asyncio
import os

import click

from worker.cli.act_file import AUTOMATIONS, CONNECTIONS, read_files
from worker.core.grid.values import did_you_mean
from worker.errors import AutomationsError, ConnectionsError


@click.command()
@click.argument("target")
@AUTOMATIONS
@CONNECTIONS
@click.option("--check", "only_look", is_flag=True, help="Only look which fields are there, and make none.")
def prepare(target: str, file: str, connections: str, only_look: bool) -> None:
    """Make the fields that TARGET needs: the one for the lead's id, and those of `sync`.

    Fields that are there stay as they are. HubSpot's, Zoho's and Pipedrive's are made. For those of Salesforce the command
    tells what to make by hand. It prints a line for each field, and exits with 1 while one is missing.
    """
    from worker.automations.preparing import prepare as prepared

    rules, found = read_files(file, connections)
    if target not in found.targets:
        hint = did_you_mean(target, found.targets)
        raise click.ClickException(f"{connections} has no target {target!r}{hint}; it has {', '.join(found.targets) or 'none'}")
    try:
        fields = asyncio.run(prepared(target, found.targets, rules.automations, os.environ, make=not only_look))
    except (AutomationsError, ConnectionsError) as error:
        raise click.ClickException(str(error)) from error
    for one in fields:
        click.echo(f"{one.name}: {one.state}{f': {one.what}' if one.what else ''}")
    if any(one.state in ("missing", "by hand") for one in fields):
        raise click.exceptions.Exit(1)
