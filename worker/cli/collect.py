"""`leadpulse collect`: takes events over HTTP, and maps webhooks."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from worker.cli.common import instant_option, json_line, load, run_async, settings_flags
from worker.errors import LeadPulseError
from worker.settings import CollectSettings

if TYPE_CHECKING:
    from worker.collector.remap import Remapped


@click.group(invoke_without_command=True)
@settings_flags(of=CollectSettings)
@click.pass_context
def collect(ctx: click.Context, /, **flags: Any) -> None:
    """Take events over HTTP, and map webhooks, until SIGTERM or Ctrl-C.

    Events come from systems (/v1/events), from vendors' webhooks (/in/NAME), from Segment's libraries (/v1/track, …) and from
    the pixel (/lp/SITE/…). An answer of 200 means that Kafka has them. The file of connections names who may send.

    On SIGTERM or Ctrl-C it answers the requests on their way, and exits with 0. If it cannot continue, it exits with 1, and its
    last line names the reason.

    Every setting is a flag and an environment variable. The flag takes precedence.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = load(CollectSettings, flags)
    from worker import logs
    from worker.collector.program import run

    logging.config.dictConfig(logs.configuration(settings.log_format, sys.stderr.isatty()))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is said in our words
    try:
        asyncio.run(run(settings, os.environ))
    except LeadPulseError as error:
        raise click.ClickException(error.line()) from None


@collect.command()
@click.option("--source", required=True, metavar="NAME", help="Source whose webhooks are mapped again.")
@click.option(
    "--since", required=True, metavar="T", callback=instant_option, help="Only webhooks that came at T (RFC 3339) or later."
)
@click.option("--dry-run", is_flag=True, help="Send nothing, and count what would be sent.")
def remap(source: str, since: int, dry_run: bool) -> None:
    """Map webhooks again after a map was mended, and send the events that are missing.

    Reads which events stand in the input topics since T, and sends only the others. Events that the earlier map made and the
    present one does not are listed under `wrong`, since workers have counted them. Nothing removes those by itself. Nothing is
    sent of a person who was erased since the webhook came.

    Questions to the vendor's API that have no answer wait again, also those that were given up.

    Prints one JSON object. Settings come from the environment.
    """
    settings = load(CollectSettings, {})
    report = run_async(_remap(settings, source, since, dry_run))
    click.echo(json_line(report))
    verb = "would be sent" if dry_run else "sent"
    click.echo(
        f"{report.webhooks:,} webhooks: {report.present:,} events were there, {report.sent:,} {verb}, {report.dead:,} webhooks"
        f" cannot be mapped, {len(report.wrong):,} events of an earlier map were counted, {report.asked:,} look-ups had no"
        " answer",
        err=True,
    )


async def _remap(settings: CollectSettings, source: str, since_ms: int, dry_run: bool) -> Remapped:
    from worker.collector.remap import remap_source

    return await remap_source(settings, source, since_ms, dry_run=dry_run)
