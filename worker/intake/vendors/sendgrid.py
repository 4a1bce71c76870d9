"""SendGrid's event webhook: a JSON list of events of many messages.

Fields as in Twilio's page "Event Webhook Reference". Custom arguments are merged into each event, so an argument may carry
the name of a field. *Untested* against a live account.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import SendGrid, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, digest, email_id, objects_of, seconds_ms, text
from worker.intake.vendors.mail_events import add, machine, robot_clicked

_TYPES: Final = {
    "delivered": "email.delivered",
    "open": "email.opened",
    "click": "email.clicked",
    "bounce": "email.bounced",
    "spamreport": "email.complained",
    "unsubscribe": "email.unsubscribed",
}
_GROUP_TYPES: Final = {"group_unsubscribe": "email.unsubscribed", "group_resubscribe": "email.subscribed"}
_DROPPED_AS_BOUNCED: Final = ("bounced address", "invalid")
"""Reasons of a `dropped` message that are a bounce: the address does not take mail."""

_SERVER_PARTS: Final = ("filter", "recvd")
"""What the part of `sg_message_id` begins with that names a server of SendGrid's, not the message."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a list of SendGrid's events. Raises `Unmapped`."""
    made = Mapped()
    groups = isinstance(source, SendGrid) and source.groups == "unsubscribe"
    for one in objects_of(inbound):
        kind, agent = text(one.get("event")) or "", one.get("useragent")
        type_ = _type(kind, one, groups)
        add(
            made,
            kind,
            type_,
            email_id(one.get("email")),
            seconds_ms(one.get("timestamp")),
            _id(one),
            message_id=_message(one),
            campaign_id=_campaign(one),
            url=text(one.get("url")) if type_ == "email.clicked" else None,
            machine=machine(kind == "open" and _true(one.get("sg_machine_open"))),
            robot=robot_clicked(source, type_, agent),
        )
    return made


def _campaign(one: dict[str, Any]) -> str | None:
    named = text(one.get("singlesend_id")) or text(one.get("marketing_campaign_id"))
    return named or _category(one.get("category"))


def _type(kind: str, one: dict[str, Any], groups: bool) -> str | None:
    if kind == "dropped":
        reason = str(one.get("reason", "")).strip().lower()
        return "email.bounced" if reason.startswith(_DROPPED_AS_BOUNCED) else None
    if kind == "bounce" and one.get("type") == "blocked":
        return None  # the server refused this message, not the address
    return _TYPES.get(kind) or (_GROUP_TYPES.get(kind) if groups else None)


def _true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _id(one: dict[str, Any]) -> str:
    return text(one.get("sg_event_id")) or digest(
        *(one.get(name) for name in ("sg_message_id", "event", "timestamp", "email", "url"))
    )


def _message(one: dict[str, Any]) -> str | None:
    """Return the message: `sg_message_id` up to the first dot. Behind it stands where SendGrid handled it."""
    whole = text(one.get("sg_message_id"))
    if whole is None:
        return text(one.get("smtp-id"))
    first = whole.partition(".")[0]
    return whole if not first or first.startswith(_SERVER_PARTS) else first


def _category(value: Any) -> str | None:
    return text(value[0]) if isinstance(value, list) and value else text(value)
