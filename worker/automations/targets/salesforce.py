"""Salesforce: the state of leads in their records, and tasks on them.

The task's fields are those of the Object Reference, "Task". A task has no key of ours. After a lost answer it is looked up
among the record's tasks, by the reference in its comments. Untested against a live organisation.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Lost, Run, Steps, Unknown
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import PlainTask, cut, due_of, has_reference, read_with, reference, remembered
from worker.automations.targets.salesforce_api import ask, judge, path, spare, text
from worker.automations.targets.salesforce_fields import prepare
from worker.automations.targets.salesforce_records import BATCH, forget, person, write
from worker.connections.targets import SalesforceTarget

_MOST_SUBJECT: Final = 255
_MOST_BODY: Final = 31_000
"""Salesforce takes 32,000 characters (Field Reference, "Task")."""

_PRIORITIES: Final = {"low": "Low", "normal": "Normal", "high": "High"}


def task(target: SalesforceTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's record, which is made first where it is missing."""
    wanted = read_with(PlainTask, act)
    on = yield from remembered(run, "contact", person(target, act))
    if run.unsure:
        return (yield from _found(target, on, reference(act)))
    body: dict[str, Any] = {
        "WhoId": on,
        "Subject": cut(wanted.subject, _MOST_SUBJECT),
        "ActivityDate": due_of(wanted, act).date().isoformat(),
        "Status": "Not Started",
        "Priority": _PRIORITIES[wanted.priority],
        "Description": f"{cut(wanted.body, _MOST_BODY)}\n\n{reference(act)}".strip(),
    }
    if wanted.owner:
        body["OwnerId"] = yield from _owner(target, wanted.owner)
    sample = {"id": "<task_id>", "success": True}
    answer = yield Http.json("task", "POST", path(target, "/sobjects/Task"), body, safe=False, sample=sample)
    held = answer.json()
    if not isinstance(held, dict) or held.get("success") is not True or not held.get("id"):
        raise Lost(f"Salesforce answers {answer.status} without the task's id")
    return str(held["id"])


def _owner(target: SalesforceTarget, owner: str) -> Generator[Http, Answer, str]:
    """Return Salesforce's id of *owner*, an address. An id stays as it is."""
    if "@" not in owner:
        return owner
    soql = f"SELECT Id FROM User WHERE Email = {text(owner)} AND IsActive = true ORDER BY CreatedDate LIMIT 1"
    rows = yield from ask(target, "owner", soql, {"Id": "<owner_id>"})
    if not rows:
        raise Refused(f"Salesforce has no active user {scrubbed(owner)}: correct `owner`")
    return str(rows[0].get("Id"))


def _found(target: SalesforceTarget, on: str, words: str) -> Steps:
    """Return the id of the record's task with *words* in its comments. Raises `Unknown` where there is none."""
    soql = f"SELECT Id, Description FROM Task WHERE WhoId = {text(on)} ORDER BY CreatedDate DESC LIMIT 2000"
    rows = yield from ask(target, "look-up", soql)
    for row in rows:
        if has_reference(row.get("Description"), words):
            return str(row.get("Id"))
    raise Unknown("an answer was lost, and Salesforce shows no such task on the record")


KIND: Final = Kind(
    name="salesforce",
    actions={"task": task},
    fields={"task": PlainTask},
    judge=judge,
    personal={"task": ""},
    rate=Rate(100_000, 86_400.0),  # an organisation's requests a day, without those of its licences
    batch=BATCH,
    write=write,
    forget=forget,
    prepare=prepare,
    spare=spare,
)
