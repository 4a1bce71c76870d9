"""`leadpulse act test`: one act for an invented lead, marked as a test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from worker.cli.common import json_line, load, run_async, settings_flags
from worker.settings import ActSettings


@click.command(name="test")
@click.argument("rule")
@click.option("--to", required=True, metavar="ADDRESS", help="Address of the invented lead: mails go there.")
@settings_flags("automations", "connections", "documents", of=ActSettings)
def trial(rule: str, to: str, **flags: Any) -> None:
    """Do one act of RULE for an invented lead with ADDRESS, marked as a test.

    RULE is the id of a rule under `acts`, or RULE/CONTENT of a nurturing content. The act is really done: a task or a mail
    comes into being, whose subject begins with [TEST]. Its rule's `where` and `consent` are not asked. Nothing is kept in
    Redis. Prints one JSON object, and exits with 1 unless the act is done.
    """
    from worker.automations.file import read_rules
    from worker.automations.live import Files
    from worker.automations.trial import trial as done
    from worker.connections.file import read_connections
    from worker.errors import AutomationsError, ConnectionsError

    settings = load(ActSettings, flags)
    try:
        connections = read_connections(settings.connections, os.environ)
        rules = read_rules(settings.automations, connections, documents=Path(settings.documents))
        ended = run_async(done(Files(connections, rules, os.environ), rule, to))
    except (ConnectionsError, AutomationsError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(json_line(ended))
    if ended["state"] != "done":
        raise click.exceptions.Exit(1)
