"""Zoho CRM notifications: ids of records, with the values that have changed where the channel asks for them.

Fields as in notifications of a live account that a public project recorded, with `return_affected_field_values`. Answers by
Zoho's OpenAPI document of version 8. Untested against a live account. The id of a lead or contact is our lead.

A deal does not name its contact, and a new record not its fields. With `api`, they are asked for. `traits` of the source see
a record's fields by their API names.
"""

from __future__ import annotations

from typing import Any, Final

from worker.connections.sources import Crm, Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Lookup, Mapped, NewEvent, Unmapped, digest, millis_ms, present, text
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
    "email": "Email",
    "first_name": "First_Name",
    "last_name": "Last_Name",
    "role": "Designation",
    "phone": "Phone",
    "country": "Country",
    "company.name": "Company",
    "company.domain": "Website",
    "company.industry": "Industry",
    "company.size": "No_of_Employees",
}
_CONTACT_TRAITS: Final = {"role": "Title", "country": "Mailing_Country"}
_PEOPLE: Final = ("Leads", "Contacts")
_STAGES: Final = {"Deals": "Stage", "Leads": "Lead_Status", "Contacts": "Lead_Status"}


def events(inbound: Inbound, source: Source) -> Mapped:
    """Map one notification, or the answer to a look-up. Raises `Unmapped`."""
    held = object_of(inbound)
    if inbound.kind == "lookup":
        return _answer(held, inbound.about, source)
    made = Mapped()
    module, operation, at_ms = str(held.get("module")), str(held.get("operation")), millis_ms(held.get("server_time"))
    if module not in _STAGES or operation not in ("insert", "update", "delete"):
        made.passed_over[f"{module}.{operation}"] += 1
        return made
    at_ms = inbound.received_ms if at_ms is None else at_ms
    values = {text(one.get("record_id")): one.get("values") for one in listed(held.get("affected_values"))}
    ids = held.get("ids")
    for record in dict.fromkeys(map(text, ids if isinstance(ids, list) else values)):
        if record is None:
            continue
        changed = values.get(record)
        id_ = digest(module, record, operation, held.get("server_time"))
        if operation == "delete":
            _deleted(module, NewEvent("lead.erased", record, id_, at_ms), source, made)
        elif _all_own(changed, held.get("affected_fields"), record):
            made.passed_over["our own change"] += 1
        else:
            _changed(module, NewEvent("", record, id_, at_ms), changed if isinstance(changed, dict) else {}, source, made)
    return made


def _deleted(module: str, erased: NewEvent, source: Source, made: Mapped) -> None:
    if module in _PEOPLE and source.erase:
        made.events.append(erased)
    else:
        made.passed_over[f"{module}.delete"] += 1


def _all_own(changed: Any, affected: Any, record: str) -> bool:
    """Return whether nothing but our own fields has changed."""
    found = [name for name in _names_of(changed, affected, record) if name != "Modified_Time"]
    return bool(found) and all(is_own(name) for name in found)


def _names_of(changed: Any, affected: Any, record: str) -> list[Any]:
    names: list[Any] = list(changed) if isinstance(changed, dict) else []
    for one in listed(affected):
        more = one.get(record)
        names += more if isinstance(more, list) else []
    return names


def _changed(module: str, new: NewEvent, values: dict[str, Any], source: Source, made: Mapped) -> None:
    api = isinstance(source, Crm) and bool(source.api)
    type_ = stage_type(source, values.get(_STAGES[module]))
    if module in _PEOPLE and values:
        made.events += _status(module, new, values, source)
        try:
            traits = changed_traits(source, values, _names(module))
        except Unmapped as error:  # the other records are as good as before
            made.refused.append(f"profile.updated {new.id}: {error}")
            return
        if traits:
            made.events.append(NewEvent("profile.updated", new.subject, new.id, new.at_ms, {"traits": traits}))
        if not traits and type_ is None:
            made.passed_over[f"{module} of no trait"] += 1
    elif values and type_ is None:
        made.passed_over["Deals.Stage that `stages` does not name"] += 1
    elif api:
        made.lookups.append(_lookup(module, new, present(type=type_)))
    else:
        made.passed_over[f"{module} without values or api"] += 1


def _lookup(module: str, new: NewEvent, more: dict[str, str]) -> Lookup:
    about = {"ask": module, "object": new.subject, "id": new.id, "at_ms": str(new.at_ms), **more}
    return Lookup(f"/crm/v8/{module}/{path_part(new.subject)}", about)


def _person(module: str, new: NewEvent, values: dict[str, Any], source: Source) -> Mapped:
    own = fields_of(values, _names(module))
    if company := text(inside(values, "Account_Name", "name")):
        own["company.name"] = company
    made = Mapped(_status(module, new, values, source))
    learn(made, source, new.subject, new.id, new.at_ms, values, own)
    return made


def _names(module: str) -> dict[str, str]:
    return {**_TRAITS, **_CONTACT_TRAITS} if module == "Contacts" else _TRAITS


def _status(module: str, new: NewEvent, values: dict[str, Any], source: Source) -> list[NewEvent]:
    status = values.get(_STAGES[module])
    type_ = stage_type(source, status)
    id_ = digest(module, new.subject, _STAGES[module], status)  # asked for again, it is the same
    return [NewEvent(type_, new.subject, id_, new.at_ms)] if type_ is not None else []


def _answer(held: dict[str, Any], about: dict[str, str], source: Source) -> Mapped:
    records, module, at_ms = listed(held.get("data")), about.get("ask"), millis_ms(about.get("at_ms"))
    record, id_ = about.get("object"), about.get("id")
    if not records or module not in _STAGES or at_ms is None or record is None or id_ is None:
        raise Unmapped(f"no answer about {module}: {text(held.get('message')) or '`data` is missing'}")
    values = records[0]
    if module in _PEOPLE:
        return _person(module, NewEvent("", record, id_, at_ms), values, source)
    return _deal(about.get("type"), record, values, NewEvent("", "", id_, at_ms), source)


def _deal(told: str | None, deal: str, values: dict[str, Any], new: NewEvent, source: Source) -> Mapped:
    made = Mapped()
    type_, contact = told or stage_type(source, values.get("Stage")), text(inside(values, "Contact_Name", "id"))
    if type_ is None or contact is None:
        made.passed_over["deal without contact" if type_ else "Deals.Stage that `stages` does not name"] += 1
        return made
    # Without the changed values, any edit looks like this one. So a deal is in a stage once.
    id_ = new.id if told else digest("Deals", deal, values.get("Stage"))
    data = present(
        amount=number(values.get("Amount")),
        owner=text(inside(values, "Owner", "id")),
        reason=text(values.get("Reason_For_Loss__s")) if type_ == "crm.lost" else None,
    )
    made.events.append(NewEvent(type_, contact, id_, new.at_ms, data))
    return made
