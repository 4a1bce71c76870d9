"""HubSpot's contacts: written in batches by a unique property, and found by the address where HubSpot has them already.

A batch with one bad input may be refused whole (409, 400), so it is sent again in halves, down to one.
In a 207, each input is known by its `objectWriteTraceId`, which is the output's id.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Again, Answer, Http, Misconfigured, Refusal, Run, Split, Steps, Writes
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, scrubbed
from worker.automations.targets.crm import ALIASES, address_of, apart, by_lead, is_anonymous, kept, plain, written
from worker.automations.targets.hubspot_api import id_of, listed, objects, properties_of, words_of
from worker.connections.targets import HubSpotTarget

BATCH: Final = 100
"""Inputs of a batch at most (guide "Contacts", limits)."""

_RECORD_ID: Final = "hs_object_id"
_EXISTING: Final = re.compile(r"Existing ID: (\d+)")
_UNKNOWN: Final = re.compile(r'Property \\?"([^"\\]+)\\?" does not exist')
_PASSING: Final = ("RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE")
"""Categories of an input's error that may pass."""


class _Input(NamedTuple):
    """One contact of a batch."""

    lead_id: str
    trace: str
    email: str
    key: str
    """The property by which it is found; nothing: by HubSpot's own id."""
    value: str
    properties: dict[str, str]

    def body(self) -> dict[str, Any]:
        held = {"id": self.value, "properties": self.properties, "objectWriteTraceId": self.trace}
        return held | ({"idProperty": self.key} if self.key else {})


_Found = dict[str, str | Refusal]
"""Lead → the contact's id, or why there is none."""


def _input(target: HubSpotTarget, lead_id: str, trace: str, person: Mapping[str, str], fields: Mapping[str, Any]) -> _Input:
    """Return the input that writes *fields* of a lead. Raises `Final` for a lead that no contact can be found by."""
    email = address_of(lead_id, person)
    properties = {name: plain(value) for name, value in fields.items()}
    if target.id_property != _RECORD_ID:
        known = {"email": email} if email else {}
        return _Input(lead_id, trace, email, target.id_property, lead_id, known | properties)
    if lead_id.isascii() and lead_id.isdecimal():
        return _Input(lead_id, trace, email, "", lead_id, properties)
    if not email:
        raise Refused("the lead's id is none of HubSpot's, and the lead has no address")
    return _Input(lead_id, trace, email, "email", email, properties)


def write(target: HubSpotTarget, states: Sequence[LeadState]) -> Writes:
    """Write the states of leads into their contacts. Raises `Split` where a batch is refused for one of them."""
    found: _Found = {}
    groups: dict[str, list[_Input]] = {}
    for lead in by_lead(states).values():
        if is_anonymous(lead.lead_id, lead.person):
            continue  # a browser without an address is no contact
        try:
            one = _input(target, lead.lead_id, lead.output, lead.person, lead.fields)
        except Refused as error:
            found[lead.lead_id] = error
        else:
            groups.setdefault(one.key, []).append(one)
    for inputs in groups.values():
        found |= yield from apart([one.lead_id for one in inputs], _batch(target, inputs))
    return written(states, found)


def contact(target: HubSpotTarget, act: Act) -> Generator[Http, Answer, str]:
    """Return the id of the lead's contact, which is made where it is missing."""
    if is_anonymous(act.lead_id, act.person):
        raise Refused("the lead is a browser without an address, so it has no contact")
    one = _input(target, act.lead_id, act.output, act.person, {})
    if not one.key:
        return one.value
    result = (yield from _batch(target, [one]))[act.lead_id]
    if isinstance(result, Refusal):
        raise result
    return result


def forget(target: HubSpotTarget, act: Act, _run: Run) -> Steps:
    """Delete the lead's contact for privacy. A contact that is not there is no error."""
    one = _input(target, act.lead_id, act.output, act.person, {})
    by = {"idProperty": one.key} if one.key else {}
    path = objects(target, "/contacts/gdpr-delete")
    yield Http.json("forget", "POST", path, {"objectId": one.value} | by, sample={}, takes=(404,))
    return one.value


def _batch(target: HubSpotTarget, inputs: Sequence[_Input]) -> Generator[Http, Answer, _Found]:
    """Write *inputs*, which are all found by the same property."""
    path = objects(target, f"/contacts/batch/{'upsert' if inputs[0].key else 'update'}")
    sample = {"status": "COMPLETE", "results": [{"id": "<contact_id>", "objectWriteTraceId": one.trace} for one in inputs]}
    body = {"inputs": [one.body() for one in inputs]}
    answer = yield Http.json("contact", "POST", path, body, sample=sample, takes=(400, 404, 409))
    if answer.status >= 400:
        _check_key(inputs[0].key, answer)
        if len(inputs) > 1:
            return (yield from _without_property(target, inputs, words_of(answer)))
        conflict = answer.status == 409 or inside(answer.json(), "category") == "CONFLICT"
        return {inputs[0].lead_id: (yield from _one(target, inputs[0], words_of(answer), conflict=conflict))}
    found: _Found = _made(answer.json(), inputs)
    for one in inputs:
        if one.lead_id in found:
            continue
        error = _error_of(answer.json(), one.trace)
        if error is None:
            found[one.lead_id] = Refused(f"HubSpot answers {answer.status} and names neither a result nor an error")
            continue
        category, words = str(error.get("category")), f"{error.get('category', '')} {error.get('message', '')}"
        if category in _PASSING:
            found[one.lead_id] = Again(f"HubSpot: {scrubbed(words)}")
        else:
            found[one.lead_id] = yield from kept(_one(target, one, words, conflict=category == "CONFLICT"))
    return found


def _check_key(key: str, answer: Answer) -> None:
    """Raise `Misconfigured` where no lead at all can be found by *key*."""
    words = words_of(answer)
    if key and (key in _UNKNOWN.findall(words) or "non-unique" in words):
        raise Misconfigured(f"HubSpot has no property {key} of contacts with unique values: run `leadpulse act prepare`")
    if key and answer.status == 404:
        raise Misconfigured(f"HubSpot answers 404: {scrubbed(words)}. Correct `base_url` or `version`")


def _without_property(target: HubSpotTarget, inputs: Sequence[_Input], words: str) -> Generator[Http, Answer, _Found]:
    """Write the inputs that have no property which HubSpot does not know. Raises `Split` for a batch refused otherwise."""
    unknown = set(_UNKNOWN.findall(words))
    rest = [one for one in inputs if not unknown & set(one.properties)]
    if len(rest) == len(inputs):
        raise Split(f"HubSpot refuses the batch: {scrubbed(words)}")
    why = f"HubSpot has no property {', '.join(sorted(unknown))} of contacts: make it, or correct `fields`"
    found: _Found = {one.lead_id: Refused(why) for one in inputs if one not in rest}
    return found | ((yield from _batch(target, rest)) if rest else {})


def _made(held: Any, inputs: Sequence[_Input]) -> dict[str, str | Refusal]:
    """Return the ids of the contacts that were written, by lead: by trace id, else by the property that finds them."""
    by_trace = {one.trace: one.lead_id for one in inputs}
    by_value = {one.value: one.lead_id for one in inputs}
    found: _Found = {}
    for result in listed(held, "results"):
        key = inputs[0].key
        value = properties_of(result).get(key) if key else id_of(result)
        lead_id = by_trace.get(str(inside(result, "objectWriteTraceId"))) or by_value.get(str(value))
        if lead_id is None and len(inputs) == 1:
            lead_id = inputs[0].lead_id
        if lead_id is not None and id_of(result):
            found[lead_id] = id_of(result)
    return found


def _error_of(held: Any, trace: str) -> dict[str, Any] | None:
    for error in listed(held, "errors"):
        traces = inside(error, "context", "objectWriteTraceId")
        if trace in (traces if isinstance(traces, list) else [traces]):
            return error if isinstance(error, dict) else None
    return None


def _one(target: HubSpotTarget, one: _Input, words: str, *, conflict: bool) -> Generator[Http, Answer, str | Refusal]:
    """Return the contact's id after HubSpot refused the input with *words*, or why there is none."""
    if not conflict or not one.email or one.key in ("", "email"):
        return Refused(f"HubSpot refuses the contact: {scrubbed(words)}")
    existing = _EXISTING.search(words)
    by = existing[1] if existing else f"{quote(one.email, safe='')}?idProperty=email"
    path = objects(target, f"/contacts/{by}{'&' if '?' in by else '?'}properties={quote(one.key, safe='')}")
    answer = yield Http.json("existing", "GET", path, sample={"id": "<contact_id>"}, takes=(404,))
    if answer.status == 404:
        return Again("HubSpot has the contact's address in conflict, and shows no contact with it")
    holder = str(properties_of(answer.json()).get(one.key) or "")
    if holder in ("", one.lead_id) or holder.startswith(ALIASES):
        path = objects(target, f"/contacts/{quote(id_of(answer.json()), safe='')}")
        body = {"properties": one.properties | {one.key: one.lead_id}}
        answer = yield Http.json("adopt", "PATCH", path, body, sample={"id": "<contact_id>"}, takes=(400, 409))
        if answer.status < 400:
            return id_of(answer.json())
    return (yield from _without_address(target, one, holder))


def _without_address(target: HubSpotTarget, one: _Input, holder: str) -> Generator[Http, Answer, str | Refusal]:
    """Write the lead's own contact. The address stays with the contact that has it."""
    path = objects(target, f"/contacts/{quote(one.lead_id, safe='')}?idProperty={quote(one.key, safe='')}")
    rest = {name: value for name, value in one.properties.items() if name != "email"}
    answer = yield Http.json("own", "PATCH", path, {"properties": rest}, sample={"id": "<contact_id>"}, takes=(404,))
    if answer.status == 404:
        other = f"lead {scrubbed(holder)}" if holder else "another contact"
        return Refused(f"the lead's address belongs to the contact of {other} in HubSpot: merge the two there")
    return id_of(answer.json())
