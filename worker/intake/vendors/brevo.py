"""Brevo's webhooks, transactional and marketing: one JSON object, or a list of them where the webhook is `batched`.

Only `ts_epoch` is UTC whatever the account's time zone (as django-anymail found). Marketing events have `ts_event`.
It may be wrong by the zone's offset, and is held to when the event was received. *Untested*: the fields of
marketing events, the form of batches, and all against a live account.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    Mapped,
    NewEvent,
    digest,
    email_id,
    millis_ms,
    objects_of,
    profile,
    seconds_ms,
    text,
)
from worker.intake.vendors.expressions import traits_of
from worker.intake.vendors.mail_events import NO_ADDRESS, add, first_of, inner, machine
from worker.intake.vendors.records import listed
from worker.intake.vendors.replies import add_mail

_TYPES: Final = {
    "delivered": "email.delivered",
    "opened": "email.opened",
    "unique_opened": "email.opened",
    "proxy_open": "email.opened",
    "unique_proxy_open": "email.opened",
    "click": "email.clicked",
    "hard_bounce": "email.bounced",
    "invalid_email": "email.bounced",
    "spam": "email.complained",
    "complaint": "email.complained",
    "unsubscribe": "email.unsubscribed",
    "unsubscribed": "email.unsubscribed",
}
"""A soft bounce, a deferral and a block say nothing about the address. An addition to a list is the sender's own act."""

_LEAST_MS: Final = 100_000_000_000
"""Less than this are seconds, not milliseconds: Brevo's own examples show `ts_epoch` in both."""


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Brevo's events. Raises `Unmapped`."""
    made = Mapped()
    for one in objects_of(inbound):
        if "items" in one:
            _mails(made, one["items"], inbound.received_ms)
            continue
        kind = text(one.get("event")) or ""
        at_ms = _at(one, inbound.received_ms)
        if kind in ("contact_updated", "contact_deleted"):
            _contact(made, kind, one, inbound.received_ms if at_ms is None else at_ms, source)
            continue
        campaign = text(one.get("camp_id"))
        type_ = _TYPES.get(kind)
        add(
            made,
            kind,
            type_,
            email_id(one.get("email")),
            at_ms,
            _id(one),
            message_id=text(one.get("message-id")) or (f"campaign:{campaign}" if campaign else None),
            campaign_id=campaign or _tag(one),
            url=(text(one.get("link")) or text(one.get("URL"))) if type_ == "email.clicked" else None,
            machine=machine(kind.endswith("proxy_open")),
        )
    return made


def _mails(made: Mapped, items: Any, received_ms: int) -> None:
    """Mails of "inbound parse": Brevo sends those in `items`."""
    for mail in listed(items):
        held = mail.get("Headers")
        headers = [
            (name, value)
            for name, values in (held.items() if isinstance(held, dict) else ())
            for value in (values if isinstance(values, list) else [values])
        ]
        id_ = first_of(mail.get("Uuid")) or mail.get("MessageId")
        sender, date = inner(mail, "From", "Address"), mail.get("SentAtDate")
        add_mail(made, headers, id_, sender, received_ms, date=date, answers=mail.get("InReplyTo"))


def _id(one: dict[str, Any]) -> str:
    """Return a hash of what is stable: Brevo's events have no id."""
    time = next((one[name] for name in ("ts_epoch", "s_epoch", "ts_event", "ts", "date") if name in one), None)
    names = ("event", "message-id", "camp_id", "email", "link", "URL")
    return digest(time, *(one.get(name) for name in names))


def _at(one: dict[str, Any], received_ms: int) -> int | None:
    for name in ("ts_epoch", "s_epoch"):
        at_ms = millis_ms(one.get(name))
        if at_ms is not None:
            return at_ms if at_ms >= _LEAST_MS else seconds_ms(one.get(name))
    local_ms = next((at for name in ("ts_event", "ts") if (at := seconds_ms(one.get(name))) is not None), None)
    return None if local_ms is None else min(local_ms, max(received_ms, 0))


def _as_list(value: Any) -> Any:
    """Return the list that a text writes in JSON; any other value as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def _tag(one: dict[str, Any]) -> str | None:
    """Return the first tag: of the list `tags`, or of `tag`, which is a text, a list, or a JSON list as a text."""
    for value in (one.get("tags"), one.get("tag")):
        found = _as_list(value)
        if isinstance(found, list):
            found = found[0] if found else None
        if tag := text(found):
            return tag
    return None


def _contact(made: Mapped, kind: str, one: dict[str, Any], at_ms: int, source: Source) -> None:
    addresses = one.get("email")
    subjects = [email_id(address) for address in (addresses if isinstance(addresses, list) else [addresses])]
    if (kind == "contact_deleted" and not source.erase) or (kind == "contact_updated" and not source.traits):
        made.passed_over[kind] += 1
        return
    for subject in subjects:
        id_ = digest(kind, subject, one.get("id"), one.get("ts"), one.get("date"))
        if subject is None:
            made.refused.append(f"{kind}: {NO_ADDRESS}")
        elif kind == "contact_deleted":
            made.events.append(NewEvent("lead.erased", subject, id_, at_ms))
        else:
            made.events.extend(profile(subject, id_, at_ms, traits_of(source.traits, one)))
