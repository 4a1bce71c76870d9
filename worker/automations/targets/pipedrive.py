"""Pipedrive: the state of leads in persons that are there, and tasks (activities) on them.

Requests by Pipedrive's specifications of API v2 and v1. Pipedrive has no unique fields and no upsert, so making a person and
making an activity are each an unsafe step. States are written to persons that are there, and make none. An activity's
`person_id` is read-only: the person is its first participant. Untested against a live account.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import quote

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Answer, Http, Lost, Misconfigured, Run, Steps, Unknown, Writes, Written
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, objects_at, raise_for, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import (
    Task,
    address_of,
    cut,
    due_of,
    erased_address,
    has_reference,
    is_anonymous,
    names_of,
    natural,
    read_with,
    reference,
    remembered,
)
from worker.automations.targets.pipedrive_fields import prepare
from worker.connections.targets import PipedriveTarget

_MOST_SUBJECT: Final = 255
_MOST_BODY: Final = 60_000
_BUSY_S: Final = 2.0
"""The window of the limit for bursts."""

_HASH: Final = re.compile(r"[0-9a-f]{40}")
"""The key of a field of one's own."""

_PERSONS: Final = "/api/v2/persons"
_ACTIVITIES: Final = "/api/v2/activities"


def judge(answer: Answer) -> None:
    """Raise what an answer means. 402 is an account that is not paid."""
    words = str(inside(answer.json(), "error") or "")
    if answer.status == 402:
        raise Misconfigured(f"Pipedrive answers 402: {scrubbed(words)}")
    raise_for(answer, "Pipedrive", words, wait_s=_BUSY_S)


def task(target: PipedriveTarget, act: Act, run: Run) -> Steps:
    """Make an activity for the lead's person, who is made first where missing."""
    wanted = read_with(Task, act)
    on = yield from remembered(run, "contact", _person(target, act, run))
    if run.unsure and run.unsure != "person":
        return (yield from _found(on, reference(act)))
    due = due_of(wanted, act)
    body: dict[str, Any] = {
        "subject": cut(wanted.subject, _MOST_SUBJECT),
        "type": "task",
        "due_date": due.date().isoformat(),
        "due_time": due.time().isoformat(timespec="seconds"),
        "participants": [{"person_id": _number(on), "primary": True}],
        "note": f"{cut(wanted.body, _MOST_BODY)}<p>{escape(reference(act))}</p>",
    }
    if wanted.owner:
        body["owner_id"] = _number((yield from _owner(wanted.owner)))
    answer = yield Http.json("task", "POST", _ACTIVITIES, body, safe=False, sample={"data": {"id": "<activity_id>"}})
    return _made(answer)


def write(target: PipedriveTarget, states: Sequence[LeadState]) -> Writes:
    """Write states into persons that are there. A person that Pipedrive does not have is passed over."""
    written = []
    for state in states:
        id_: str | None = state.lead_id if _is_own(target, state.lead_id) else None
        email = address_of(state.lead_id, state.person)
        if id_ is None and email:
            id_ = yield from _by_address(email)
        missing = False
        if id_ is not None:
            path = f"{_PERSONS}/{quote(id_, safe='')}"
            body = _fields(state.fields)
            answer = yield Http.json("contact", "PATCH", path, body, sample={"data": {"id": id_}}, takes=(404,))
            missing = answer.status == 404
        error = Refused("Pipedrive has no such person") if missing else None
        written.append(Written(state.lead_id, state.sequence, error))
    return written


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that sets *fields*: those of one's own have keys of 40 characters."""
    own = {name: natural(value) for name, value in fields.items() if _HASH.fullmatch(name)}
    rest = {name: natural(value) for name, value in fields.items() if name not in own}
    return rest | ({"custom_fields": own} if own else {})


def forget(target: PipedriveTarget, act: Act, run: Run) -> Steps:
    """Delete the lead's person. One who is not there is no error."""
    id_: str | None = act.lead_id if _is_own(target, act.lead_id) else None
    if id_ is None and (email := erased_address(act)):
        id_ = yield from _by_address(email)
    if id_ is None:
        return ""
    yield Http.json("forget", "DELETE", f"{_PERSONS}/{quote(id_, safe='')}", takes=(404, 410))
    return id_


def _is_own(target: PipedriveTarget, lead_id: str) -> bool:
    return target.id_field == "id" and lead_id.isascii() and lead_id.isdecimal()


def _person(target: PipedriveTarget, act: Act, run: Run) -> Steps:
    """Return the id of the lead's person, found by the address or made."""
    if _is_own(target, act.lead_id):
        return act.lead_id
    if is_anonymous(act.lead_id, act.person):
        raise Refused("the lead is a browser without an address, so it has no person")
    email = address_of(act.lead_id, act.person)
    if not email:
        raise Refused("the lead has no address by which Pipedrive's person can be found")
    found = yield from _by_address(email)
    if found is not None:
        return found
    if run.unsure:
        raise Unknown("an answer was lost, and Pipedrive shows no person with the lead's address")
    name = " ".join(part for part in names_of(act.lead_id, act.person) if part)
    body = {"name": cut(name, _MOST_SUBJECT), "emails": [{"value": email, "primary": True, "label": "work"}]}
    return _made((yield Http.json("person", "POST", _PERSONS, body, safe=False, sample={"data": {"id": "<person_id>"}})))


def _by_address(email: str) -> Generator[Http, Answer, str | None]:
    """Return the oldest person with the address *email*. Pipedrive takes no address of one character."""
    path = f"{_PERSONS}/search?term={quote(email, safe='')}&fields=email&exact_match=true&limit=100"
    shown = {"data": {"items": [{"item": {"id": "<person_id>", "emails": [email]}}]}}
    answer = yield Http.json("existing", "GET", path, sample=shown)
    persons = [one["item"] for one in objects_at(answer.json(), "data", "items") if isinstance(one.get("item"), dict)]
    ids = [str(one["id"]) for one in persons if one.get("id") and _has_address(one, email)]
    return min(ids, key=lambda id_: (len(id_), id_)) if ids else None


def _has_address(person: Mapping[str, Any], email: str) -> bool:
    emails = person.get("emails")
    return isinstance(emails, list) and email in [str(each).lower() for each in emails]


def _owner(owner: str) -> Generator[Http, Answer, str]:
    """Return Pipedrive's id of *owner*, an address. An id stays as it is."""
    if "@" not in owner:
        return owner
    path = f"/v1/users/find?term={quote(owner, safe='')}&search_by_email=1"
    answer = yield Http.json("owner", "GET", path, sample={"data": [{"id": "<owner_id>", "email": owner}]})
    for user in objects_at(answer.json(), "data"):
        if str(user.get("email")).lower() == owner.lower() and user.get("active_flag") is not False:
            return str(user.get("id"))
    raise Refused(f"Pipedrive has no active user {scrubbed(owner)}: correct `owner`")


def _found(person: str, words: str) -> Steps:
    """Return the id of the person's activity with *words* in its note. Raises `Unknown` where there is none."""
    cursor = ""
    for _ in range(10):
        asked = f"?person_id={quote(person, safe='')}&sort_by=id&sort_direction=desc&limit=500{cursor}"
        answer = yield Http.json("look-up", "GET", f"{_ACTIVITIES}{asked}", sample={"data": []}, takes=(400, 404))
        held = answer.json()
        for activity in objects_at(held, "data"):
            if has_reference(activity.get("note"), words):
                return str(activity.get("id"))
        following = inside(held, "additional_data", "next_cursor")
        if not following:
            break
        cursor = f"&cursor={quote(str(following), safe='')}"
    raise Unknown("an answer was lost, and Pipedrive shows no such activity of the person")


def _made(answer: Answer) -> str:
    made = inside(answer.json(), "data", "id")
    if not made:
        raise Lost(f"Pipedrive answers {answer.status} without an id")
    return str(made)


def _number(text: str) -> int | str:
    """Return an id as the number that Pipedrive wants. The preview's placeholders are none."""
    return int(text) if text.isascii() and text.isdecimal() else text


KIND: Final = Kind(
    name="pipedrive",
    actions={"task": task},
    fields={"task": Task},
    judge=judge,
    personal={"task": ""},
    rate=Rate(20, 2.0),  # requests of one user in a burst, of the smallest plan
    write=write,
    forget=forget,
    prepare=prepare,
)
