"""Zoho CRM v8: the state of leads in their records, and tasks on them.

Requests by `zoho/crm-oas`, v8.0/record.json and related_records.json. The fields of tasks, and the name of the list of a
record's tasks, are memory alone. A task has no key of ours: Zoho's upsert takes no tasks. After a lost answer it is looked up
among the record's tasks, by the reference in its description. Untested against a live account.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final
from urllib.parse import quote

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Lost, Run, Steps, Unknown
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import inside, objects_at, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import PlainTask, cut, due_of, has_reference, read_with, reference, remembered
from worker.automations.targets.zoho_api import id_of, judge, results_of, spare
from worker.automations.targets.zoho_fields import prepare
from worker.automations.targets.zoho_records import BATCH, forget, path, person, write
from worker.connections.targets import ZohoTarget

_MOST_SUBJECT: Final = 255
_MOST_BODY: Final = 31_000
"""Zoho's long text takes 32,000 characters."""

_PAGE: Final = 200
"""Records of a page at most."""

_PRIORITIES: Final = {"low": "Low", "normal": "Normal", "high": "High"}


def task(target: ZohoTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's record, which is made first where it is missing."""
    wanted = read_with(PlainTask, act)
    on = yield from remembered(run, "contact", person(target, act))
    if run.unsure:
        return (yield from _found(target, on, reference(act)))
    about = {"Who_Id": {"id": on}} if target.object == "Contacts" else {"What_Id": {"id": on}, "$se_module": "Leads"}
    row: dict[str, Any] = {
        "Subject": cut(wanted.subject, _MOST_SUBJECT),
        "Due_Date": due_of(wanted, act).date().isoformat(),
        "Status": "Not Started",
        "Priority": _PRIORITIES[wanted.priority],
        "Description": f"{cut(wanted.body, _MOST_BODY)}\n\n{reference(act)}".strip(),
        **about,
    }
    if wanted.owner:
        row["Owner"] = {"id": (yield from _owner(wanted.owner))}
    body = {"data": [row], "trigger": ["workflow"] if target.workflows else []}
    sample = {"data": [{"code": "SUCCESS", "details": {"id": "<task_id>"}}]}
    answer = yield Http.json("task", "POST", "/crm/v8/Tasks", body, safe=False, sample=sample)
    return _made(answer)


def _made(answer: Answer) -> str:
    results = results_of(answer)
    made = id_of(results[0]) if len(results) == 1 else ""
    if not made:
        raise Lost(f"Zoho answers {answer.status} without the task's id")
    return made


def _owner(owner: str) -> Generator[Http, Answer, str]:
    """Return Zoho's id of *owner*, an address. An id stays as it is."""
    if "@" not in owner:
        return owner
    for page in range(1, 11):
        asked = f"/crm/v8/users?type=ActiveUsers&page={page}&per_page={_PAGE}"
        answer = yield Http.json("owner", "GET", asked, sample={"users": [{"email": owner, "id": "<owner_id>"}]})
        held = answer.json()
        for user in objects_at(held, "users"):
            if str(user.get("email")).lower() == owner.lower():
                return str(user.get("id"))
        if not _more(held):
            break
    raise Refused(f"Zoho has no active user {scrubbed(owner)}: correct `owner`")


def _more(held: Any) -> bool:
    return inside(held, "info", "more_records") is True


def _found(target: ZohoTarget, on: str, words: str) -> Steps:
    """Return the id of the record's task with *words* in its description. Raises `Unknown` where there is none."""
    for page in range(1, 11):
        asked = path(target, f"/{quote(on, safe='')}/Tasks?fields=Description&page={page}&per_page={_PAGE}")
        answer = yield Http.json("look-up", "GET", asked, sample={"data": []}, takes=(400, 404))
        for row in results_of(answer):
            if has_reference(row.get("Description"), words):
                return str(row.get("id"))
        if not _more(answer.json()):
            break
    raise Unknown("an answer was lost, and Zoho shows no such task on the record")


KIND: Final = Kind(
    name="zoho",
    actions={"task": task},
    fields={"task": PlainTask},
    judge=judge,
    personal={"task": ""},
    rate=Rate(50_000, 86_400.0),  # credits a day of the smallest paid edition, one a request
    batch=BATCH,
    write=write,
    forget=forget,
    prepare=prepare,
    spare=spare,
)
