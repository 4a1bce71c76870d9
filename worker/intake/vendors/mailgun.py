"""Mailgun's webhooks: `{"signature": {…}, "event-data": {…}}`, one event.

The signature covers its time and token, not the event. The token is the event's id: Mailgun promises that `event-data.id` is
unique within a day only. A route hands mails on as a form. The legacy webhooks of before 2018 are forms too, and are not read.
*Untested* against a live account.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.connections.sources import Source
from worker.intake.forms import form_fields, is_form
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, Unmapped, digest, email_id, objects_of, seconds_ms, text
from worker.intake.vendors.mail_events import add, first_of, inner, machine, plain_address, robot_clicked
from worker.intake.vendors.replies import add_mail

_TYPES: Final = {
    "delivered": "email.delivered",
    "opened": "email.opened",
    "clicked": "email.clicked",
    "failed": "email.bounced",
    "complained": "email.complained",
    "unsubscribed": "email.unsubscribed",
}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Mailgun's event. Raises `Unmapped`."""
    made = Mapped()
    if is_form(inbound.content_type):
        _mail(made, inbound)
        return made
    for whole in objects_of(inbound):
        one = whole.get("event-data")
        if not isinstance(one, dict):
            raise Unmapped("no `event-data`: the webhook is not in Mailgun's form of since 2018")
        kind = text(one.get("event")) or ""
        type_ = _TYPES.get(kind)
        if type_ == "email.bounced" and one.get("severity") != "permanent":
            type_ = None  # a deferral: Mailgun tries again
        client = one.get("client-info")
        add(
            made,
            kind,
            type_,
            email_id(one.get("recipient")),
            seconds_ms(one.get("timestamp")),
            _id(whole, one),
            message_id=text(inner(one, "message", "headers", "message-id")),
            campaign_id=first_of(one.get("tags")),
            url=text(one.get("url")) if type_ == "email.clicked" else None,
            machine=machine(_bot(client)),
            robot=robot_clicked(source, type_, inner(client, "user-agent")),
        )
    return made


def _mail(made: Mapped, inbound: Inbound) -> None:
    """Map a mail that a route hands on."""
    try:
        fields = form_fields(inbound.body, inbound.content_type)
    except ValueError as error:
        raise Unmapped(f"the body is no form: {error}") from error
    if "event" in fields:
        raise Unmapped("a webhook in Mailgun's form of before 2018")
    try:
        headers = msgspec.convert(msgspec.json.decode(fields.get("message-headers") or "[]"), list[tuple[Any, Any]])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unmapped(f"`message-headers` is no list of pairs: {error}") from error
    sender = plain_address(fields.get("from")) or fields.get("sender")
    own = next((value for name, value in headers if str(name).lower() == "message-id"), fields.get("Message-Id"))
    add_mail(made, headers, own or fields.get("token"), sender, inbound.received_ms, date=fields.get("Date"))


def _bot(client: Any) -> bool:
    """Whether Mailgun names a robot or a privacy proxy: the name stands in `client-info.bot`, which is else empty."""
    named = inner(client, "bot")
    return bool(text(named)) or named is True


def _id(whole: dict[str, Any], one: dict[str, Any]) -> str:
    return text(inner(whole, "signature", "token")) or digest(
        *(one.get(name) for name in ("id", "event", "timestamp", "recipient", "url"))
    )
