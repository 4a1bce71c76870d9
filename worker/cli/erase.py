"""`leadpulse erase`: everything held of a lead is forgotten."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from worker.cli.common import json_line, load_settings, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.core.contract.codec import MAX_AHEAD_MS
from worker.core.contract.printable import plain
from worker.core.scoring.calendar import rfc3339
from worker.intake.erasure import send_erasure
from worker.queries.persons import ids_of_person, until_erased


class Erased(msgspec.Struct, frozen=True):
    """What `leadpulse erase` prints."""

    lead_id: str
    ids: list[str]
    """Of the same person, as they were held when it was asked for."""
    erased_up_to: str | None
    """The `lead.erased`'s time: earlier events of these ids stay dropped. `None`: nothing was sent."""
    done: bool
    """Whether every one of the ids is gone by now."""


@click.command()
@click.argument("lead")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say which ids would be erased.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=60.0, metavar="SECONDS",
    help="How long to wait until it is done; 0 does not wait.  [default 60]",
)  # fmt: skip
@settings_flags(*CONNECTION, "redis", "namespace", "partitions", "input_topics")
def erase(lead: str, yes: bool, dry_run: bool, wait_s: float, **flags: Any) -> None:
    """Erase everything held of LEAD, and of every other id of the same person.

    Sends a `lead.erased` as any producer would, and waits until the workers have done it: nothing is left of the ids but the
    mark that keeps earlier events out, also when they are read again. `lead.erased` is published for each id, so that those
    downstream forget too. What Kafka's topics still hold of them goes by their retention; the internal topic's too.

    Prints one JSON object; exit code 1 when it was not done in time: the event is sent then, and is taken when workers run.
    """
    settings = load_settings(flags)
    found = run_async(ids_of_person(settings, lead))
    ids = [lead, *(person.lead for person in found if person.lead != lead)]
    if not any(person.state.alive for person in found):
        click.echo(f"nothing is held of {plain(lead)} now; its earlier events would be kept out", err=True)
    if dry_run:
        click.echo(json_line(Erased(lead, ids, None, False)))
        return
    if not yes:
        click.confirm(f"Erase {', '.join(map(plain, ids))} for good?", abort=True, err=True)
    # After all that is held, where some producer's clock ran ahead; a time past this is taken as the record's own anyhow.
    at_ms = int(time.time() * 1_000)
    at_ms = min(max([at_ms, *(person.state.clock for person in found)]), at_ms + MAX_AHEAD_MS)
    run_async(send_erasure(settings, lead, at_ms))
    done = run_async(until_erased(settings, lead, ids, at_ms, wait_s)) if wait_s else False
    click.echo(json_line(Erased(lead, ids, rfc3339(at_ms), done)))
    if wait_s and not done:
        click.echo(
            f"sent, but not done within {wait_s:g} s: do workers run (`leadpulse doctor`)? They take it when they do", err=True
        )
        raise click.exceptions.Exit(1)
