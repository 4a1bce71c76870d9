"""Amazon SES by SNS: an envelope of SNS whose `Message` is JSON as a text.

SES has two forms of it, event publishing (`eventType`) and notifications (`notificationType`), which are read alike. An open
or click does not say whose it is, so of a message to several people it is passed over. *Untested* against a live account.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, Unmapped, digest, email_id, iso_ms, objects_of, text
from worker.intake.vendors.mail_events import add, first_of, inner, plain_address, robot_clicked

_TYPES: Final = {
    "Delivery": "email.delivered",
    "Open": "email.opened",
    "Click": "email.clicked",
    "Bounce": "email.bounced",
    "Complaint": "email.complained",
    "Subscription": "email.unsubscribed",
}
_VALIDATED: Final = "Successfully validated SNS topic"
"""SES writes this plain text to a topic once, when it is set up."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a message of SNS. Raises `Unmapped`."""
    made = Mapped()
    for envelope in objects_of(inbound):
        message = envelope.get("Message")
        if envelope.get("Type") != "Notification" or str(message).startswith(_VALIDATED):
            made.passed_over[text(envelope.get("Type")) or "?"] += 1
            continue
        try:
            one = msgspec.json.decode(message) if isinstance(message, str) else None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise Unmapped(f"`Message` is not JSON: {error}") from error
        if not isinstance(one, dict):
            raise Unmapped("`Message` is no JSON object as a text")
        _event(made, envelope, one, source)
    return made


def _event(made: Mapped, envelope: dict[str, Any], one: dict[str, Any], source: Source) -> None:
    kind = text(one.get("eventType")) or text(one.get("notificationType")) or ""
    about = one.get(kind.lower())
    type_ = _type(kind, about)
    addresses = list(_addresses(kind, about, one))
    if len(addresses) > 1 and type_ in ("email.opened", "email.clicked"):
        made.passed_over[f"{kind} of several recipients"] += 1
        return
    at_ms = iso_ms(inner(about, "timestamp"))
    sns_id = text(envelope.get("MessageId")) or digest(envelope.get("Message"))
    for address in addresses or [None]:
        add(
            made,
            kind,
            type_,
            email_id(address),
            iso_ms(envelope.get("Timestamp")) if at_ms is None else at_ms,
            sns_id if len(addresses) < 2 else digest(sns_id, address),
            message_id=text(inner(one, "mail", "messageId")),
            campaign_id=first_of(inner(one, "mail", "tags", "campaign")) if type_ != "email.subscribed" else None,
            list=text(inner(about, "contactList")) if type_ == "email.subscribed" else None,
            url=text(inner(about, "link")) if type_ == "email.clicked" else None,
            robot=robot_clicked(source, type_, inner(about, "userAgent")),
        )


def _type(kind: str, about: Any) -> str | None:
    if kind == "Bounce" and inner(about, "bounceType") != "Permanent":
        return None
    if kind == "Subscription":
        now, before = (inner(about, name, "unsubscribeAll") for name in ("newTopicPreferences", "oldTopicPreferences"))
        return _TYPES.get(kind) if now is True else _subscribed(now, before)
    return _TYPES.get(kind)


def _subscribed(now: Any, before: Any) -> str | None:
    """Return our type where a person had left all lists, and is back."""
    return "email.subscribed" if before is True and now is False else None


def _addresses(kind: str, about: Any, one: dict[str, Any]) -> Iterator[str | None]:
    """Yield whom it is about, each once: those that SES names, else those that the message went to."""
    named = {"Bounce": "bouncedRecipients", "Complaint": "complainedRecipients", "Delivery": "recipients"}.get(kind)
    found = inner(about, named) if named else inner(one, "mail", "destination")
    yield from dict.fromkeys(
        plain_address(inner(held, "emailAddress") if isinstance(held, dict) else held)
        for held in (found if isinstance(found, list) else [])
    )
