"""SendGrid's event webhook: a JSON list of events of many messages.

Fields by Twilio's page "Event Webhook Reference". Custom arguments are merged into each event, so an argument
may carry the name of a field. Fields are taken by their documented types only.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import SendGrid, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, digest, email_id, objects_of, present, seconds_ms, text

_TYPES: Final = {
    "delivered": "email.delivered",
    "open": "email.opened",
    "click": "email.clicked",
    "bounce": "email.bounced",
    "spamreport": "email.complained",
    "unsubscribe": "email.unsubscribed",
}
_GROUP_TYPES: Final = {"group_unsubscribe": "email.unsubscribed", "group_resubscribe": "email.subscribed"}
_BOUNCED: Final = ("bounced address", "invalid", "bounced")
"""Reasons of a `dropped` message that are a bounce: the address does not take mail."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a list of SendGrid's events. Raises `Unmapped`."""
    made = Mapped()
    groups = isinstance(source, SendGrid) and source.groups == "unsubscribe"
    for one in objects_of(inbound):
        kind = str(one.get("event"))
        type_ = _TYPES.get(kind) or (_GROUP_TYPES.get(kind) if groups else None)
        if kind == "dropped" and str(one.get("reason", "")).lower().startswith(_BOUNCED):
            type_ = "email.bounced"
        if kind == "bounce" and one.get("type") == "blocked":
            type_ = None  # the server refused this message, not the address
        subject, at_ms = email_id(one.get("email")), seconds_ms(one.get("timestamp"))
        if type_ is None or subject is None or at_ms is None:
            made.passed_over[kind if type_ is None else f"{kind} without email or timestamp"] += 1
            continue
        made.events.append(NewEvent(type_, subject, _id(one), at_ms, _data(one, type_)))
    return made


def _id(one: dict[str, Any]) -> str:
    return text(one.get("sg_event_id")) or digest(
        *(one.get(name) for name in ("sg_message_id", "event", "timestamp", "email", "url"))
    )


def _data(one: dict[str, Any], type_: str) -> dict[str, Any]:
    message = text(one.get("sg_message_id")) or text(one.get("smtp-id")) or ""
    campaign = text(one.get("singlesend_id")) or text(one.get("marketing_campaign_id")) or _category(one.get("category"))
    found = present(
        message_id=message.partition(".")[0],
        campaign_id=campaign,
        url=text(one.get("url")),
        machine=True if type_ == "email.opened" and str(one.get("sg_machine_open")).lower() == "true" else None,
    )
    return {"message_id": "", **found}


def _category(value: Any) -> str | None:
    return text(value[0]) if isinstance(value, list) and value else text(value)
