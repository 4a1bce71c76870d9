"""Mailchimp Transactional (Mandrill): a form whose field `mandrill_events` is a JSON list.

An id is a hash, since `_id` names the message and not the event. A soft bounce and a `reject` of Mandrill's own say nothing
new about the address. *Untested* against a live account.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, Unmapped, digest, email_id, form_of, seconds_ms, text
from worker.intake.vendors.mail_events import add, first_of, inner, robot_clicked

_TYPES: Final = {
    "open": "email.opened",
    "click": "email.clicked",
    "hard_bounce": "email.bounced",
    "spam": "email.complained",
    "unsub": "email.unsubscribed",
    "delivered": "email.delivered",
}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a list of Mandrill's events. Raises `Unmapped`."""
    made = Mapped()
    held = form_of(inbound).get("mandrill_events")
    if held is None:
        raise Unmapped("no form field `mandrill_events`")
    try:
        found = msgspec.json.decode(held)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unmapped(f"`mandrill_events` is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Unmapped("`mandrill_events` is no list of objects")
    for one in found:
        kind = text(one.get("event")) or text(one.get("type")) or ""
        type_ = _TYPES.get(kind)
        add(
            made,
            kind,
            type_,
            email_id(inner(one, "msg", "email")),
            seconds_ms(one.get("ts")),
            digest(*(one.get(name) for name in ("_id", "event", "ts", "url"))),
            message_id=text(one.get("_id")) or text(inner(one, "msg", "_id")),
            campaign_id=first_of(inner(one, "msg", "tags")),
            url=text(one.get("url")) if type_ == "email.clicked" else None,
            robot=robot_clicked(source, type_, one.get("user_agent")),
        )
    return made
