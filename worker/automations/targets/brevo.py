"""Brevo: mails, contacts, lists and events, and tasks of its CRM.

By its published client (`getbrevo/brevo-python`, `docs/`) and its pages "Rate limits" and "Idempotency for batch emails". A
mail's key is a UUID of the act. Brevo refuses a repeat for 15 to 30 minutes, so a lost answer is asked for again within ten.
Untested against a live account.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Generator, Mapping, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field

from worker.automations.acts import Act, LeadState
from worker.automations.requests import (
    Again,
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
)
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import numbers_of, objects_at, raise_for, scrubbed, text_at
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import (
    Task,
    address_of,
    by_lead,
    cut,
    due_of,
    erased_address,
    has_reference,
    is_anonymous,
    natural,
    read_with,
    reference,
    remembered,
    written,
)
from worker.automations.targets.fields import Line, With
from worker.automations.targets.mail import Letter, Send, letter, reply_address
from worker.connections.targets import BrevoTarget

_KEY_LIVES_MS: Final = 600_000
_MOST_NAME: Final = 70
_MOST_TASK: Final = 255
_DUPLICATE: Final = "duplicate_parameter"


class ToList(With):
    """Adds the lead's contact to a list. Its automations start there."""

    list: int = Field(ge=1)
    """The list's id."""


class Event(With):
    """An event of the lead's contact, on which an automation starts."""

    event: Line
    """Its name: letters, digits, `-` and `_`."""
    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What automations may compare."""


class BrevoTask(Task):
    """A task in Brevo's CRM, about the lead."""

    kind: Line = "Call"
    """Title of a task type of the account."""


def send(target: BrevoTarget, act: Act, run: Run) -> Steps:
    """Send one mail."""
    if not target.sender:
        raise Misconfigured("the target has no `from`: write the sender of mails, as in Acme <hello@example.com>")
    held = letter(act, read_with(Send, act), target.sender, run)
    begun = run.known.get("sent_ms", "")
    if run.unsure:
        if not begun.isdecimal() or run.now_ms - int(begun) > _KEY_LIVES_MS:
            raise Unknown("Brevo may have the mail, and its key has ended, so it cannot be asked safely")
    elif not begun.isdecimal() or run.now_ms - int(begun) > _KEY_LIVES_MS:
        yield Remember("sent_ms", str(run.now_ms))
    answer = yield Http.json(
        "send", "POST", "/v3/smtp/email", _mail(act, held), safe=bool(run.unsure), sample={"messageId": "<message_id>"},
        takes=(400,),
    )  # fmt: skip
    if answer.status == 400:
        if run.unsure and _code(answer) == _DUPLICATE:
            return ""  # the first attempt's answer was lost, and with it the mail's id
        raise Refused(f"Brevo answers 400: {scrubbed(_words(answer))}")
    return text_at(answer.json(), "messageId")


def _mail(act: Act, held: Letter) -> dict[str, Any]:
    sender = {"email": held.sender} | ({"name": cut(held.sender_name, _MOST_NAME)} if held.sender_name else {})
    body: dict[str, Any] = {
        "sender": sender,
        "to": [{"email": held.to}],
        "subject": held.subject,
        "htmlContent": held.html or f"<pre>{escape(held.text)}</pre>",
        "tags": [act.rule],
        "headers": {**held.headers, "idempotencyKey": str(uuid.uuid5(uuid.NAMESPACE_URL, act.id))},
    }
    if held.text:
        body["textContent"] = held.text
    if held.reply_to:
        name, address = reply_address(held.reply_to)
        body["replyTo"] = {"email": address} | ({"name": name} if name else {})
    if held.calendar:
        body["attachment"] = [{"name": "invitation.ics", "content": base64.b64encode(held.calendar).decode()}]
    return body


def write(_target: BrevoTarget, states: Sequence[LeadState]) -> Writes:
    """Write the state of a lead into its contact's attributes, which the account must have."""
    errors: dict[str, Refusal] = {}
    for lead in by_lead(states).values():
        if is_anonymous(lead.lead_id, lead.person):
            continue
        attributes = {name.upper(): natural(value) for name, value in lead.fields.items()}
        try:
            yield from _contact(lead.lead_id, lead.person, {"attributes": attributes})
        except Refused as error:
            errors[lead.lead_id] = error
    return written(states, errors)


def _contact(lead_id: str, person: Mapping[str, str], more: Mapping[str, Any]) -> Generator[Http, Answer, tuple[str, str]]:
    """Make or update the lead's contact. Return what names it, and its id if Brevo says so."""
    email = address_of(lead_id, person)
    if not email:
        raise Refused("the lead has no address, so Brevo has no contact of it")
    names = {"FIRSTNAME": person.get("first_name", ""), "LASTNAME": person.get("last_name", "")}
    attributes = {**{name: value for name, value in names.items() if value}, **more.get("attributes", {})}
    body = {"email": email, **more, "attributes": attributes, "updateEnabled": True}
    answer = yield Http.json("contact", "POST", "/v3/contacts", body, sample={"id": "<contact_id>"}, takes=(400,))
    if answer.status == 400:
        raise Refused(f"Brevo refuses the contact: {scrubbed(_words(answer))}")
    return email, text_at(answer.json(), "id")


def to_list(_target: BrevoTarget, act: Act, _run: Run) -> Steps:
    """Add the lead's contact to a list."""
    wanted = read_with(ToList, act)
    email, id_ = yield from _contact(act.lead_id, act.person, {"listIds": [wanted.list]})
    return id_ or email


def event(_target: BrevoTarget, act: Act, run: Run) -> Steps:
    """Send an event of the lead's contact. Brevo keeps no key of events, so a repeat would be one more."""
    wanted = read_with(Event, act)
    email = address_of(act.lead_id, act.person)
    if not email:
        raise Refused("the lead has no address, so Brevo has no contact of it")
    if run.unsure:
        raise Unknown("Brevo may have the event, and cannot be asked")
    body = {"event_name": wanted.event, "identifiers": {"email_id": email}, "event_properties": wanted.properties}
    yield Http.json("event", "POST", "/v3/events", body, safe=False)
    return ""


def task(_target: BrevoTarget, act: Act, run: Run) -> Steps:
    """Make a task on the lead's contact."""
    wanted = read_with(BrevoTask, act)
    contact = yield from remembered(run, "contact", _contact_id(act))
    if run.unsure:
        return (yield from _found(contact, reference(act)))
    body: dict[str, Any] = {
        "name": cut(wanted.subject, _MOST_TASK),
        "taskTypeId": (yield from _type(wanted.kind)),
        "date": due_of(wanted, act).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "notes": f"{wanted.body}<p>{escape(reference(act))}</p>",
        "contactsIds": [int(contact) if contact.isdecimal() else contact],
    }
    if wanted.owner:
        body["assignToId"] = wanted.owner
    answer = yield Http.json("task", "POST", "/v3/crm/tasks", body, safe=False, sample={"id": "<task_id>"})
    made = text_at(answer.json(), "id")
    if not made:
        raise Lost(f"Brevo answers {answer.status} without the task's id")
    return made


def _contact_id(act: Act) -> Steps:
    email, id_ = yield from _contact(act.lead_id, act.person, {})
    if id_:
        return id_
    found = yield Http.json("found", "GET", f"/v3/contacts/{quote(email, safe='')}", sample={"id": "<contact_id>"})
    return text_at(found.json(), "id")


def _type(title: str) -> Generator[Http, Answer, str]:
    answer = yield Http.json("type", "GET", "/v3/crm/tasktypes", sample=[{"id": "<task_type_id>", "title": title}])
    types = objects_at(answer.json())
    for one in types:
        if str(one.get("title", "")).casefold() == title.casefold():
            return text_at(one, "id")
    raise Refused(f"Brevo has no task type {title!r}: write one of {', '.join(str(one.get('title')) for one in types)}")


def _found(contact: str, words: str) -> Steps:
    """Return the id of the contact's task with *words* in its notes. Raises `Unknown` where there is none."""
    for page in range(10):
        query = f"filter%5Bcontacts%5D={quote(contact, safe='')}&limit=50&offset={50 * page}"
        answer = yield Http.json("look-up", "GET", f"/v3/crm/tasks?{query}", sample={"items": []})
        items = objects_at(answer.json(), "items")
        for one in items:
            if has_reference(one.get("notes"), words):
                return text_at(one, "id")
        if len(items) < 50:
            break
    raise Unknown("an answer was lost, and Brevo shows no such task of the contact")


def forget(_target: BrevoTarget, act: Act, _run: Run) -> Steps:
    """Delete the lead's contact. A missing contact is no error."""
    email = erased_address(act)
    if not email:
        return ""
    yield Http.json("forget", "DELETE", f"/v3/contacts/{quote(email, safe='')}", takes=(404,))
    return email


def judge(answer: Answer) -> None:
    """Raise what an answer means. A 429 tells when it ends in `x-sib-ratelimit-reset`."""
    reset = numbers_of(answer, "x-sib-ratelimit-reset")
    wait_s = float(reset[0]) if reset and reset[0] < 100_000 else 10.0
    if answer.status == 401:
        raise Misconfigured(f"Brevo answers 401: {scrubbed(_words(answer))}. Correct `token`, or allow our address in Brevo")
    if answer.status == 402:
        raise Again("Brevo answers 402: the account has no credits left", 900.0)
    raise_for(answer, "Brevo", _words(answer), wait_s=wait_s)


def spare(answer: Answer) -> float:
    """Return the seconds until Brevo's limit begins anew, where less than 30 % of it is left."""
    held = numbers_of(answer, *(f"x-sib-ratelimit-{name}" for name in ("limit", "remaining", "reset")))
    if held is None:
        return 0.0
    most, left, reset_s = held
    return float(min(reset_s, 60)) if left < 0.3 * most else 0.0


def _code(answer: Answer) -> str:
    return text_at(answer.json(), "code")


def _words(answer: Answer) -> str:
    held = answer.json()
    return " ".join(str(held[name]) for name in ("code", "message") if held.get(name)) if isinstance(held, dict) else ""


KIND: Final = Kind(
    name="brevo",
    actions={"send": send, "list": to_list, "event": event, "task": task},
    fields={"send": Send, "list": ToList, "event": Event, "task": BrevoTask},
    judge=judge,
    personal={"send": "to", "list": "", "event": "", "task": ""},
    rate=Rate(10, 1.0),  # contacts; mails may go faster (page "Rate limits")
    batch=1,
    write=write,
    forget=forget,
    spare=spare,
)
