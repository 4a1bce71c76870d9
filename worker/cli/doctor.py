"""`leadpulse doctor`: finds faults that would stop the worker, with a remedy for each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import click
import msgspec

from worker.automations.findings import act_findings
from worker.cli.common import load_settings, run_async, settings_flags
from worker.queries.doctor import Finding, Level, findings
from worker.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per finding.")
@settings_flags()
def doctor(as_json: bool, **flags: Any) -> None:
    """Look for faults that would stop the worker.

    Checks the grid, Kafka, its topics, Redis, each partition's state and the clocks. With a file of connections, it checks that
    too, and asks each live account. With a file of automations, it checks what `leadpulse act` needs, and names acts that wait
    for a person. It reports each fault with its remedy.
    It changes nothing, but loads the worker's functions into Redis, as every worker does.

    Exits with 1 if there is an error. Warnings and hints need your judgement.
    """
    settings = load_settings(flags)
    counts = run_async(_tell(settings, flags, as_json))
    click.echo(
        ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in ("error", "warning", "hint"))
        + ("; a program that needs it will not start, or not for long" if counts["error"] else ""),
        err=True,
    )
    if counts["error"]:
        raise click.exceptions.Exit(1)


async def _all(settings: Settings, flags: dict[str, Any]) -> AsyncIterator[Finding]:
    async for finding in findings(settings):
        yield finding
    async for found in act_findings(os.environ, flags):
        yield Finding(*found)


async def _tell(settings: Settings, flags: dict[str, Any], as_json: bool) -> dict[Level, int]:
    counts: dict[Level, int] = {"ok": 0, "hint": 0, "warning": 0, "error": 0}
    colours = {"ok": "green", "hint": "cyan", "warning": "yellow", "error": "red"}
    async for finding in _all(settings, flags):
        counts[finding.level] += 1
        if as_json:
            click.echo(msgspec.json.encode(finding))
            continue
        text = f"{finding.what}: {finding.what_to_do}" if finding.what_to_do else finding.what
        click.echo(f"{click.style(f'{finding.level:7}', colours[finding.level])}  {finding.area}: {text}", err=True)
    return counts
