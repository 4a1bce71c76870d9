"""A Pipedrive that refuses what Pipedrive refuses.

Places are those of `api-evangelist/pipedrive`, openapi/_original/pipedrive-v2-openapi.yml and -v1-. That an activity's
`person_id` is read-only comes from its developers' forum, t/19734.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any, ClassVar, Final

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route

_PERSON: Final = {
    "name", "owner_id", "org_id", "add_time", "update_time", "emails", "phones", "visible_to", "label_ids", "marketing_status",
    "custom_fields",
}  # fmt: skip
"""v2: POST /persons, properties."""

_ACTIVITY: Final[dict[str, type]] = {
    "subject": str, "type": str, "owner_id": int, "deal_id": int, "lead_id": str, "org_id": int, "project_id": int,
    "due_date": str, "due_time": str, "duration": str, "busy": bool, "done": bool, "participants": list, "attendees": list,
    "public_description": str, "priority": int, "note": str,
}  # fmt: skip
"""v2: POST /activities, properties, without `person_id`."""


def problem(status: int, error: str) -> Reply:
    """Return an error."""
    return Reply(status, {"success": False, "error": error, "code": "ERR_BAD_REQUEST"})


def refused(place: str, error: str) -> Refused:
    """Return the refusal of a request that *place* does not allow."""
    return Refused(place, problem(400, error))


@dataclass
class Pipedrive(Vendor):
    """A company with persons, activities, users and fields."""

    name: ClassVar[str] = "pipedrive"
    token: str = "pd-secret"
    persons: dict[int, dict[str, Any]] = field(default_factory=dict)
    activities: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": 31, "email": "anna@example.com", "active_flag": True},
            {"id": 30, "email": "ann@example.com"},
        ]
    )
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key → a field of persons of one's own."""
    hidden: bool = False
    """The search shows nothing, for its index lags behind."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)

    def add_person(self, email: str, **more: Any) -> int:
        """Add a person, and return the id."""
        id_ = next(self._ids)
        self.persons[id_] = {"name": "Ada", "emails": [{"value": email}], "custom_fields": {}, **more}
        return id_

    def check_login(self, request: Request) -> None:
        """Refuse another token (components/securitySchemes/api_key)."""
        if request.headers.get("x-api-token") != self.token:
            raise Refused("securitySchemes: api_key", problem(401, "unauthorized access"))

    @route("GET", "/api/v2/persons/search")
    def search(self, request: Request) -> Reply:
        """v2: GET /persons/search; not case-sensitive."""
        term = request.query.get("term", "")
        if not term or request.query.get("fields") != "email" or request.query.get("exact_match") != "true":
            raise refused("v2: GET /persons/search, term", "term is required")
        if int(request.query.get("limit", "100")) > 500:
            raise refused("v2: GET /persons/search, limit", "limit")
        items = []
        for id_, person in self.persons.items():
            emails = [one["value"] for one in person["emails"]]
            if term.lower() in map(str.lower, emails) and not self.hidden:
                items.append(
                    {"result_score": 0.5, "item": {"id": id_, "type": "person", "name": person["name"], "emails": emails}}
                )
        return Reply(200, {"success": True, "data": {"items": items}, "additional_data": {"next_cursor": None}})

    @route("POST", "/api/v2/persons")
    def create_person(self, request: Request) -> Reply:
        """v2: POST /persons."""
        body = request.json()
        self._person(body)
        if not body.get("name"):
            raise refused("v2: POST /persons, name", "name is required")
        id_ = next(self._ids)
        self.persons[id_] = {"custom_fields": {}, **body}
        return Reply(200, {"success": True, "data": {"id": id_, **body}})

    def _person(self, body: dict[str, Any]) -> None:
        if unknown := set(body) - _PERSON:
            raise refused("v2: persons, properties", f"Parameter '{min(unknown)}' is not allowed")
        for mail in body.get("emails", []):
            if set(mail) - {"value", "primary", "label"} or not isinstance(mail["value"], str):
                raise refused("v2: persons, emails", "emails")
        for key, value in body.get("custom_fields", {}).items():
            if key not in self.fields or not re.fullmatch("[0-9a-f]{40}", key):
                raise refused("v2: persons, custom_fields are referenced as 40-character hashes", key)
            if self.fields[key]["field_type"] == "double" and not isinstance(value, int | float | None):
                raise refused("v2: personFields, field_type double", key)

    @route("PATCH", "/api/v2/persons/([0-9]+)")
    def update_person(self, request: Request, id_: str) -> Reply:
        """v2: PATCH /persons/{id}."""
        body = request.json()
        self._person(body)
        person = self.persons.get(int(id_))
        if person is None:
            return problem(404, "Person not found")
        person["custom_fields"].update(body.pop("custom_fields", {}))
        person.update(body)
        return Reply(200, {"success": True, "data": {"id": int(id_), **person}})

    @route("DELETE", "/api/v2/persons/([0-9]+)")
    def delete_person(self, _request: Request, id_: str) -> Reply:
        """v2: DELETE /persons/{id}."""
        if self.persons.pop(int(id_), None) is None:
            return problem(404, "Person not found")
        return Reply(200, {"success": True, "data": {"id": int(id_)}})

    @route("POST", "/api/v2/activities")
    def create_activity(self, request: Request) -> Reply:
        """v2: POST /activities."""
        body = request.json()
        if "person_id" in body:
            raise refused("forum t/19734", "'person_id' is a read-only field. Add a primary participant instead.")
        for name, value in body.items():
            if name not in _ACTIVITY or type(value) is not _ACTIVITY[name]:
                raise refused(f"v2: POST /activities, {name}", f"Parameter '{name}' is not allowed")
        date.fromisoformat(body["due_date"])
        time.fromisoformat(body["due_time"])
        people = body.get("participants", [])
        for one in people:
            if (
                set(one) != {"person_id", "primary"}
                or type(one["person_id"]) is not int
                or one["person_id"] not in self.persons
            ):
                raise refused("v2: POST /activities, participants", "participants")
        if body.get("owner_id", 31) not in [user["id"] for user in self.users]:
            raise refused("v2: POST /activities, owner_id", "owner_id")
        if len(body["subject"]) > 255 or not body["subject"]:
            raise refused("v2: POST /activities, subject", "subject")
        id_ = next(self._ids)
        person = next((one["person_id"] for one in people if one["primary"]), None)
        self.activities[id_] = {**body, "person_id": person}
        return Reply(200, {"success": True, "data": {"id": id_, **self.activities[id_]}})

    @route("GET", "/api/v2/activities")
    def list_activities(self, request: Request) -> Reply:
        """v2: GET /activities, in pages."""
        query = request.query
        if int(query.get("limit", "100")) > 500 or query.get("sort_by", "id") not in (
            "id",
            "update_time",
            "add_time",
            "due_date",
        ):
            raise refused("v2: GET /activities, limit, sort_by", "limit")
        rows = [{"id": id_, **one} for id_, one in self.activities.items() if one["person_id"] == int(query["person_id"])]
        rows.sort(key=lambda row: row["id"], reverse=query.get("sort_direction") == "desc")
        start, most = int(query.get("cursor", "0")), int(query.get("limit", "100"))
        following = str(start + most) if len(rows) > start + most else None
        return Reply(200, {"success": True, "data": rows[start : start + most], "additional_data": {"next_cursor": following}})

    @route("GET", "/api/v2/personFields")
    def list_fields(self, request: Request) -> Reply:
        """v2: GET /personFields, in pages."""
        rows = [{"field_code": "name", "field_name": "Name", "field_type": "varchar"}]
        rows += [{"field_code": code, **one} for code, one in self.fields.items()]
        start, most = int(request.query.get("cursor", "0")), min(int(request.query.get("limit", "100")), 2)
        following = str(start + most) if len(rows) > start + most else None
        return Reply(200, {"success": True, "data": rows[start : start + most], "additional_data": {"next_cursor": following}})

    @route("POST", "/api/v2/personFields")
    def create_field(self, request: Request) -> Reply:
        """v2: POST /personFields."""
        body = request.json()
        if set(body) != {"field_name", "field_type"} or body["field_type"] not in ("varchar", "text", "double"):
            raise refused("v2: POST /personFields", "field_type")
        code = hashlib.sha1(body["field_name"].encode(), usedforsecurity=False).hexdigest()
        self.fields[code] = body
        return Reply(200, {"success": True, "data": {"field_code": code, **body}})

    @route("GET", "/v1/users/find")
    def find_users(self, request: Request) -> Reply:
        """v1: GET /users/find: a term within the address."""
        if request.query.get("search_by_email") not in ("0", "1") or not request.query.get("term"):
            raise refused("v1: GET /users/find", "term is required")
        found = [user for user in self.users if request.query["term"][:3] in user["email"]]
        return Reply(200, {"success": True, "data": found})
