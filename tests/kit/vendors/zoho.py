"""A Zoho CRM that refuses what Zoho refuses.

Places are those of `zoho/crm-oas`, v8.0, and pages of zoho.com/crm/developer/docs/api/v8. Fields of tasks are memory alone.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

from tests.kit.vendors.base import OAuthVendor, Refused, Reply, Request, route

_V8: Final = "/crm/v8"
_PEOPLE: Final = "(Leads|Contacts)"
_FIELDS: Final = {"First_Name": 40, "Last_Name": 80, "Company": 200, "Email": 100, "LeadPulse_Id": 255, "LeadPulse_Grade": 16}
"""Field → its length. Others are passed over, as Zoho does."""

_BODY: Final = {"data", "trigger", "process", "duplicate_check_fields", "wf_trigger", "lar_id"}
"""record.json: components/schemas/Body_Wrapper."""


def problem(status: int, code: str, message: str, **details: str) -> Reply:
    """Return an error (record.json: components/schemas/API_Exception)."""
    return Reply(status, _error(code, message, **details))


def _error(code: str, message: str, **details: str) -> dict[str, Any]:
    return {"status": "error", "code": code, "message": message, "details": details}


def _success(id_: str, action: str, message: str) -> dict[str, Any]:
    return {"status": "success", "code": "SUCCESS", "action": action, "message": message, "details": {"id": id_}}


@dataclass
class Zoho(OAuthVendor):
    """An account with leads, contacts, tasks and users."""

    name: ClassVar[str] = "zoho"
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {"Leads": {}, "Contacts": {}, "Tasks": {}})
    """Module → id → fields."""
    users: list[dict[str, str]] = field(default_factory=lambda: [{"id": "4150868000000225013", "email": "anna@example.com"}])
    locked: set[str] = field(default_factory=set)
    """Addresses whose records are locked."""
    triggered: list[list[str]] = field(default_factory=list)
    """`trigger` of each write."""
    fields: list[dict[str, Any]] = field(default_factory=lambda: [{"api_name": "Email", "data_type": "email"}])
    most_fields: int = 100
    page: int = 200
    strict: bool = False
    """An update by upsert needs a last name too."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(4150868000003000001)

    def add(self, module: str, **fields: Any) -> str:
        """Add a record, and return its id."""
        id_ = str(next(self._ids))
        self.rows[module][id_] = fields
        return id_

    def token_at(self) -> str:
        """Return the path that gives tokens."""
        return "/oauth/v2/token"

    def check_login(self, request: Request) -> None:
        """Refuse a token that has ended."""
        if not self.holds(request.headers.get("authorization", "").removeprefix("Zoho-oauthtoken ")):
            raise Refused("API_Exception: INVALID_TOKEN", problem(401, "INVALID_TOKEN", "invalid oauth token"))

    @route("POST", "/oauth/v2/token")
    def log_in(self, request: Request) -> Reply:
        """Page "Refresh Tokens"."""
        form = parse_qs(request.body.decode())
        if form.get("grant_type") != ["refresh_token"] or not {"refresh_token", "client_id", "client_secret"} <= set(form):
            raise Refused("page Refresh Tokens", Reply(200, {"error": "invalid_client"}))
        return Reply(200, {"access_token": self.give_token(), "expires_in": 3_600, "api_domain": self.url})

    def _body(self, request: Request) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        body = request.json()
        data = body.get("data")
        if set(body) - _BODY or not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
            raise Refused("record.json: Body_Wrapper", problem(400, "INVALID_DATA", "body"))
        if not 1 <= len(data) <= 100:
            raise Refused("page Upsert: a maximum of 100 records", problem(400, "INVALID_DATA", "Record count exceeded"))
        if not all(isinstance(one, str) for name in ("trigger", "duplicate_check_fields") for one in body.get(name, [])):
            raise Refused("record.json: Body_Wrapper.trigger", problem(400, "INVALID_DATA", "body"))
        self.triggered.append(body.get("trigger", ["workflow", "approval", "blueprint"]))
        return data, body

    @route("POST", f"{_V8}/{_PEOPLE}/upsert")
    def upsert(self, request: Request, module: str) -> Reply:
        """Page "Insert or Update Records"."""
        data, body = self._body(request)
        keys = body.get("duplicate_check_fields", ["Email"])
        if not set(keys) <= {"Email", "LeadPulse_Id"}:
            why = "duplicate_check_fields"
            raise Refused("page Upsert: unique fields alone", problem(400, "INVALID_DATA", "invalid data", api_name=why))
        return self._answer([self._upserted(module, keys, one) for one in data])

    def _answer(self, results: list[dict[str, Any]]) -> Reply:
        """One record alone that is refused makes the status 400; many make 200, with a result of each."""
        alone = len(results) == 1 and results[0]["status"] == "error"
        return Reply(400 if alone else 200, {"data": results})

    def _upserted(self, module: str, keys: list[str], one: dict[str, Any]) -> dict[str, Any]:
        if "id" in one:
            return _error("INVALID_DATA", "the id given seems to be invalid.", api_name="id")
        held = self.rows[module]
        for key in keys:
            found = [id_ for id_, row in held.items() if one.get(key) and row.get(key) == one[key]]
            if found and not (self.strict and not one.get("Last_Name")):
                return self._set(module, found[0], one)
        if not one.get("Last_Name"):
            return _error("MANDATORY_NOT_FOUND", "required field not found", api_name="Last_Name")
        if bad := self._bad(one):
            return bad
        return _success(self.add(module, **self._known(one)), "insert", "record added")

    def _set(self, module: str, id_: str, one: dict[str, Any]) -> dict[str, Any]:
        row = self.rows[module][id_]
        if row.get("Email") in self.locked:
            return _error("RECORD_LOCKED", "The record is locked")
        if bad := self._bad(one):
            return bad
        row.update(self._known(one))
        return _success(id_, "update", "record updated")

    def _known(self, one: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in one.items() if name in _FIELDS or name == "LeadPulse_Score"}

    def _bad(self, one: dict[str, Any]) -> dict[str, Any] | None:
        for name, most in _FIELDS.items():
            value = one.get(name)
            if value is not None and (not isinstance(value, str) or len(value) > most):
                return _error("INVALID_DATA", "invalid data", api_name=name)
        if not isinstance(one.get("LeadPulse_Score", 0), int | float):
            return _error("INVALID_DATA", "invalid data", api_name="LeadPulse_Score")
        return None

    @route("PUT", f"{_V8}/{_PEOPLE}")
    def update(self, request: Request, module: str) -> Reply:
        """record.json: "Update Records", by ids."""
        data, _ = self._body(request)
        results = []
        for one in data:
            if one.get("id") in self.rows[module]:
                results.append(self._set(module, one["id"], one))
            else:
                results.append(_error("INVALID_DATA", "the id given seems to be invalid.", api_name="id"))
        return self._answer(results)

    @route("POST", f"{_V8}/Tasks")
    def create_task(self, request: Request) -> Reply:
        """Create a task."""
        [one], _ = self._body(request)
        lead = one.get("$se_module") == "Leads"
        on = (one.get("What_Id" if lead else "Who_Id") or {}).get("id")
        if on not in self.rows["Leads" if lead else "Contacts"]:
            return Reply(400, {"data": [_error("INVALID_DATA", "invalid data", api_name="What_Id")]})
        if not one.get("Subject") or len(one["Subject"]) > 255 or one.get("Status") != "Not Started":
            return Reply(400, {"data": [_error("MANDATORY_NOT_FOUND", "required field not found", api_name="Subject")]})
        if one.get("Priority") not in ("High", "Highest", "Low", "Lowest", "Normal") or len(one["Description"]) > 32_000:
            return Reply(400, {"data": [_error("INVALID_DATA", "invalid data", api_name="Priority")]})
        if "Owner" in one and one["Owner"] not in [{"id": user["id"]} for user in self.users]:
            return Reply(400, {"data": [_error("INVALID_DATA", "invalid data", api_name="Owner")]})
        date.fromisoformat(one["Due_Date"])
        return Reply(201, {"data": [_success(self.add("Tasks", on=on, **one), "insert", "record added")]})

    @route("GET", f"{_V8}/{_PEOPLE}/([0-9]+)/Tasks")
    def tasks_of(self, request: Request, _module: str, on: str) -> Reply:
        """related_records.json: "Get Related Records"; 204 where there is none."""
        return self._page(request, [{"id": id_, **row} for id_, row in self.rows["Tasks"].items() if row["on"] == on], "data")

    @route("GET", f"{_V8}/settings/fields")
    def list_fields(self, request: Request) -> Reply:
        """fields.json: "Get Fields"."""
        if request.query.get("module") not in ("Leads", "Contacts"):
            raise Refused("fields.json: module is required", problem(400, "REQUIRED_PARAM_MISSING", "module"))
        return Reply(200, {"fields": self.fields})

    @route("POST", f"{_V8}/settings/fields")
    def create_field(self, request: Request) -> Reply:
        """fields.json: "Create Field", by the label; the API name comes of it."""
        body = request.json()
        if set(body) != {"fields"} or request.query.get("module") not in ("Leads", "Contacts"):
            raise Refused("fields.json: wrapper", problem(400, "MANDATORY_NOT_FOUND", "fields"))
        [one] = body["fields"]
        if set(one) - {"field_label", "data_type", "length", "decimal_place", "unique", "textarea"}:
            raise Refused("fields.json: fields", problem(400, "INVALID_DATA", "fields"))
        if not isinstance(one.get("unique", {}), dict) or not isinstance(one.get("length", 1), int):
            raise Refused("fields.json: unique, length", problem(400, "INVALID_DATA", "unique"))
        if self.most_fields <= len(self.fields):
            return Reply(400, {"fields": [_error("LIMIT_EXCEEDED", "field limit")]})
        self.fields.append({**one, "api_name": one["field_label"].replace(" ", "_")})
        return Reply(
            201, {"fields": [{"code": "SUCCESS", "status": "success", "message": "field created", "details": {"id": "1"}}]}
        )

    @route("GET", f"{_V8}/users")
    def list_users(self, request: Request) -> Reply:
        """users.json: "Get Users"."""
        if request.query.get("type") != "ActiveUsers":
            raise Refused("users.json: type", problem(400, "INVALID_DATA", "type"))
        return self._page(request, [dict(user) for user in self.users], "users")

    def _page(self, request: Request, rows: list[dict[str, Any]], name: str) -> Reply:
        number, most = int(request.query.get("page", "1")), int(request.query.get("per_page", "200"))
        if most > 200:
            raise Refused(f"{request.path}: per_page is at most 200", problem(400, "INVALID_DATA", "per_page"))
        most = min(most, self.page)
        found = rows[(number - 1) * most : number * most]
        if not found:
            return Reply(204)
        return Reply(200, {name: found, "info": {"page": number, "more_records": len(rows) > number * most}})

    @route("GET", f"{_V8}/{_PEOPLE}/search")
    def search(self, request: Request, module: str) -> Reply:
        """Page "Search Records": parentheses and commas of a value are escaped by a backslash."""
        if "email" in request.query:
            name, value = "Email", request.query["email"]
        else:
            held = re.fullmatch(r"\((\w+):equals:((?:[^(),\\]|\\[(),\\])*)\)", request.query.get("criteria", ""))
            if held is None:
                raise Refused("page Search Records: criteria", problem(400, "INVALID_QUERY", "invalid query formed"))
            name, value = held[1], re.sub(r"\\(.)", r"\1", held[2])
        found = [{"id": id_} for id_, row in self.rows[module].items() if row.get(name) == value]
        return Reply(200, {"data": found}) if found else Reply(204)

    @route("DELETE", f"{_V8}/{_PEOPLE}/([0-9]+)")
    def delete(self, _request: Request, module: str, id_: str) -> Reply:
        """record.json: "Delete Record"."""
        if self.rows[module].pop(id_, None) is None:
            return Reply(400, {"data": [_error("INVALID_DATA", "the id given seems to be invalid.")]})
        return Reply(200, {"data": [_success(id_, "delete", "record deleted")]})
