"""Salesforce's leads and contacts: written 200 at a time by an external id, and found by address where they are there already.

A batch is a few requests, whatever its size. First all records are updated by the external id. Salesforce refuses
a record that is not there yet, for its last name is missing. Of those, records with the lead's address get the
external id, and all others are made. A lead that sales have converted is written as its contact.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Again, Answer, Http, Misconfigured, Refusal, Run, Split, Steps, Writes
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import scrubbed
from worker.automations.targets.crm import ALIASES, Record, address_of, apart, is_anonymous, names_of, records_of, written
from worker.automations.targets.salesforce_api import OWN_ID, PASSING, ask_each, errors_of, judge, path
from worker.connections.targets import SalesforceTarget

BATCH: Final = 200
"""Records of a collection at most (guide, "sObject Collections")."""

_OWN: Final = "Id"
_PREFIXES: Final = {"00Q": "Lead", "003": "Contact"}
_NO_COLUMN: Final = re.compile(r"No such column '(\w+)'")
_NO_COMPANY: Final = "[not provided]"
"""A lead must have a company. Salesforce's own forms write this."""


_Found = dict[str, str | Refusal]
"""Lead → the record's id, or why there is none."""

_Errors = list[dict[str, Any]]
_Rows = dict[str, tuple[str, Record, Mapping[str, Any]]]
"""Lead → the record's id, the record, and fields beside its own."""


def write(target: SalesforceTarget, states: Sequence[LeadState]) -> Writes:
    """Write the states of leads into their records."""
    records = records_of(states)
    found = (yield from _written(target, records)) if records else {}
    return written(states, found)


def person(target: SalesforceTarget, act: Act) -> Generator[Http, Answer, str]:
    """Return the id of the lead's record, which is made where it is missing."""
    if is_anonymous(act.lead_id, act.person):
        raise Refused("the lead is a browser without an address, so it has no record")
    if target.id_field == _OWN and OWN_ID.fullmatch(act.lead_id):
        return act.lead_id
    email = address_of(act.lead_id, act.person)
    record = Record(act.lead_id, act.person, {"Email": email} if email else {})
    result = (yield from _written(target, [record]))[act.lead_id]
    if isinstance(result, Refusal):
        raise result
    return result


def forget(target: SalesforceTarget, act: Act, run: Run) -> Steps:
    """Delete the lead's record. A record that is not there is no error."""
    id_ = quote(act.lead_id, safe="")
    own = target.id_field == _OWN
    kind = _PREFIXES.get(act.lead_id[:3], target.object) if own else target.object
    at = f"/sobjects/{kind}/{'' if own else f'{target.id_field}/'}{id_}"
    yield Http.json("forget", "DELETE", path(target, at), takes=(404,))
    return act.lead_id


def _written(target: SalesforceTarget, records: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    if target.id_field == _OWN:
        return (yield from _by_own_id(target, records))
    found, errors = yield from _upserted(target, records)
    missing = [one for one in records if "REQUIRED_FIELD_MISSING" in _codes(errors.get(one.lead_id, []))]
    converted = [one for one in records if "CANNOT_UPDATE_CONVERTED_LEAD" in _codes(errors.get(one.lead_id, []))]
    for one in records:
        if one.lead_id in errors and one not in missing and one not in converted:
            found[one.lead_id] = _refusal(errors[one.lead_id])
    if missing:
        found |= yield from apart([one.lead_id for one in missing], _adopted_or_made(target, missing))
    if converted:
        found |= yield from apart([one.lead_id for one in converted], _as_contacts(target, converted))
    return found


def _upserted(
    target: SalesforceTarget, records: Sequence[Record], make: bool = False
) -> Generator[Http, Answer, tuple[_Found, dict[str, _Errors]]]:
    """Update *records* by the external id, or *make* them. Return their ids, and the errors of those that were refused."""
    at = path(target, f"/composite/sobjects/{target.object}/{quote(target.id_field, safe='')}")
    rows = [
        {
            "attributes": {"type": target.object},
            target.id_field: one.lead_id,
            **(_new(target, one) if make else {}),
            **one.fields,
        }
        for one in records
    ]
    return (yield from _collection(target, "make" if make else "contact", at, records, rows))


def _new(target: SalesforceTarget, one: Record) -> dict[str, str]:
    """Return the fields that a new record must have, and its address and first name."""
    first, last = names_of(one.lead_id, one.person)
    held = {"LastName": last[:80]} | ({"FirstName": first[:40]} if first else {})
    if target.object == "Lead":
        domain = one.email.rpartition("@")[2]
        held["Company"] = (one.person.get("company.name") or domain or _NO_COMPANY)[:255]
    return held | ({"Email": one.email} if one.email else {})


def _updated(target: SalesforceTarget, step: str, records: _Rows) -> Generator[Http, Answer, _Found]:
    """Update records by Salesforce's ids."""
    if not records:
        return {}
    rows = []
    for id_, one, more in records.values():
        kind = _PREFIXES.get(id_[:3], target.object)
        rows.append({"attributes": {"type": kind}, "id": id_, **one.fields, **more})
    at = path(target, "/composite/sobjects")
    held = [one for _, one, _ in records.values()]
    found, errors = yield from _collection(target, step, at, held, rows)
    return found | {lead_id: _refusal(each) for lead_id, each in errors.items()}


def _collection(
    target: SalesforceTarget, step: str, at: str, records: Sequence[Record], rows: list[dict[str, Any]]
) -> Generator[Http, Answer, tuple[_Found, dict[str, _Errors]]]:
    """Send *rows*. Return ids and errors by lead: the results come in the order of the rows."""
    sample = [{"id": "<record_id>", "success": True, "errors": []} for _ in rows]
    body = {"allOrNone": False, "records": rows}
    answer = yield Http.json(step, "PATCH", at, body, sample=sample, takes=(400, 404))
    if answer.status >= 400:
        return (yield from _without_column(target, step, at, records, rows, answer))
    held = answer.json()
    if not isinstance(held, list) or len(held) != len(rows):
        raise Refused(f"Salesforce answers {answer.status} with another number of results than records")
    found: _Found = {}
    errors: dict[str, _Errors] = {}
    for one, result in zip(records, held, strict=True):
        if isinstance(result, dict) and result.get("success") is True and result.get("id"):
            found[one.lead_id] = str(result["id"])
        else:
            listed = result.get("errors") if isinstance(result, dict) else None
            errors[one.lead_id] = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return found, errors


def _without_column(
    target: SalesforceTarget, step: str, at: str, records: Sequence[Record], rows: list[dict[str, Any]], answer: Answer
) -> Generator[Http, Answer, tuple[_Found, dict[str, _Errors]]]:
    """Send the rows again that have no field which Salesforce does not know. Others are refused, with the field's name."""
    errors = errors_of(answer)
    _check_key(target, errors)
    columns = set(_NO_COLUMN.findall(" ".join(str(one.get("message")) for one in errors)))
    bad = [number for number, row in enumerate(rows) if columns & set(row)]
    if not bad:
        return {}, {records[0].lead_id: _of_one(answer, len(rows))}
    why = [{"statusCode": "INVALID_FIELD", "message": f"there is no field {name}: make it"} for name in sorted(columns)]
    refused = {records[number].lead_id: why for number in bad}
    rest = [number for number in range(len(rows)) if number not in bad]
    if not rest:
        return {}, refused
    left = ([records[number] for number in rest], [rows[number] for number in rest])
    found, more = yield from _collection(target, step, at, *left)
    return found, refused | more


def _check_key(target: SalesforceTarget, errors: _Errors) -> None:
    """Raise `Misconfigured` where no record at all can be found by the external id."""
    for one in errors:
        words = str(one.get("message"))
        if re.search(rf"\b{re.escape(target.id_field)}\b", words) and ("external" in words.lower() or _NO_COLUMN.search(words)):
            why = f"Salesforce has no external id {target.id_field} on {target.object} that the log-in sees"
            raise Misconfigured(f"{why}: `leadpulse act prepare` tells what to make")


def _of_one(answer: Answer, rows: int) -> _Errors:
    """Return the errors of a request with one row. Raises `Split` for more: a value of a wrong type refuses all rows."""
    try:
        judge(answer)
    except Refused as error:
        if rows > 1:
            raise Split(str(error)) from error
    return [{"statusCode": one.get("errorCode"), "message": one.get("message")} for one in errors_of(answer)] or [{}]


def _by_own_id(target: SalesforceTarget, records: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    """Leads that have Salesforce's ids; others are found by their addresses, and none is made."""
    known: _Rows = {one.lead_id: (one.lead_id, one, {}) for one in records if OWN_ID.fullmatch(one.lead_id)}
    others = [one for one in records if one.lead_id not in known]
    rows = yield from _with_addresses(target, [one.email for one in others])
    found: _Found = {}
    for one in others:
        row = rows.get(one.email)
        if row is None:
            found[one.lead_id] = Refused(f"Salesforce has no {target.object} with the lead's address")
        else:
            known[one.lead_id] = (_living(row), one, {})
    return found | (yield from _updated(target, "contact", known))


def _adopted_or_made(target: SalesforceTarget, missing: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    """Give the external id to records with the leads' addresses, and make the others."""
    rows = yield from _with_addresses(target, [one.email for one in missing])
    adopt: _Rows = {}
    make = []
    for one in missing:
        row = rows.get(one.email) if one.email else None
        holder = str((row or {}).get(target.id_field) or "")
        if row is None or (holder not in ("", one.lead_id) and not holder.startswith(ALIASES)):
            make.append(one)
        elif _living(row) != str(row.get(_OWN)):
            adopt[one.lead_id] = _living(row), one, {}  # the contact that the lead was converted to
        else:
            adopt[one.lead_id] = _living(row), one, {target.id_field: one.lead_id}
    found = yield from _updated(target, "adopt", adopt)
    if make:
        made, errors = yield from _upserted(target, make, make=True)
        found |= made | {lead_id: _refusal(each) for lead_id, each in errors.items()}
    return found


def _with_addresses(target: SalesforceTarget, emails: Iterable[str]) -> Generator[Http, Answer, dict[str, dict[str, Any]]]:
    """Return the record with each of *emails*, the one that was changed last."""
    wanted = sorted({email for email in emails if email})
    more = ["IsConverted", "ConvertedContactId"] if target.object == "Lead" else []
    own = [] if target.id_field == _OWN else [target.id_field]
    select = f"SELECT {', '.join([_OWN, 'Email', *own, *more])} FROM {target.object}"
    rows = yield from ask_each(target, "existing", select, "Email", wanted, " ORDER BY LastModifiedDate LIMIT 2000")
    return {str(row.get("Email")).lower(): row for row in rows}


def _as_contacts(target: SalesforceTarget, converted: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    """Write the contacts that leads were converted to."""
    select = f"SELECT {target.id_field}, ConvertedContactId FROM {target.object}"
    rows = yield from ask_each(target, "converted", select, target.id_field, [one.lead_id for one in converted])
    contacts = {str(row.get(target.id_field)): row.get("ConvertedContactId") for row in rows}
    known: _Rows = {one.lead_id: (str(contacts[one.lead_id]), one, {}) for one in converted if contacts.get(one.lead_id)}
    found: _Found = {
        one.lead_id: Refused("the lead was converted, and Salesforce shows no contact of it")
        for one in converted
        if one.lead_id not in known
    }
    return found | (yield from _updated(target, "as-contact", known))


def _living(row: Mapping[str, Any]) -> str:
    """Return the id of a record, or of the contact that it was converted to."""
    converted = row.get("ConvertedContactId") if row.get("IsConverted") else None
    return str(converted or row.get(_OWN))


def _codes(errors: _Errors) -> set[str]:
    return {str(one.get("statusCode")) for one in errors}


def _refusal(errors: _Errors) -> Refusal:
    words = "; ".join(f"{one.get('statusCode')}: {one.get('message')}" for one in errors[:3])
    kind = Again if _codes(errors) & PASSING else Refused
    return kind(f"Salesforce refuses the record: {scrubbed(words)}")
