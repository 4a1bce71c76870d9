"""`leadpulse erase`: erases everything held of a lead."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from worker.adapters.kafka_sink import KafkaIntake
from worker.automations.persons import erase_acts
from worker.cli.common import json_line, load_part, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.core.contract.instants import MAX_AHEAD_MS
from worker.core.contract.printable import plain
from worker.core.scoring.calendar import rfc3339
from worker.intake.erasure import send_erasure
from worker.queries.inbound import Forgotten, forget_inbound
from worker.queries.persons import Person, ids_of_person, until_erased
from worker.settings import InboundSettings, ReaderSettings, Settings


class Erased(msgspec.Struct, frozen=True):
    """Output of `leadpulse erase`."""

    lead_id: str
    ids: list[str]
    """All ids of the person at the time of the command."""
    erased_up_to: str | None
    """Time of the `lead.erased`. Earlier events of these ids stay dropped. `None`: nothing was sent."""
    done: bool
    """Whether all ids are erased by now."""
    inbound: Forgotten | None
    """What became of webhooks. `None`: nothing was sent."""
    acts: int = 0
    """The number of erased acts of `leadpulse act`."""


@click.command()
@click.argument("lead")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only print the ids that would be erased.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=60.0, metavar="SECONDS",
    help="Longest time to wait for the workers; 0 does not wait.  [default 60]",
)  # fmt: skip
@settings_flags(*CONNECTION, "redis", "namespace", "partitions", "input_topics")
@settings_flags("seen_redis", of=InboundSettings)
def erase(lead: str, yes: bool, dry_run: bool, wait_s: float, **flags: Any) -> None:
    """Erase everything held of LEAD, and of every other id of the same person.

    Sends a `lead.erased` as any producer would, and waits until the workers have processed it. Of each id, only a mark
    remains, which keeps earlier events out, even if they are read again. `lead.erased` is published for each id, so that
    consumers of the outputs can erase it too.

    Webhooks cannot be deleted one by one either. `collect remap` and `dead replay` send nothing of the person any more, and
    questions to vendors about them are taken back. `inbound` tells until when webhooks stay.

    Acts, states and nurturing of `leadpulse act` are erased at once. When that program reads the published `lead.erased`, it
    asks targets with `forget: true` to delete the person. An unsubscription of the address stays, as a hash.

    Records in Kafka's topics, the internal topic included, expire by retention.

    Prints one JSON object. Exits with 1 if the erasure is not done in time. The event is then sent, and workers will process
    it.
    """
    settings, inbound = load_part(Settings, flags), load_part(InboundSettings, flags)
    person = run_async(ids_of_person(settings, lead))
    ids = [lead, *(alias.lead for alias in person if alias.lead != lead)]
    if not any(alias.state.alive for alias in person):
        click.echo(f"nothing is held of {plain(lead)} now; the erasure keeps its earlier events out", err=True)
    if dry_run:
        click.echo(json_line(Erased(lead, ids, None, False, None)))
        return
    if not yes:
        click.confirm(f"Erase {', '.join(map(plain, ids))} for good?", abort=True, err=True)
    at_ms = _after_all(person)
    run_async(send_erasure(KafkaIntake(settings), settings.input_topics, lead, at_ms))
    forgotten = run_async(forget_inbound(inbound, ids, int(time.time() * 1_000)))
    done = run_async(until_erased(settings, lead, ids, at_ms, wait_s)) if wait_s else False
    acts = run_async(erase_acts(load_part(ReaderSettings, flags), ids, at_ms, int(time.time() * 1_000)))
    click.echo(json_line(Erased(lead, ids, rfc3339(at_ms), done, forgotten, acts)))
    if wait_s and not done:
        click.echo(
            f"sent, but not done within {wait_s:g} s: do workers run (`leadpulse doctor`)? They will process it", err=True
        )
        raise click.exceptions.Exit(1)


def _after_all(person: list[Person]) -> int:
    """Return the time of the erasure: now, or after all that is held, where a producer's clock ran ahead.

    Workers take a time further ahead than `MAX_AHEAD_MS` as the record's own.
    """
    now_ms = int(time.time() * 1_000)
    return min(max([now_ms, *(alias.state.clock_ms for alias in person)]), now_ms + MAX_AHEAD_MS)
