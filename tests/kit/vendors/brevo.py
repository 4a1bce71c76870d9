"""A Brevo that refuses what Brevo refuses.

Places are those of its published client, `getbrevo/brevo-python`, `docs/`, and of its pages "Rate limits" and "Idempotency for
batch emails".
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAIL: Final = {
    "sender", "to", "bcc", "cc", "htmlContent", "textContent", "subject", "replyTo", "attachment", "headers", "templateId",
    "params", "messageVersions", "tags", "scheduledAt", "batchId", "preheader",
}  # fmt: skip
_ENDINGS: Final = ("ics", "pdf", "txt", "html", "docx", "png", "jpg")


def refused(place: str, message: str, code: str = "invalid_parameter", status: int = 400) -> Refused:
    """Return the refusal of a request that *place* does not allow."""
    return Refused(place, Reply(status, {"code": code, "message": message}))


@dataclass
class Brevo(Vendor):
    """An account with mails, contacts, and tasks."""

    name: ClassVar[str] = "brevo"
    token: str = "xkeysib-secret"
    mails: list[dict[str, Any]] = field(default_factory=list)
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By address."""
    attributes: set[str] = field(default_factory=lambda: {"FIRSTNAME", "LASTNAME", "LEADPULSE_SCORE", "LEADPULSE_GRADE"})
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """Keys of mails that live still."""
    limits: tuple[int, int, int] | None = None
    """The most, what is left, and the seconds until it begins anew."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)

    def headers(self) -> dict[str, str]:
        """Return the limit's headers (page "Rate limits")."""
        names = ("limit", "remaining", "reset")
        return {f"x-sib-ratelimit-{name}": str(one) for name, one in zip(names, self.limits or (), strict=False)}

    def check_login(self, request: Request) -> None:
        """Refuse another key (README, api-key)."""
        if request.headers.get("api-key") != self.token:
            raise refused("README: api-key", "Key not found", "unauthorized", 401)

    @route("POST", r"/v3/smtp/email")
    def send(self, request: Request) -> Reply:
        """Send a mail."""
        body = request.json()
        if unknown := set(body) - _MAIL:
            raise refused("SendSmtpEmail", f"unknown {sorted(unknown)}")
        if not body.get("to") or not body.get("sender") or not body.get("subject") or not body.get("htmlContent"):
            raise refused("SendSmtpEmail: to, sender, subject, htmlContent", "missing", "missing_parameter")
        for person in (body["sender"], *body["to"], *([body["replyTo"]] if "replyTo" in body else [])):
            if set(person) - {"email", "name"} or not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", person["email"]):
                raise refused("SendSmtpEmailTo.email", "email is not valid")
            if not 0 < len(person.get("name", "x")) <= 70:
                raise refused("SendSmtpEmailTo.name: at most 70 characters", "name")
        for one in body.get("attachment", []):
            if set(one) != {"name", "content"} or one["name"].rpartition(".")[2] not in _ENDINGS:
                raise refused("SendSmtpEmailAttachment", "attachment")
        if not all(isinstance(one, str) for one in body.get("tags", [])):
            raise refused("SendSmtpEmail.tags: list[str]", "tags")
        key = body.get("headers", {}).get("idempotencyKey")
        if key is not None:
            if not _UUID.fullmatch(key):
                raise refused("Idempotency for batch emails: a UUID", "idempotencyKey")
            if key in self.keys:
                return Reply(400, {"code": "duplicate_parameter", "message": "idempotencyKey is used"})
            self.keys.add(key)
        self.mails.append(body)
        return Reply(201, {"messageId": f"<{len(self.mails)}@smtp-relay.mailin.fr>"})

    @route("POST", r"/v3/contacts")
    def contact(self, request: Request) -> Reply:
        """Make or update a contact."""
        body = request.json()
        known = {"email", "ext_id", "attributes", "emailBlacklisted", "smsBlacklisted", "listIds", "updateEnabled"}
        if set(body) - known or not re.fullmatch(r"[^@\s]+@[^@\s]+", body.get("email", "")):
            raise refused("CreateContact", "Invalid email address")
        if missing := set(body.get("attributes", {})) - self.attributes:
            raise refused("CreateContact.attributes: must be present in your account", f"unknown {sorted(missing)}")
        if not all(isinstance(one, int) for one in body.get("listIds", [])):
            raise refused("CreateContact.listIds: list[int]", "listIds")
        held = self.contacts.get(body["email"])
        if held is not None and not body.get("updateEnabled"):
            return Reply(400, {"code": "duplicate_parameter", "message": "Contact already exist"})
        if held is not None:
            held["attributes"] |= body.get("attributes", {})
            held["listIds"] = [*held["listIds"], *body.get("listIds", [])]
            return Reply(204)
        id_ = next(self._ids)
        self.contacts[body["email"]] = {
            "id": id_, "email": body["email"], "attributes": body.get("attributes", {}), "listIds": body.get("listIds", []),
        }  # fmt: skip
        return Reply(201, {"id": id_})

    @route("GET", r"/v3/contacts/([^/]+)")
    def show(self, _request: Request, identifier: str) -> Reply:
        """Show a contact."""
        return Reply(200, self._at(identifier))

    @route("DELETE", r"/v3/contacts/([^/]+)")
    def delete(self, _request: Request, identifier: str) -> Reply:
        """Delete a contact."""
        del self.contacts[self._at(identifier)["email"]]
        return Reply(204)

    @route("POST", r"/v3/events")
    def event(self, request: Request) -> Reply:
        """Take an event."""
        body = request.json()
        if set(body) - {"event_name", "event_date", "identifiers", "contact_properties", "event_properties"}:
            raise refused("Event", "unknown")
        if not re.fullmatch(r"[\w-]{1,255}", body.get("event_name", ""), re.ASCII) or not body.get("identifiers"):
            raise refused("Event.event_name: alphanumerical, - and _; identifiers", "event_name")
        self.events.append(body)
        return Reply(204)

    @route("GET", r"/v3/crm/tasktypes")
    def types(self, _request: Request) -> Reply:
        """List task types."""
        return Reply(
            200, [{"id": "61a5cd07ca1347c82306ad06", "title": "Call"}, {"id": "61a5cd07ca1347c82306ad09", "title": "Email"}]
        )

    @route("POST", r"/v3/crm/tasks")
    def task(self, request: Request) -> Reply:
        """Make a task."""
        body = request.json()
        known = {"name", "duration", "taskTypeId", "date", "notes", "done", "assignToId", "contactsIds", "dealsIds", "reminder"}
        if set(body) - known or not {"name", "taskTypeId", "date"} <= set(body):
            raise refused("Body13: required name, taskTypeId, date", "required")
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["date"]):
            raise refused("Body13.date: datetime", "date")
        ids = {one["id"] for one in self.contacts.values()}
        if not all(isinstance(one, int) and one in ids for one in body.get("contactsIds", [])):
            raise refused("Body13.contactsIds: list[int]", "contactsIds")
        id_ = f"task-{len(self.tasks) + 1}"
        self.tasks[id_] = body
        return Reply(201, {"id": id_})

    @route("GET", r"/v3/crm/tasks")
    def find_tasks(self, request: Request) -> Reply:
        """List the tasks of a contact."""
        wanted = int(request.query["filter[contacts]"])
        found = [{"id": id_, **one} for id_, one in self.tasks.items() if wanted in one.get("contactsIds", [])]
        start, most = int(request.query.get("offset", 0)), int(request.query.get("limit", 50))
        return Reply(200, {"items": found[start : start + most]})

    def _at(self, identifier: str) -> dict[str, Any]:
        for one in self.contacts.values():
            if identifier in (one["email"], str(one["id"])):
                return one
        raise refused("ContactsApi: identifier", "Contact does not exist", "document_not_found", 404)
