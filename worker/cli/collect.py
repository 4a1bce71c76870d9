"""`leadpulse collect`: takes events over HTTP, and maps webhooks."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import sys
from typing import Any

import click

from worker.cli.common import load, settings_flags
from worker.errors import LeadPulseError
from worker.settings import CollectSettings


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
