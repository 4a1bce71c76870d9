"""Mailchimp's audience webhooks: a form with `type`, `fired_at` and `data[…]`.

Mailchimp sends no opens or clicks. Mailchimp documents the fields of `subscribe` and `unsubscribe`. *Untested*: those of
`profile` and `cleaned`, and all against a live account. A change of address (`upemail`) is passed over.
"""

from __future__ import annotations

import re
from typing import Any, Final

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped, digest, email_id, form_of, iso_ms, profile, text
from worker.intake.vendors.expressions import traits_of
from worker.intake.vendors.mail_events import add, inner

_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){1,4})")


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map Mailchimp's event. Raises `Unmapped`."""
    made = Mapped()
    form = form_of(inbound)
    kind, fired_at, data = form.get("type", ""), form.get("fired_at"), _nested(form)
    if not kind:
        raise Unmapped("no form field `type`")
    subject, at_ms = email_id(data.get("email")), iso_ms(fired_at)
    id_ = digest(kind, fired_at, data.get("id"), data.get("list_id"), data.get("email"))
    if kind == "unsubscribe" and data.get("action") == "delete" and source.erase and subject and at_ms is not None:
        made.events.append(NewEvent("lead.erased", subject, id_, at_ms))
        return made
    _answer(made, kind, data, subject, at_ms, id_)
    if kind in ("subscribe", "profile") and subject and at_ms is not None:
        merges = data.get("merges")
        own = {"first_name": text(inner(merges, "FNAME")), "last_name": text(inner(merges, "LNAME"))}
        made.events.extend(profile(subject, id_, at_ms, traits_of(source.traits, data, own)))
    elif kind == "profile":
        made.refused.append("profile: no address of a person, or no time that can be read")
    return made


def _answer(made: Mapped, kind: str, data: dict[str, Any], subject: str | None, at_ms: int | None, id_: str) -> None:
    """Add what the person did about mails. A `profile` is no such thing."""
    if kind == "profile":
        return
    type_ = _type(kind, data)
    campaign = text(data.get("campaign_id"))
    on_list = type_ == "email.subscribed"
    add(
        made,
        kind,
        type_,
        subject,
        at_ms,
        id_,
        message_id=f"campaign:{campaign}" if campaign and not on_list else None,
        campaign_id=None if on_list else campaign,
        list=text(data.get("list_id")) if on_list else None,
    )


def _type(kind: str, data: dict[str, Any]) -> str | None:
    """Return our type. An address that was deleted from the audience by its owner did not unsubscribe."""
    reason = data.get("reason")
    if kind == "subscribe":
        return "email.subscribed"
    if kind not in ("unsubscribe", "cleaned"):
        return None
    if reason == "abuse":
        return "email.complained"
    if kind == "cleaned":
        return "email.bounced"
    return None if data.get("action") == "delete" else "email.unsubscribed"


def _nested(form: dict[str, str]) -> dict[str, Any]:
    """Return the fields `data[a][b]` as nested objects."""
    found: dict[str, Any] = {}
    for name, value in form.items():
        matched = _NAME.fullmatch(name)
        if matched is None or matched[1] != "data":
            continue
        *path, last = matched[2][1:-1].split("][")
        at = found
        for step in path:
            held = at.setdefault(step, {})
            at = held if isinstance(held, dict) else {}
        at[last] = value
    return found
