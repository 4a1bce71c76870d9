"""ActiveCampaign: the state of leads in their contacts, tags, lists and automations for nurturing, and tasks.

By ActiveCampaign's OpenAPI document of its API v3. Contacts are found by their address. Fields are named by their id or by
their personalization tag. Untested against a live account.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
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
    Run,
    Steps,
    Unknown,
    Writes,
)
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import objects_at, raise_for, scrubbed, text_at
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import (
    PlainTask,
    address_of,
    by_lead,
    cut,
    due_of,
    erased_address,
    has_reference,
    is_anonymous,
    plain,
    read_with,
    reference,
    remembered,
    written,
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
    return written(states, errors)


def _field_ids(names: set[str]) -> Generator[Http, Answer, dict[str, str]]:
    """Return the ids of contact fields, by tag and by title in lower case. *names* are those that the preview shows."""
    ids: dict[str, str] = {}
    sample = {"fields": [{"id": "<field_id>", "perstag": name} for name in sorted(names)]}
    for page in range(_MOST_PAGES):
        answer = yield Http.json("fields", "GET", f"{_API}/fields?limit={_PAGE}&offset={page * _PAGE}", sample=sample)
        found = objects_at(answer.json(), "fields")
        for one in found:
            ids |= {str(one[name]).casefold(): str(one.get("id")) for name in ("title", "perstag") if one.get(name)}
        if len(found) < _PAGE:
            break
    return ids


def _first(
    step: str, query: str, name: str, fits: Callable[[dict[str, Any]], bool], *sample: dict[str, str]
) -> Generator[Http, Answer, dict[str, Any] | None]:
    """Return the first object of the list *name* that fits, of all pages that *query* has; `None` where none does."""
    for page in range(_MOST_PAGES):
        path = f"{_API}/{query}&limit={_PAGE}&offset={page * _PAGE}"
        answer = yield Http.json(step, "GET", path, sample={name: list(sample)})
        found = objects_at(answer.json(), name)
        for one in found:
            if fits(one):
                return one
        if len(found) < _PAGE:
            break
    return None


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
    found = text_at(answer.json(), "contact", "id")
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
    return text_at(answer.json(), "contactTag", "id")


def _tag_id(name: str) -> Generator[Http, Answer, str]:
    found = yield from _first(
        "tags", f"tags?search={quote(name, safe='')}", "tags",
        lambda one: str(one.get("tag", "")).casefold() == name.casefold(), {"id": "<tag_id>", "tag": name},
    )  # fmt: skip
    if found is None:
        raise Refused(f"ActiveCampaign has no tag {name!r}: make it there, or correct `tag`")
    return str(found.get("id"))


def to_list(_target: ActiveCampaignTarget, act: Act, _run: Run) -> Steps:
    """Subscribe the contact to a list."""
    wanted = read_with(ToList, act)
    contact = yield from _contact(act.lead_id, act.person, ())
    body = {"contactList": {"list": wanted.list, "contact": contact, "status": 1}}
    answer = yield Http.json("list", "POST", f"{_API}/contactLists", body, sample={"contactList": {"id": "<list_of_contact>"}})
    return text_at(answer.json(), "contactList", "id")


def automation(_target: ActiveCampaignTarget, act: Act, run: Run) -> Steps:
    """Start an automation for the contact. It may run once more at a repeat, so a lost answer is looked up."""
    wanted = read_with(Automation, act)
    contact = yield from remembered(run, "contact", _contact(act.lead_id, act.person, ()))
    if run.unsure:
        path = f"{_API}/contacts/{quote(contact, safe='')}/contactAutomations"
        answer = yield Http.json("look-up", "GET", path, sample={"contactAutomations": []}, takes=(404,))
        for one in objects_at(answer.json(), "contactAutomations"):
            if str(one.get("automation")) == str(wanted.automation):
                return str(one.get("id"))
        raise Unknown("an answer was lost, and ActiveCampaign does not show the contact in the automation")
    body = {"contactAutomation": {"contact": contact, "automation": str(wanted.automation)}}
    sample = {"contactAutomation": {"id": "<automation_of_contact>"}}
    answer = yield Http.json("automation", "POST", f"{_API}/contactAutomations", body, safe=False, sample=sample)
    return text_at(answer.json(), "contactAutomation", "id")


def task(_target: ActiveCampaignTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's contact, which is made first where it is missing."""
    wanted = read_with(CampaignTask, act)
    contact = yield from remembered(run, "contact", _contact(act.lead_id, act.person, ()))
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
    made = text_at(answer.json(), "dealTask", "id")
    if not made:
        raise Lost(f"ActiveCampaign answers {answer.status} without the task's id")
    return made


def _type(title: str) -> Generator[Http, Answer, str]:
    sample = {"dealTasktypes": [{"id": "<task_type_id>", "title": title}]}
    answer = yield Http.json("type", "GET", f"{_API}/dealTasktypes?limit={_PAGE}", sample=sample)
    types = objects_at(answer.json(), "dealTasktypes")
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
    found = text_at(answer.json(), "user", "id") if answer.status < 400 else ""
    if not found:
        raise Refused(f"ActiveCampaign has no user {scrubbed(owner)}: invite this user, or correct `owner`")
    return found


def _found(contact: str, words: str) -> Steps:
    """Return the id of the contact's task with *words* in its note. Raises `Unknown` where there is none."""
    query = f"dealTasks?filters%5Breltype%5D=Subscriber&filters%5Brelid%5D={quote(contact, safe='')}"
    found = yield from _first("look-up", query, "dealTasks", lambda one: has_reference(one.get("note"), words))
    if found is None:
        raise Unknown("an answer was lost, and ActiveCampaign shows no such task of the contact")
    return str(found.get("id"))


def forget(_target: ActiveCampaignTarget, act: Act, _run: Run) -> Steps:
    """Delete the lead's contact. A missing contact is no error."""
    email = erased_address(act)
    if not email:
        return ""
    path = f"{_API}/contacts?email={quote(email, safe='')}"
    answer = yield Http.json("found", "GET", path, sample={"contacts": [{"id": "<contact_id>"}]})
    for one in objects_at(answer.json(), "contacts"):
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
    errors = [f"{one.get('title', '')} {one.get('detail') or ''}".strip() for one in objects_at(held, "errors")]
    return "; ".join(errors) or str(held.get("message") or "")


KIND: Final = Kind(
    name="activecampaign",
    actions={"task": task, "tag": tag, "list": to_list, "automation": automation},
    fields={"task": CampaignTask, "tag": Tag, "list": ToList, "automation": Automation},
    judge=judge,
    personal=dict.fromkeys(("task", "tag", "list", "automation"), ""),
    rate=Rate(5, 1.0),  # of the account, whichever key
    write=write,
    forget=forget,
)
