"""Zoho's leads and contacts: written 100 at a time by a field without duplicates, or by the address.

Zoho answers 200 with a result of each record. A record that is not there needs a last name. It gets one in a second
request, so that the names of known records stay as sales have them. Zoho may ask for a last name of known records too: no
document tells. So a lead without a name is searched before its address becomes one. Fields that Zoho does not know are
passed over there.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Answer, Http, Misconfigured, Refusal, Run, Split, Steps, Writes
from worker.automations.requests import Final as Refused
from worker.automations.targets.crm import Record, address_of, apart, is_anonymous, kept, names_of, records_of, written
from worker.automations.targets.zoho_api import id_of, judge, refusal_of, results_of
from worker.connections.targets import ZohoTarget

BATCH: Final = 100
"""Records of a request at most (page "Insert or Update Records")."""

_OWN: Final = "id"
_OWN_ID: Final = re.compile(r"[0-9]{10,25}")
_NO_COMPANY: Final = "-"
_MISSING: Final = frozenset({"MANDATORY_NOT_FOUND", "REQUIRED_PARAM_MISSING", "EXPECTED_FIELD_MISSING"})


_Found = dict[str, str | Refusal]
"""Lead → the record's id, or why there is none."""


def path(target: ZohoTarget, rest: str = "") -> str:
    """Return the path of the target's module."""
    return f"/crm/v8/{target.object}{rest}"


def write(target: ZohoTarget, states: Sequence[LeadState]) -> Writes:
    """Write the states of leads into their records."""
    records = records_of(states)
    found = yield from _written(target, records)
    return written(states, found)


def person(target: ZohoTarget, act: Act) -> Generator[Http, Answer, str]:
    """Return the id of the lead's record, which is made where it is missing."""
    if is_anonymous(act.lead_id, act.person):
        raise Refused("the lead is a browser without an address, so it has no record")
    if target.id_field == _OWN and _OWN_ID.fullmatch(act.lead_id):
        return act.lead_id
    result = (yield from _written(target, [Record(act.lead_id, act.person, {})]))[act.lead_id]
    if isinstance(result, Refusal):
        raise result
    return result


def forget(target: ZohoTarget, act: Act, run: Run) -> Steps:
    """Delete the lead's records. Those that are not there are no error."""
    ids = [act.lead_id] if target.id_field == _OWN and _OWN_ID.fullmatch(act.lead_id) else None
    if ids is None:
        email = address_of(act.lead_id, act.person)
        own = target.id_field not in ("", _OWN)
        if not own and not email:
            raise Refused("the lead has no address by which Zoho's record can be found")
        criteria = quote(f"({target.id_field}:equals:{_escaped(act.lead_id)})", safe="")
        ids = yield from (_search(target, f"criteria={criteria}") if own else _with_address(target, email))
    for id_ in ids:
        yield Http.json("forget", "DELETE", path(target, f"/{quote(id_, safe='')}"), takes=(400, 404))
    return ",".join(ids)


def _escaped(text: str) -> str:
    """Return *text* for a criterion, in which parentheses, commas and backslashes have a meaning."""
    return re.sub(r"([(),\\])", r"\\\1", text)


def _written(target: ZohoTarget, records: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    found: _Found = {}
    known = [one for one in records if target.id_field == _OWN and _OWN_ID.fullmatch(one.lead_id)]
    others = []
    for one in records:
        if one in known:
            continue
        if one.email or target.id_field not in ("", _OWN):
            others.append(one)
        else:
            found[one.lead_id] = Refused("the lead has no address by which Zoho's record can be found")
    if known:
        rows = [{"id": one.lead_id, **one.fields} for one in known]
        found |= _settled(known, (yield from _sent(target, "contact", "PUT", path(target), known, {"data": rows})))
    if others:
        found |= yield from apart([one.lead_id for one in others], _upserted(target, others))
    return found


def _upserted(target: ZohoTarget, records: Sequence[Record]) -> Generator[Http, Answer, _Found]:
    """Update records by the field without duplicates, then by the address; make those that are not there."""
    results = yield from _upsert(target, "contact", records, [_row(target, one) for one in records])
    found = _settled(records, results)
    missing = [one for one in records if str(results[one.lead_id].get("code")) in _MISSING]
    there: dict[str, str] = {}
    unasked: _Found = {}
    for one in missing:
        if one.email and not _has_name(one.person):
            ids = yield from kept(_with_address(target, one.email))
            if isinstance(ids, Refusal):
                unasked[one.lead_id] = ids
            elif ids:
                there[one.lead_id] = ids[0]
    known = [one for one in missing if one.lead_id in there]
    if known:
        rows = [{"id": there[one.lead_id], **_row(target, one)} for one in known]
        found |= _settled(known, (yield from _sent(target, "known", "PUT", path(target), known, {"data": rows})))
    new = [one for one in missing if one.lead_id not in there and one.lead_id not in unasked]
    if new:
        rows = [_new(target, one) | _row(target, one) for one in new]
        found |= _settled(new, (yield from _upsert(target, "make", new, rows)))
    return found | unasked


def _has_name(held: Mapping[str, str]) -> bool:
    return any(held.get(name, "").strip() for name in ("last_name", "name", "first_name"))


def _with_address(target: ZohoTarget, email: str) -> Generator[Http, Answer, list[str]]:
    """Return the ids of records with the address *email*."""
    return (yield from _search(target, f"email={quote(email, safe='')}"))


def _search(target: ZohoTarget, by: str) -> Generator[Http, Answer, list[str]]:
    asked = path(target, f"/search?{by}&fields=id")
    answer = yield Http.json("existing", "GET", asked, sample={"data": [{"id": "<record_id>"}]}, takes=(404,))
    return [str(one["id"]) for one in results_of(answer) if one.get("id")]


def _row(target: ZohoTarget, one: Record) -> dict[str, Any]:
    ours = {target.id_field: one.lead_id} if target.id_field not in ("", _OWN) else {}
    return ours | ({"Email": one.email} if one.email else {}) | dict(one.fields)


def _new(target: ZohoTarget, one: Record) -> dict[str, str]:
    """Return the fields that a new record must have, and its first name."""
    first, last = names_of(one.lead_id, one.person)
    held = {"Last_Name": last[:80]} | ({"First_Name": first[:40]} if first else {})
    if target.object == "Leads":
        held["Company"] = (one.person.get("company.name") or one.email.rpartition("@")[2] or _NO_COMPANY)[:200]
    return held


def _upsert(
    target: ZohoTarget, step: str, records: Sequence[Record], rows: list[dict[str, Any]]
) -> Generator[Http, Answer, dict[str, dict[str, Any]]]:
    ours = [target.id_field] if target.id_field not in ("", _OWN) else []
    body = {"data": rows, "duplicate_check_fields": [*ours, "Email"], "trigger": _trigger(target)}
    return (yield from _sent(target, step, "POST", path(target, "/upsert"), records, body))


def _trigger(target: ZohoTarget) -> list[str]:
    return ["workflow"] if target.workflows else []


def _sent(
    target: ZohoTarget, step: str, method: str, at: str, records: Sequence[Record], body: dict[str, Any]
) -> Generator[Http, Answer, dict[str, dict[str, Any]]]:
    """Send the rows in *body*, and return a result of each lead: they come in the order of the rows."""
    sample = {"data": [{"code": "SUCCESS", "details": {"id": "<record_id>"}} for _ in records]}
    sent = {"trigger": _trigger(target)} | body
    answer = yield Http.json(step, method, at, sent, sample=sample, takes=(200, 201, 202, 207, 400))
    results = results_of(answer)
    if len(results) == len(records):
        return {one.lead_id: result for one, result in zip(records, results, strict=True)}
    if target.id_field and b"duplicate_check_fields" in answer.body:
        why = f"Zoho has no field {target.id_field} without duplicates: run `leadpulse act prepare`"
        raise Misconfigured(why)
    try:
        judge(answer)
    except Refused as error:
        if len(records) > 1:
            raise Split(str(error)) from error
        raise
    raise Refused(f"Zoho answers {answer.status} with another number of results than records")


def _settled(records: Sequence[Record], results: Mapping[str, dict[str, Any]]) -> _Found:
    return {one.lead_id: id_of(results[one.lead_id]) or refusal_of(results[one.lead_id]) for one in records}
