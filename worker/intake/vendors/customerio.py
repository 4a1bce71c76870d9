"""Customer.io's reporting webhooks: one JSON object with `object_type`, `metric` and `data`.

The person's id in Customer.io is your own system's id of the person. *Untested*: the flags of opens by privacy proxies
(`data.machine`, `data.proxied`, `data.prefetched`), and all against a live account.
"""

from __future__ import annotations

from typing import Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, digest, email_id, objects_of, person, seconds_ms, text
from worker.intake.vendors.mail_events import add, inner, link, machine

_TYPES: Final = {
    "email delivered": "email.delivered",
    "email opened": "email.opened",
    "email clicked": "email.clicked",
    "email bounced": "email.bounced",
    "email spammed": "email.complained",
    "email unsubscribed": "email.unsubscribed",
    "customer unsubscribed": "email.unsubscribed",
    "customer subscribed": "email.subscribed",
}
_CAMPAIGNS: Final = ("campaign_id", "newsletter_id", "broadcast_id", "transactional_message_id")
_MACHINES: Final = ("machine", "proxied", "prefetched")


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Customer.io's event. Raises `Unmapped`."""
    made = Mapped()
    for one in objects_of(inbound):
        kind = f"{text(one.get('object_type')) or '?'} {text(one.get('metric')) or '?'}"
        type_, data = _TYPES.get(kind), one.get("data")
        own_id = text(inner(data, "identifiers", "id")) or text(inner(data, "customer_id"))
        found = (inner(data, "recipient"), inner(data, "identifiers", "email"), inner(data, "email_address"), own_id)
        address = next((held for held in found if email_id(held)), None)
        subject = email_id(own_id) or person(own_id, address)  # a workspace may use the address as the id
        at_ms = seconds_ms(one.get("timestamp"))
        id_ = text(one.get("event_id")) or digest(kind, subject, one.get("timestamp"), inner(data, "delivery_id"))
        campaign = next((held for name in _CAMPAIGNS if (held := text(inner(data, name)))), None)
        add(
            made,
            kind,
            type_,
            subject,
            at_ms,
            id_,
            message_id=text(inner(data, "delivery_id")),
            campaign_id=campaign if type_ != "email.subscribed" else None,
            url=text(inner(data, "href")) if type_ == "email.clicked" else None,
            machine=machine(*(inner(data, name) is True for name in _MACHINES)),
        )
        if type_ is not None:
            link(made, subject, address, at_ms, id_)
    return made
