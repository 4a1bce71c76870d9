"""Resend's webhooks, sent by Svix: one JSON object with `type`, `created_at` and `data`.

The header `svix-id` is the event's id and stays so when it is sent again. Resend does not say whose event it is where a
message went to several people, so those are passed over. *Untested* against a live account.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, digest, email_id, iso_ms, objects_of, profile, text
from worker.intake.vendors.expressions import traits_of
from worker.intake.vendors.mail_events import NO_ADDRESS, NO_TIME, add, inner, plain_address, robot_clicked

_TYPES: Final = {
    "email.delivered": "email.delivered",
    "email.opened": "email.opened",
    "email.clicked": "email.clicked",
    "email.bounced": "email.bounced",
    "email.complained": "email.complained",
}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Resend's event. Raises `Unmapped`."""
    made = Mapped()
    for one in objects_of(inbound):
        kind, data, at_ms = text(one.get("type")) or "", one.get("data"), iso_ms(one.get("created_at"))
        id_ = inbound.headers.get("svix-id") or digest(
            kind, one.get("created_at"), inner(data, "email_id"), inner(data, "id"), inner(data, "click", "link")
        )
        if kind.startswith("contact."):
            _contact(made, kind, data, at_ms, id_, source)
            continue
        type_ = _TYPES.get(kind)
        if type_ == "email.bounced" and inner(data, "bounce", "type") not in (None, "Permanent"):
            type_ = None
        addresses = [address for name in ("to", "cc", "bcc") for address in _list(inner(data, name))]
        if type_ and len(addresses) > 1:
            made.passed_over[f"{kind} of several recipients"] += 1
            continue
        add(
            made,
            kind,
            type_,
            email_id(plain_address(addresses[0])) if addresses else None,
            at_ms,
            id_,
            message_id=text(inner(data, "email_id")),
            campaign_id=text(inner(data, "broadcast_id")),
            url=text(inner(data, "click", "link")) if type_ == "email.clicked" else None,
            robot=robot_clicked(source, type_, inner(data, "click", "userAgent")),
        )
    return made


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _contact(made: Mapped, kind: str, data: Any, at_ms: int | None, id_: str, source: Source) -> None:
    """Map a contact. `unsubscribed: false` is no subscription: every other change of the contact says so too."""
    subject = email_id(inner(data, "email"))
    if subject is None or at_ms is None:
        made.refused.append(f"{kind}: {NO_ADDRESS if subject is None else NO_TIME}")
    elif kind == "contact.deleted" and source.erase:
        made.events.append(NewEvent("lead.erased", subject, id_, at_ms))
    elif kind in ("contact.created", "contact.updated"):
        if inner(data, "unsubscribed") is True:
            add(made, kind, "email.unsubscribed", subject, at_ms, id_)
        made.events.extend(profile(subject, id_, at_ms, _traits(data, source)))
    else:
        made.passed_over[kind] += 1


def _traits(data: Any, source: Source) -> dict[str, Any]:
    own = {"first_name": text(inner(data, "first_name")), "last_name": text(inner(data, "last_name"))}
    return traits_of(source.traits, data, own)
