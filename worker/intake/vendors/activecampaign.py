"""ActiveCampaign: one form-encoded event, with brackets in the names: `contact[email]`.

Fields by ActiveCampaign's page "Webhooks", as digests give it, and events of live accounts that public projects recorded.
Untested against a live account. A contact's id is the lead.

Our own writes come back as `update` with `initiated_from=api`, and are passed over. ActiveCampaign does not say what an update
has changed. `traits` of the source see the contact, with its own fields in `fields`, as in `seniority: fields.seniority`.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, NewEvent, Unmapped, digest, email_id, iso_ms, present, text
from worker.intake.vendors.records import address_in, fields_of, inside, learn, number, object_of, stage_type

_TRAITS: Final = {
    "email": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "phone": "phone",
    "company.name": "orgname",
}
_MAILS: Final = {
    "open": "email.opened",
    "click": "email.clicked",
    "reply": "email.replied",
    "bounce": "email.bounced",
    "unsubscribe": "email.unsubscribed",
}
_STATUSES: Final = {"0": "open", "1": "won", "2": "lost"}
"""Words by which `stages` may name a deal's status."""

_MOST_FIELDS: Final = 10_000
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY: Final = re.compile(r"\[([^\[\]]*)\]")
_DEEPEST: Final = 8


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one event. Raises `Unmapped`."""
    held = object_of(inbound) if inbound.body.lstrip()[:1] == b"{" else _form(inbound.body)
    kind, at_ms, made = str(held.get("type")), iso_ms(held.get("date_time")), Mapped()
    contact, deal = held.get("contact"), held.get("deal")
    if kind not in (*_MAILS, "subscribe", "update", "deal_add", "deal_update"):
        made.passed_over[kind] += 1
        return made
    if at_ms is None:
        raise Unmapped(f"{kind} without date_time")
    if kind == "update" and held.get("initiated_from") == "api":
        made.passed_over["our own change"] += 1
        return made
    if kind == "bounce" and inside(held, "bounce", "type") == "soft":
        made.passed_over["soft bounce"] += 1
        return made
    if kind.startswith("deal_"):
        _deal(kind, held, deal, at_ms, source, made)
        return made
    email = address_in(inside(contact, "email"))
    subject = _id(inside(contact, "id")) or email_id(email)
    if subject is None:
        raise Unmapped(f"{kind} without contact[id] and contact[email]")
    id_ = digest(kind, subject, at_ms, inside(held, "campaign", "id"), inside(held, "link", "url"))
    if kind in _MAILS:
        made.events.append(NewEvent(_MAILS[kind], subject, id_, at_ms, _mail(held)))
        learn(made, source, subject, id_, at_ms, contact, present(email=email))
        return made
    learn(made, source, subject, id_, at_ms, contact, fields_of(contact, _TRAITS))
    if kind == "subscribe" and held.get("initiated_from") == "public":  # others were put on the list by somebody
        made.events.append(NewEvent("email.subscribed", subject, id_, at_ms, present(list=_id(held.get("list")))))
    return made


def _form(body: bytes) -> dict[str, Any]:
    """Return a form's fields, nested by the brackets in their names. Raises `Unmapped`."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Unmapped(f"the body is no form: {error}") from error
    held: dict[str, Any] = {}
    for name, value in pairs:
        if found := _NAME.fullmatch(name):
            _put(held, [found[1], *_KEY.findall(found[2])][:_DEEPEST], value)
    return held


def _put(held: dict[str, Any], path: list[str], value: str) -> None:
    *way, last = path
    for name in way:
        below = held.setdefault(name, {})
        if not isinstance(below, dict):
            return
        held = below
    held.setdefault(last or str(len(held)), value)


def _id(value: Any) -> str | None:
    """Return an id; 0 stands for none."""
    found = text(value)
    return None if found == "0" else found


def _mail(held: dict[str, Any]) -> dict[str, Any]:
    campaign = _id(inside(held, "campaign", "id"))
    message = _id(inside(held, "campaign", "message", "id"))
    found = present(campaign_id=campaign, url=text(inside(held, "link", "url")))
    return {"message_id": message or campaign or "", **found}


def _deal(kind: str, held: dict[str, Any], deal: Any, at_ms: int, source: Source, made: Mapped) -> None:
    status = _STATUSES.get(str(inside(deal, "status")))
    stages = (inside(deal, "stageid"), inside(deal, "stage_title"))
    type_ = stage_type(source, status, *stages)
    number_ = _id(inside(deal, "id"))
    email = address_in(inside(deal, "contact_email")) or address_in(inside(held, "contact", "email"))
    subject = _id(inside(deal, "contactid")) or _id(inside(held, "contact", "id")) or email_id(email)
    if type_ is None:
        made.passed_over[f"{kind} to a stage that `stages` does not name"] += 1
        return
    if number_ is None or subject is None:
        raise Unmapped(f"{kind} without deal[id], deal[contactid] or deal[contact_email]")
    # An update may be of any field. So a deal is in a stage once.
    id_ = digest("deal", number_, type_, status, stages[0])
    data = present(
        amount=_amount(deal),
        owner=" ".join(word for name in ("firstname", "lastname") if (word := text(inside(deal, f"owner_{name}")))),
    )
    made.events.append(NewEvent(type_, subject, id_, at_ms, data))
    learn(made, source, subject, id_, at_ms, held.get("contact"), present(email=email))


def _amount(deal: Any) -> float | None:
    raw = number(inside(deal, "value_raw"))
    return raw if raw is not None else number(inside(deal, "value"))
