"""An ActiveCampaign that refuses what ActiveCampaign refuses.

Places are those of its OpenAPI document (`activecampaign-v3.json`), paths below `/api/3`. The document leaves bodies loose
where its examples show more, so a name that neither of them has is refused too.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route

_CONTACT = {"email", "firstName", "lastName", "phone", "fieldValues", "orgid", "deleted"}
_TASK = {
    "title", "ownerType", "relid", "status", "note", "duedate", "edate", "dealTasktype", "assignee",
    "triggerAutomationOnCreate", "doneAutomation",
}  # fmt: skip


def refused(place: str, title: str, status: int = 422) -> Refused:
    """Return the refusal of a request that *place* does not allow."""
    return Refused(place, Reply(status, {"errors": [{"title": title, "detail": "", "code": "invalid"}]}))


@dataclass
class ActiveCampaign(Vendor):
    """An account with contacts, fields, tags, lists, automations and tasks."""

    name: ClassVar[str] = "activecampaign"
    prefix: ClassVar[str] = "/api/3"
    token: str = "ac-secret"
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id."""
    fields: dict[str, str] = field(default_factory=lambda: {"1": "LEADPULSE_SCORE", "2": "LEADPULSE_STAGE"})
    """Id → personalization tag."""
    tags: dict[str, str] = field(default_factory=lambda: {"20": "Consideration"})
    tagged: set[tuple[str, str]] = field(default_factory=set)
    listed: set[tuple[str, str]] = field(default_factory=set)
    automations: list[tuple[str, str]] = field(default_factory=list)
    """(contact, automation) of each start."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=lambda: {"anna@example.com": "5"})
    page: int = 100

    def __post_init__(self) -> None:
        self._ids = itertools.count(101)

    @property
    def root(self) -> str:
        """Return the account's address, which a target has."""
        return self.url.removesuffix(self.prefix)

    def check_login(self, request: Request) -> None:
        """Refuse another key (header Api-Token)."""
        if request.headers.get("api-token") != self.token:
            raise Refused("securitySchemes: Api-Token", Reply(401, {"message": "No Result found"}))

    @route("POST", "/contact/sync")
    def sync(self, request: Request) -> Reply:
        """Make or update a contact by its address."""
        held = self._inside(request, "contact", _CONTACT, {"email"})
        if not isinstance(held["email"], str) or not re.fullmatch(r"[^@\s]+@[^@\s]+", held["email"]):
            raise refused("contact/sync: contact.email", "Email Address is not valid")
        for one in held.get("fieldValues", []):
            if set(one) != {"field", "value"} or str(one["field"]) not in self.fields or not isinstance(one["value"], str):
                raise refused("contact/sync: fieldValues [{field, value}]", "field")
        email = held["email"].lower()
        id_ = next((id_ for id_, one in self.contacts.items() if one["email"] == email), None) or str(next(self._ids))
        values = {str(one["field"]): one["value"] for one in held.get("fieldValues", [])}
        before = self.contacts.get(id_, {"values": {}})
        self.contacts[id_] = {**before, **held, "email": email, "values": before["values"] | values}
        return Reply(201, {"fieldValues": [], "contact": {"id": id_, "email": email}})

    @route("GET", "/contacts")
    def find(self, request: Request) -> Reply:
        """List contacts by address."""
        wanted = request.query["email"].lower()
        found = [{"id": id_, "email": one["email"]} for id_, one in self.contacts.items() if one["email"] == wanted]
        return Reply(200, {"contacts": found, "meta": {"total": str(len(found))}})

    @route("DELETE", "/contacts/([^/]+)")
    def delete(self, _request: Request, id_: str) -> Reply:
        """Delete a contact."""
        if self.contacts.pop(id_, None) is None:
            raise refused("contacts/{id}: 404", "No Result found for Subscriber", 404)
        return Reply(200, {})

    @route("GET", "/fields")
    def list_fields(self, request: Request) -> Reply:
        """List contact fields."""
        made = [{"id": id_, "title": tag.title().replace("_", " "), "perstag": tag} for id_, tag in self.fields.items()]
        return Reply(200, {"fields": self._page(request, made)})

    @route("GET", "/tags")
    def list_tags(self, request: Request) -> Reply:
        """List tags that have the words searched for."""
        wanted = request.query.get("search", "").lower()
        made = [{"id": id_, "tag": tag} for id_, tag in self.tags.items() if wanted in tag.lower()]
        return Reply(200, {"tags": self._page(request, made)})

    @route("POST", "/contactTags")
    def tag(self, request: Request) -> Reply:
        """Give a contact a tag."""
        held = self._inside(request, "contactTag", {"contact", "tag"}, {"contact", "tag"})
        if str(held["contact"]) not in self.contacts or str(held["tag"]) not in self.tags:
            raise refused("contactTags: contact, tag", "not found", 404)
        self.tagged.add((str(held["contact"]), str(held["tag"])))
        return Reply(201, {"contactTag": {"id": "1"}})

    @route("POST", "/contactLists")
    def subscribe(self, request: Request) -> Reply:
        """Subscribe a contact."""
        held = self._inside(request, "contactList", {"list", "contact", "status", "sourceid"}, {"list", "contact", "status"})
        if str(held["status"]) not in ("1", "2") or str(held["contact"]) not in self.contacts:
            raise refused("contactLists: status 1 or 2, contact", "status", 400)
        self.listed.add((str(held["contact"]), str(held["list"])))
        return Reply(200, {"contactList": {"id": "2"}})

    @route("POST", "/contactAutomations")
    def start(self, request: Request) -> Reply:
        """Start an automation."""
        held = self._inside(request, "contactAutomation", {"contact", "automation"}, {"contact", "automation"})
        self.automations.append((str(held["contact"]), str(held["automation"])))
        return Reply(201, {"contactAutomation": {"id": str(len(self.automations))}})

    @route("GET", "/contacts/([^/]+)/contactAutomations")
    def started(self, _request: Request, id_: str) -> Reply:
        """List a contact's automations."""
        made = [
            {"id": str(number), "contact": contact, "automation": automation}
            for number, (contact, automation) in enumerate(self.automations, 1)
            if contact == id_
        ]
        return Reply(200, {"contactAutomations": made})

    @route("GET", "/dealTasktypes")
    def types(self, _request: Request) -> Reply:
        """List task types."""
        return Reply(200, {"dealTasktypes": [{"id": "1", "title": "Call"}, {"id": "2", "title": "Email"}]})

    @route("GET", "/users/email/([^/]+)")
    def user(self, _request: Request, address: str) -> Reply:
        """Show a user."""
        if address not in self.users:
            raise refused("users/email/{email}: 400", "No Result found for User", 400)
        return Reply(200, {"user": {"id": self.users[address], "email": address}})

    @route("POST", "/dealTasks")
    def task(self, request: Request) -> Reply:
        """Make a task."""
        held = self._inside(request, "dealTask", _TASK, {"relid", "duedate", "dealTasktype"})
        if held.get("ownerType") not in ("contact", "deal") or str(held["relid"]) not in self.contacts:
            raise refused("dealTasks: ownerType contact or deal, relid", "relid", 400)
        if str(held["dealTasktype"]) not in ("1", "2") or held.get("status") not in (0, 1):
            raise refused("dealTasks: dealTasktype, status", "dealTasktype", 400)
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", held["duedate"]):
            raise refused("dealTasks: duedate", "duedate", 400)
        id_ = str(len(self.tasks) + 1)
        self.tasks[id_] = held
        return Reply(201, {"dealTask": {"id": id_, **held}})

    @route("GET", "/dealTasks")
    def find_tasks(self, request: Request) -> Reply:
        """List the tasks of a contact."""
        if request.query.get("filters[reltype]") != "Subscriber":
            raise refused("dealTasks: filters[reltype]", "reltype", 400)
        wanted = request.query["filters[relid]"]
        made = [{"id": id_, **one} for id_, one in self.tasks.items() if str(one["relid"]) == wanted]
        return Reply(200, {"dealTasks": self._page(request, made)})

    def _page(self, request: Request, found: list[Any]) -> list[Any]:
        most, start = min(int(request.query.get("limit", 20)), self.page), int(request.query.get("offset", 0))
        return found[start : start + most]

    def _inside(self, request: Request, name: str, known: set[str], required: set[str]) -> dict[str, Any]:
        body = request.json()
        if set(body) != {name} or not isinstance(body[name], dict):
            raise refused(f"{name}: an object", name)
        held: dict[str, Any] = body[name]
        if set(held) - known or not required <= set(held):
            raise refused(f"{name}: {', '.join(sorted(required))}", f"{name} is not valid")
        return held
