"""Which map reads which vendor, and the check that the worker accepts what a map made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.connections.sources import Source
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record, Rejected
from worker.intake.inbound import Inbound
from worker.intake.vendors import (
    activecampaign,
    any_json,
    brevo,
    calendly,
    customerio,
    goto,
    hubspot,
    livestorm,
    mailchimp,
    mailgun,
    mandrill,
    pipedrive,
    postmark,
    resend,
    salesforce,
    segment,
    sendgrid,
    ses,
    typeform,
    yousign,
    zoho,
    zoom,
)
from worker.intake.vendors.common import Map, Mapped, NewEvent, Unmapped, cloud_event
from worker.intake.vendors.machine_clicks import Traces, judged

MAPS: Final[Mapping[str, Map]] = {
    "sendgrid": sendgrid.events,
    "brevo": brevo.events,
    "mailgun": mailgun.events,
    "postmark": postmark.events,
    "ses": ses.events,
    "mandrill": mandrill.events,
    "mailchimp": mailchimp.events,
    "customerio": customerio.events,
    "resend": resend.events,
    "segment": segment.events,
    "yousign": yousign.events,
    "json": any_json.events,
    "zoom": zoom.events,
    "livestorm": livestorm.events,
    "goto": goto.events,
    "typeform": typeform.events,
    "calendly": calendly.events,
    "hubspot": hubspot.events,
    "pipedrive": pipedrive.events,
    "zoho": zoho.events,
    "salesforce": salesforce.events,
    "activecampaign": activecampaign.events,
}
"""Vendor → its map. A vendor of `worker.connections.sources.VENDORS` without one is `Unmapped`."""


def mapped(inbound: Inbound, source: Source, traces: Traces | None = None) -> Mapped:
    """Return what the vendor's map makes of *inbound*. Every event there is accepted by the worker.

    *traces* holds what is remembered of messages, for the guesses at machines that *source* asks for, and is added to. Without
    it, only the events of one request are compared.

    Events that the worker would reject stand in `Mapped.refused` instead, each with the reason. Raises `Unmapped`, and nothing
    else. A fault of a map is one too: a request that always fails must not block the requests behind it.
    """
    vendor = MAPS.get(inbound.vendor)
    if vendor is None:
        raise Unmapped(f"no map for {inbound.vendor!r}")
    try:
        made = vendor(inbound, source)
    except Unmapped:
        raise
    except Exception as error:
        raise Unmapped(f"a fault in the map of {inbound.vendor}: {type(error).__name__}: {error}") from error
    events = []
    for new in made.events:
        fault = fault_of(new, inbound.source)
        if fault is None:
            events.append(new)
        else:
            made.refused.append(f"{new.type} {new.id}: {fault}")
    made.events, guessed = judged(inbound.source, source, events, {} if traces is None else traces)
    made.machines += guessed
    return made


def fault_of(new: NewEvent, source: str) -> str | None:
    """Return why the worker would reject *new*, or pass it over as an unknown type; `None` if it takes it."""
    try:
        value = cloud_event(new, source)
    except (OverflowError, OSError, ValueError, TypeError, RecursionError) as error:
        return f"cannot be written: {error}"
    match decode(Record("", 0, 0, None, None, value, ())):
        case Event():
            return None
        case Rejected(_, reason, message):
            return f"{reason}: {message}"
        case _:
            return f"unknown type {new.type!r}"
