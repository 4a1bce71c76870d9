"""`leadpulse export`: everything held of a lead, for a data subject's request."""

from __future__ import annotations

from typing import Any

import click

from worker.cli.common import json_line, load, run_async, settings_flags
from worker.queries.dossier import dossier
from worker.settings import ReaderSettings


@click.command()
@click.argument("lead")
@settings_flags("redis", "namespace", "partitions")
def export(lead: str, **flags: Any) -> None:
    """Print everything that Redis holds of LEAD, and of every other id of the same person, as one JSON object.

    The object has traits with their source events, the last events, stage changes, and every count with its rules. It also
    has links to other ids, times, keys, and the score with its reasons.

    Marks of event ids and of `once_per` values are hashes. The original values are not stored. Exits with 1 if nothing is
    held.
    """
    settings = load(ReaderSettings, flags)
    everything = run_async(dossier(settings, lead))
    if not everything["ids"]:
        raise click.ClickException(f"nothing is held of {lead} in namespace {settings.namespace}")
    click.echo(json_line(everything))
