"""HubSpot: the state of leads in their contacts, and tasks on them.

Tasks by HubSpot's guide "Activities | Tasks". A task has no key of ours. After a lost answer it is looked up among the
contact's tasks, by the reference in its body. Untested against a live account.
"""

from __future__ import annotations

from collections.abc import Generator
from html import escape
from typing import Final
from urllib.parse import quote

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Lost, Run, Steps, Unknown
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import Task, cut, due_of, has_reference, read_with, reference, remembered
from worker.automations.targets.hubspot_api import id_of, judge, listed, objects, parts, properties_of, spare
from worker.automations.targets.hubspot_contacts import BATCH, contact, forget, write
from worker.automations.targets.hubspot_fields import prepare
from worker.connections.targets import HubSpotTarget

_TO_CONTACT: Final = 204
"""The association from a task to a contact that HubSpot defines (guide "Associations", types)."""

_MOST_SUBJECT: Final = 255
_MOST_BODY: Final = 65_000
"""HubSpot takes 65,536 characters (guide "Activities | Tasks")."""

_PRIORITIES: Final = {"low": "LOW", "normal": "MEDIUM", "high": "HIGH"}


def task(target: HubSpotTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's contact, which is made first where it is missing."""
    wanted = read_with(Task, act)
    on = yield from remembered(run, "contact", contact(target, act))
    if run.unsure:
        return (yield from _found(target, on, reference(act)))
    properties = {
        "hs_timestamp": due_of(wanted, act).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "hs_task_subject": cut(wanted.subject, _MOST_SUBJECT),
        "hs_task_body": f"{cut(wanted.body, _MOST_BODY)}<p>{escape(reference(act))}</p>",
        "hs_task_status": "NOT_STARTED",
        "hs_task_priority": _PRIORITIES[wanted.priority],
        "hs_task_type": "CALL",
    }
    if wanted.owner:
        properties["hubspot_owner_id"] = yield from _owner(target, wanted.owner)
    kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _TO_CONTACT}
    body = {"properties": properties, "associations": [{"to": {"id": on}, "types": [kind]}]}
    answer = yield Http.json("task", "POST", objects(target, "/tasks"), body, safe=False, sample={"id": "<task_id>"})
    made = id_of(answer.json())
    if not made:
        raise Lost(f"HubSpot answers {answer.status} without the task's id")
    return made


def _owner(target: HubSpotTarget, owner: str) -> Generator[Http, Answer, str]:
    """Return HubSpot's id of *owner*, an address. An id stays as it is."""
    if "@" not in owner:
        return owner
    path = parts(target, "owners", f"?email={quote(owner, safe='')}&limit=1")
    answer = yield Http.json("owner", "GET", path, sample={"results": [{"id": "<owner_id>"}]})
    found = listed(answer.json(), "results")
    if not found:
        raise Refused(f"HubSpot has no owner {scrubbed(owner)}: invite this user, or correct `owner`")
    return id_of(found[0])


def _found(target: HubSpotTarget, contact_id: str, words: str) -> Steps:
    """Return the id of the contact's task with *words* in its body. Raises `Unknown` where there is none."""
    after = ""
    while True:
        path = objects(target, f"/contacts/{quote(contact_id, safe='')}/associations/tasks?limit=100{after}")
        answer = yield Http.json("look-up", "GET", path, sample={"results": []}, takes=(404,))
        page = answer.json()
        ids = [{"id": str(one["toObjectId"])} for one in listed(page, "results") if inside(one, "toObjectId")]
        if ids:
            body = {"inputs": ids, "properties": ["hs_task_body"], "propertiesWithHistory": []}
            answer = yield Http.json("look-up", "POST", objects(target, "/tasks/batch/read"), body, sample={"results": []})
            for one in listed(answer.json(), "results"):
                if has_reference(properties_of(one).get("hs_task_body"), words):
                    return id_of(one)
        cursor = inside(page, "paging", "next", "after")
        if not cursor:
            raise Unknown("an answer was lost, and HubSpot shows no such task on the contact")
        after = f"&after={quote(str(cursor), safe='')}"


KIND: Final = Kind(
    name="hubspot",
    actions={"task": task},
    fields={"task": Task},
    judge=judge,
    personal={"task": ""},
    rate=Rate(100, 10.0),  # the lowest plan's (usage guidelines)
    batch=BATCH,
    write=write,
    forget=forget,
    prepare=prepare,
    spare=spare,
)
