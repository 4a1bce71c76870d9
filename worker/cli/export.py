"""`leadpulse export`: everything held of a lead, for whoever asks what we know of them."""

from __future__ import annotations

from typing import Any

import click

from worker.cli.common import json_line, load_settings, run_async, settings_flags
from worker.queries.dossier import dossier


@click.command()
@click.argument("lead")
@settings_flags("redis", "namespace", "partitions")
def export(lead: str, **flags: Any) -> None:
    """Print everything that Redis holds of LEAD, and of every other id of the same person, as one JSON object.

    Traits with the event that told each, last events, moves, every count and the rules that read it, ties to other ids, times
    and keys, beside the score with its reasons. Marks (of event ids and of the values that `once_per` counts) are hashes: what
    they were made of is not kept. Exit code 1 when nothing is held.
    """
    settings = load_settings(flags)
    found = run_async(dossier(settings, lead))
    if not found["ids"]:
        raise click.ClickException(f"nothing is held of {lead} in namespace {settings.namespace}")
    click.echo(json_line(found))
