"""`leadpulse export`: everything held of a lead, for a data subject's request."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.automations.persons import addresses_of, held_acts
from worker.cli.common import json_line, load_part, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.queries.dossier import dossier
from worker.queries.inbound import Held, held_inbound
from worker.settings import InboundSettings, ReaderSettings


@click.command()
@click.argument("lead")
@click.option("--without-webhooks", is_flag=True, help="Print what Redis holds of the lead alone, and do not read Kafka.")
@settings_flags("redis", "namespace", "partitions")
@settings_flags(*CONNECTION, "connections", "seen_redis", of=InboundSettings)
def export(lead: str, without_webhooks: bool, **flags: Any) -> None:
    """Print everything that is held of LEAD, and of every other id of the same person, as one JSON object.

    From Redis: traits with their source events, the last events, stage changes, and every count with its rules. Also links to
    other ids, times, keys, and the score with its reasons. Marks of event ids and of `once_per` values are hashes. The original
    values are not stored.

    Under `inbound`: the webhooks of lead.inbound and lead.inbound.dead that are about the person, and the questions to vendors
    that wait. What such a webhook says of other people is left out. Both topics are read from start to end.

    Under `acts`: what `leadpulse act` did and will do for the person, and the states that it keeps at other tools. Also
    nurturing, and why no mail goes to the person.

    Exits with 1 if nothing is held.
    """
    settings, inbound = load_part(ReaderSettings, flags), load_part(InboundSettings, flags)
    everything = run_async(dossier(settings, lead))
    acts = run_async(held_acts(settings, _ids(lead, everything), addresses_of(everything["ids"])))
    if acts:
        everything["acts"] = acts
    held = Held()
    if not without_webhooks:
        try:
            held = run_async(held_inbound(inbound, _ids(lead, everything)))
        except click.ClickException as err:
            raise click.ClickException(f"{err.message}; --without-webhooks prints what Redis holds") from None
        everything["inbound"] = msgspec.to_builtins(held)
    if not everything["ids"] and not acts and not held.webhooks and not held.lookups:
        raise click.ClickException(f"nothing is held of {lead} in namespace {settings.namespace}")
    click.echo(json_line(everything))


def _ids(lead: str, everything: dict[str, Any]) -> set[str]:
    return {lead, *(one["id"] for one in everything["ids"])}
