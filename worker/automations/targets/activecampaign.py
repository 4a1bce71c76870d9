"""ActiveCampaign: the state of leads in their contacts, tags, lists and automations for nurturing, and tasks.

By ActiveCampaign's OpenAPI document of its API v3. Contacts are found by their address. Fields are named by their id or by
their personalization tag. Untested against a live account.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field

from worker.automations.acts import Act, LeadState
from worker.automations.requests import (
    Answer,
    Http,
    Lost,
    Misconfigured,
    Refusal,
    Remember,
    Run,
    Steps,
    Unknown,
    Writes,
    Written,
)
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import raise_for, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import (
    PlainTask,
    address_of,
    by_lead,
    cut,
    due_of,
    erased_address,
    is_anonymous,
    plain,
    read_with,
    reference,
)
from worker.automations.targets.fields import Line, With
from worker.connections.targets import ActiveCampaignTarget

_API: Final = "/api/3"
_MOST_TITLE: Final = 250
_PAGE: Final = 100
_MOST_PAGES: Final = 50


class Tag(With):
    """Gives the lead's contact a tag, on which automations may start."""

    tag: Line
    """The tag's name, or its id. It must be there."""


class ToList(With):
    """Subscribes the lead's contact to a list. It does not bring back who has unsubscribed by hand: ask first."""

    list: int = Field(ge=1)
    """The list's id."""


class Automation(With):
    """Starts an automation for the lead's contact."""

    automation: int = Field(ge=1)
    """The automation's id."""


class CampaignTask(PlainTask):
    """A task on the lead's contact."""

    kind: Line = "Call"
    """Title of a task type of the account."""


def write(_target: ActiveCampaignTarget, states: Sequence[LeadState]) -> Writes:
    """Write the state of each lead into its contact's fields, which the account must have."""
    leads = [lead for lead in by_lead(states).values() if not is_anonymous(lead.lead_id, lead.person)]
    named = {name for lead in leads for name in lead.fields if not name.isdecimal()}
    ids = (yield from _field_ids(named)) if named else {}
    errors: dict[str, Refusal] = {}
    for lead in leads:
        missing = [name for name in lead.fields if not name.isdecimal() and name.casefold() not in ids]
        if missing:
            errors[lead.lead_id] = Refused(f"ActiveCampaign has no field {missing[0]!r}: make it, or write its id")
            continue
        values = [{"field": ids.get(name.casefold(), name), "value": plain(value)} for name, value in lead.fields.items()]
        try:
            yield from _contact(lead.lead_id, lead.person, values)
        except Refused as error:
            errors[lead.lead_id] = error
    return [Written(state.lead_id, state.sequence, errors.get(state.lead_id)) for state in states]


def _field_ids(_names: set[str]) -> Generator[Http, Answer, dict[str, str]]:
    """Return the ids of contact fields, by tag and by title in lower case."""
    ids: dict[str, str] = {}
    for page in range(_MOST_PAGES):
        sample = {"fields": [{"id": "<field_id>", "perstag": name} for name in sorted(_names)]}
        answer = yield Http.json("fields", "GET", f"{_API}/fields?limit={_PAGE}&offset={page * _PAGE}", sample=sample)
        found = _listed(answer.json(), "fields")
        for one in found:
            for name in ("title", "perstag"):
                if one.get(name):
                    ids[str(one[name]).casefold()] = str(one.get("id"))
        if len(found) < _PAGE:
            break
    return ids


def _contact(lead_id: str, person: Mapping[str, str], values: Sequence[Mapping[str, str]]) -> Generator[Http, Answer, str]:
    """Make or update the lead's contact, and return its id."""
    email = address_of(lead_id, person)
    if not email:
        raise Refused("the lead has no address, so ActiveCampaign has no contact of it")
    names = {"firstName": "first_name", "lastName": "last_name", "phone": "phone"}
    known = {ours: person[theirs] for ours, theirs in names.items() if person.get(theirs)}
    body = {"contact": {"email": email, **known, **({"fieldValues": list(values)} if values else {})}}
    answer = yield Http.json(
        "contact", "POST", f"{_API}/contact/sync", body, sample={"contact": {"id": "<contact_id>"}}, takes=(400, 422)
    )
    if answer.status >= 400:
        raise Refused(f"ActiveCampaign refuses the contact: {scrubbed(words_of(answer))}")
    found = _id(answer.json(), "contact")
    if not found:
        raise Lost(f"ActiveCampaign answers {answer.status} without the contact's id")
    return found


def tag(_target: ActiveCampaignTarget, act: Act, _run: Run) -> Steps:
    """Give the contact a tag. A contact has a tag once, so a repeat changes nothing."""
    wanted = read_with(Tag, act).tag.strip()
    tag_id = wanted if wanted.isdecimal() else (yield from _tag_id(wanted))
    contact = yield from _contact(act.lead_id, act.person, ())
    body = {"contactTag": {"contact": contact, "tag": tag_id}}
    answer = yield Http.json("tag", "POST", f"{_API}/contactTags", body, sample={"contactTag": {"id": "<tag_of_contact>"}})
    return _id(answer.json(), "contactTag")


def _tag_id(name: str) -> Generator[Http, Answer, str]:
    for page in range(_MOST_PAGES):
        path = f"{_API}/tags?search={quote(name, safe='')}&limit={_PAGE}&offset={page * _PAGE}"
        answer = yield Http.json("tags", "GET", path, sample={"tags": [{"id": "<tag_id>", "tag": name}]})
        found = _listed(answer.json(), "tags")
        for one in found:
            if str(one.get("tag", "")).casefold() == name.casefold():
                return str(one.get("id"))
        if len(found) < _PAGE:
            break
    raise Refused(f"ActiveCampaign has no tag {name!r}: make it there, or correct `tag`")


def to_list(_target: ActiveCampaignTarget, act: Act, _run: Run) -> Steps:
    """Subscribe the contact to a list."""
    wanted = read_with(ToList, act)
    contact = yield from _contact(act.lead_id, act.person, ())
    body = {"contactList": {"list": wanted.list, "contact": contact, "status": 1}}
    answer = yield Http.json("list", "POST", f"{_API}/contactLists", body, sample={"contactList": {"id": "<list_of_contact>"}})
    return _id(answer.json(), "contactList")


def automation(_target: ActiveCampaignTarget, act: Act, run: Run) -> Steps:
    """Start an automation for the contact. It may run once more at a repeat, so a lost answer is looked up."""
    wanted = read_with(Automation, act)
    contact = run.known.get("contact") or (yield from _contact(act.lead_id, act.person, ()))
    if "contact" not in run.known:
        yield Remember("contact", contact)
    if run.unsure:
        path = f"{_API}/contacts/{quote(contact, safe='')}/contactAutomations"
        answer = yield Http.json("look-up", "GET", path, sample={"contactAutomations": []}, takes=(404,))
        for one in _listed(answer.json(), "contactAutomations"):
            if str(one.get("automation")) == str(wanted.automation):
                return str(one.get("id"))
        raise Unknown("an answer was lost, and ActiveCampaign does not show the contact in the automation")
    body = {"contactAutomation": {"contact": contact, "automation": str(wanted.automation)}}
    sample = {"contactAutomation": {"id": "<automation_of_contact>"}}
    answer = yield Http.json("automation", "POST", f"{_API}/contactAutomations", body, safe=False, sample=sample)
    return _id(answer.json(), "contactAutomation")


def task(_target: ActiveCampaignTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's contact, which is made first where it is missing."""
    wanted = read_with(CampaignTask, act)
    contact = run.known.get("contact") or (yield from _contact(act.lead_id, act.person, ()))
    if "contact" not in run.known:
        yield Remember("contact", contact)
    if run.unsure:
        return (yield from _found(contact, reference(act)))
    due = due_of(wanted, act).isoformat(timespec="seconds")
    held: dict[str, Any] = {
        "title": cut(wanted.subject, _MOST_TITLE),
        "ownerType": "contact",
        "relid": contact,
        "status": 0,
        "note": f"{wanted.body}\n\n{reference(act)}".strip(),
        "duedate": due,
        "dealTasktype": (yield from _type(wanted.kind)),
    }
    if wanted.owner:
        held["assignee"] = yield from _user(wanted.owner)
    answer = yield Http.json(
        "task", "POST", f"{_API}/dealTasks", {"dealTask": held}, safe=False, sample={"dealTask": {"id": "<task_id>"}}
    )
    made = _id(answer.json(), "dealTask")
    if not made:
        raise Lost(f"ActiveCampaign answers {answer.status} without the task's id")
    return made


def _type(title: str) -> Generator[Http, Answer, str]:
    sample = {"dealTasktypes": [{"id": "<task_type_id>", "title": title}]}
    answer = yield Http.json("type", "GET", f"{_API}/dealTasktypes?limit={_PAGE}", sample=sample)
    types = _listed(answer.json(), "dealTasktypes")
    for one in types:
        if str(one.get("title", "")).casefold() == title.casefold():
            return str(one.get("id"))
    names = ", ".join(str(one.get("title")) for one in types)
    raise Refused(f"ActiveCampaign has no task type {title!r}: write one of {names}")


def _user(owner: str) -> Generator[Http, Answer, str]:
    """Return the id of *owner*, an address. An id stays as it is."""
    if "@" not in owner:
        return owner
    path = f"{_API}/users/email/{quote(owner, safe='')}"
    answer = yield Http.json("owner", "GET", path, sample={"user": {"id": "<owner_id>"}}, takes=(400, 404))
    found = _id(answer.json(), "user") if answer.status < 400 else ""
    if not found:
        raise Refused(f"ActiveCampaign has no user {scrubbed(owner)}: invite this user, or correct `owner`")
    return found


def _found(contact: str, words: str) -> Steps:
    """Return the id of the contact's task with *words* at the end of its note. Raises `Unknown` where there is none."""
    for page in range(_MOST_PAGES):
        query = f"filters%5Breltype%5D=Subscriber&filters%5Brelid%5D={quote(contact, safe='')}"
        path = f"{_API}/dealTasks?{query}&limit={_PAGE}&offset={page * _PAGE}"
        answer = yield Http.json("look-up", "GET", path, sample={"dealTasks": []})
        found = _listed(answer.json(), "dealTasks")
        for one in found:
            if str(one.get("note") or "").rstrip().endswith(words):
                return str(one.get("id"))
        if len(found) < _PAGE:
            break
    raise Unknown("an answer was lost, and ActiveCampaign shows no such task of the contact")


def forget(_target: ActiveCampaignTarget, act: Act, _run: Run) -> Steps:
    """Delete the lead's contact. A missing contact is no error."""
    email = erased_address(act)
    if not email:
        return ""
    path = f"{_API}/contacts?email={quote(email, safe='')}"
    answer = yield Http.json("found", "GET", path, sample={"contacts": [{"id": "<contact_id>"}]})
    for one in _listed(answer.json(), "contacts"):
        yield Http.json("forget", "DELETE", f"{_API}/contacts/{quote(str(one.get('id')), safe='')}", takes=(404,))
    return email


def judge(answer: Answer) -> None:
    """Raise what an answer means. A key that is refused must be mended by hand."""
    if answer.status == 401:
        raise Misconfigured("ActiveCampaign answers 401: correct `token` and `base_url`")
    raise_for(answer, "ActiveCampaign", words_of(answer), wait_s=2.0)


def words_of(answer: Answer) -> str:
    """Return the titles of an answer's errors."""
    held = answer.json()
    if not isinstance(held, dict):
        return ""
    errors = [f"{one.get('title', '')} {one.get('detail') or ''}".strip() for one in _listed(held, "errors")]
    return "; ".join(errors) or str(held.get("message") or "")


def _listed(held: Any, name: str) -> list[dict[str, Any]]:
    found = held.get(name) if isinstance(held, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _id(held: Any, name: str) -> str:
    inner = held.get(name) if isinstance(held, dict) else None
    found = inner.get("id") if isinstance(inner, dict) else None
    return str(found) if isinstance(found, str | int) else ""


KIND: Final = Kind(
    name="activecampaign",
    actions={"task": task, "tag": tag, "list": to_list, "automation": automation},
    fields={"task": CampaignTask, "tag": Tag, "list": ToList, "automation": Automation},
    judge=judge,
    rate=Rate(5, 1.0),  # of the account, whichever key
    write=write,
    forget=forget,
)
