"""HubSpot: lists of changes of contacts and deals, each with ids alone.

Fields by HubSpot's guide "Webhooks". Both forms of a subscription are read: `contact.propertyChange`, and
`object.propertyChange` with `objectTypeId`. A contact's id is the lead. Whose deal it is, and what a new contact is, comes
from the API. There, a contact that was made for a lead has the lead's own id. Without `api`, deals say nothing. Untested
against a live account.

`traits` of the source see a contact's properties by their names, as in `seniority: hs_seniority`. A webhook holds one property.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from worker.connections.sources import HubSpot, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Lookup, Mapped, NewEvent, Unmapped, digest, millis_ms, objects_of, present, text
from worker.intake.vendors.records import (
    changed_traits,
    fields_of,
    inside,
    is_own,
    learn,
    listed,
    number,
    object_of,
    path_part,
    stage_type,
)

_TRAITS: Final = {
    "email": "email",
    "first_name": "firstname",
    "last_name": "lastname",
    "role": "jobtitle",
    "phone": "phone",
    "country": "country",
    "company.name": "company",
    "company.domain": "website",
    "company.industry": "industry",
    "company.size": "numemployees",
}
_STATUSES: Final = ("hs_lead_status", "lifecyclestage")
"""Properties of a contact whose values `stages` may name, beside the stages of deals."""

_OBJECTS: Final = {"0-1": "contact", "0-3": "deal"}
_DEAL: Final = "{{objects}}/deals/{}?properties=dealstage,amount,hubspot_owner_id,closed_lost_reason&associations=contacts"
_CONTACT: Final = "{{objects}}/contacts/{}?properties={},{{id_property}}"
_OWNER: Final = "{{objects}}/contacts/{}?properties={{id_property}}"
_ALWAYS: Final = frozenset({"createdate", "hs_object_id", "lastmodifieddate"})
"""Properties that each answer has, asked for or not (guide "Contacts", examples)."""
_ADDRESS: Final = "email:"
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map a list of changes, or the answer to a look-up. Raises `Unmapped`."""
    if inbound.kind == "lookup":
        return _answer(object_of(inbound), inbound.about, source)
    made = Mapped()
    for one in objects_of(inbound):
        try:
            _change(one, source, made)
        except Unmapped as error:  # the other changes of the list are as good as before
            made.refused.append(str(error))
    return made


def _change(one: dict[str, Any], source: Source, made: Mapped) -> None:
    noun, _, verb = str(one.get("subscriptionType")).partition(".")
    if noun == "object":
        noun = _OBJECTS.get(str(one.get("objectTypeId")), noun)
    kind, subject, at_ms = f"{noun}.{verb}", text(one.get("objectId")), millis_ms(one.get("occurredAt"))
    if noun not in ("contact", "deal"):
        made.passed_over[kind] += 1
        return
    if subject is None or at_ms is None:
        made.refused.append(f"{kind} without objectId or occurredAt")
        return
    if is_own(one.get("propertyName")) or (_by_us(one) and kind != "contact.creation"):  # its new id is news
        made.passed_over["our own change"] += 1
        return
    id_ = digest(one.get("subscriptionId"), one.get("eventId"), subject, at_ms, one.get("propertyName"))
    match kind:
        case "contact.propertyChange":
            _property(one, NewEvent("profile.updated", subject, id_, at_ms), source, made)
        case "contact.creation" if _api(source):
            names = quote(",".join(_names(source)), safe=",")
            made.lookups.append(Lookup(_CONTACT.format(path_part(subject), names), _about("contact", subject, id_, at_ms)))
        case "contact.privacyDeletion":
            made.events.append(NewEvent("lead.erased", subject, id_, at_ms))
        case "contact.deletion" if source.erase:
            made.events.append(NewEvent("lead.erased", subject, id_, at_ms))
        case "deal.propertyChange" if one.get("propertyName") == "dealstage":
            _stage(one, subject, id_, at_ms, source, made)
        case _:
            made.passed_over[kind] += 1


def _by_us(one: dict[str, Any]) -> bool:
    """Return whether the app that gets this webhook made the change."""
    app = text(one.get("appId"))
    return one.get("changeSource") == "INTEGRATION" and app is not None and text(one.get("sourceId")) == app


def _api(source: Source) -> bool:
    return isinstance(source, HubSpot) and bool(source.api)


def _about(ask: str, subject: str, id_: str, at_ms: int, **more: str) -> dict[str, str]:
    return {"ask": ask, "object": subject, "id": id_, "at_ms": str(at_ms), **more}


def _property(one: dict[str, Any], new: NewEvent, source: Source, made: Mapped) -> None:
    """One property of a contact: a status that `stages` names, traits, or nothing."""
    name, value = text(one.get("propertyName")) or "", one.get("propertyValue")
    type_ = stage_type(source, value) if name in _STATUSES else None
    if type_ is not None:
        made.events.append(NewEvent(type_, new.subject, new.id, new.at_ms))
    traits = changed_traits(source, {name: value}, _TRAITS)
    if traits:
        made.events.append(NewEvent("profile.updated", new.subject, new.id, new.at_ms, {"traits": traits}))
    elif type_ is None:
        made.passed_over["contact.propertyChange of another property"] += 1


def _names(source: Source) -> list[str]:
    """Return the properties to ask for: the vendor's own, and those that the source's expressions name plainly."""
    wanted = (expression for expression in source.traits.values() if _PLAIN_NAME.fullmatch(expression))
    return list(dict.fromkeys([*_TRAITS.values(), *wanted]))


def _stage(one: dict[str, Any], deal: str, id_: str, at_ms: int, source: Source, made: Mapped) -> None:
    type_ = stage_type(source, one.get("propertyValue"))
    if type_ is None:
        made.passed_over["dealstage that `stages` does not name"] += 1
    elif not _api(source):
        made.passed_over["dealstage without api"] += 1
    else:
        about = _about("deal", deal, id_, at_ms, type=type_)
        made.lookups.append(Lookup(_DEAL.format(path_part(deal)), about))


def _answer(held: dict[str, Any], about: dict[str, str], source: Source) -> Mapped:
    subject, id_, at_ms = about.get("object"), about.get("id"), millis_ms(about.get("at_ms"))
    properties = held.get("properties")
    if subject is None or id_ is None or at_ms is None or not isinstance(properties, dict):
        raise Unmapped(f"no answer about {about.get('ask')}: {text(held.get('message')) or 'properties are missing'}")
    match about.get("ask"):
        case "contact":
            made = Mapped()
            own = _own_id(properties, _names(source))
            lead = subject if own is None or own.startswith(_ADDRESS) else own  # the address is linked to the contact's id
            learn(made, source, lead, id_, at_ms, properties, fields_of(properties, _TRAITS))
            return made
        case "deal":
            return _deal(held, properties, about)
        case "owner":
            new = NewEvent(about.get("type", ""), _own_id(properties) or subject, id_, at_ms, _data(about))
            return Mapped(events=[new])
        case ask:
            raise Unmapped(f"nothing is known of the look-up {ask!r}")


def _own_id(properties: dict[str, Any], asked: Sequence[str] = ()) -> str | None:
    """Return the id of the lead for whom the contact was made: the property beside those *asked* for. `None`: it has none."""
    values = [text(value) for name, value in properties.items() if name not in _ALWAYS and name not in asked]
    return values[0] if len(values) == 1 else None


def _data(about: dict[str, str]) -> dict[str, Any]:
    """Return the event's data that the look-up of the deal left. Raises `Unmapped`."""
    try:
        return msgspec.json.decode(about.get("data", "{}"), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Unmapped(f"the look-up's data cannot be read: {error}") from error


def _deal(held: dict[str, Any], properties: dict[str, Any], about: dict[str, str]) -> Mapped:
    """Ask for each contact of a deal which lead it was made for. A deal tells the ids of contacts alone."""
    made = Mapped()
    data = present(
        amount=number(properties.get("amount")),
        owner=text(properties.get("hubspot_owner_id")),
        reason=text(properties.get("closed_lost_reason")) if about.get("type") == "crm.lost" else None,
    )
    told = msgspec.json.encode(data).decode()
    contacts = (text(one.get("id")) for one in listed(inside(held, "associations", "contacts", "results")))
    for contact in dict.fromkeys(contacts):  # one contact stands once for each label of its association
        if contact is not None:
            asked = {**about, "ask": "owner", "object": contact, "id": digest(about.get("id"), contact), "data": told}
            made.lookups.append(Lookup(_OWNER.format(path_part(contact)), asked))
    if not made.lookups:
        made.passed_over["deal without contacts"] += 1
    return made
