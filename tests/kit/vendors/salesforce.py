"""A Salesforce that refuses what Salesforce refuses.

Places are pages of its guides. REST: "REST API Developer Guide". Object: "Object Reference". SOQL: "SOQL and SOSL Reference".
The lengths are those of its "Field Reference". Codes of errors are those of rudder-transformer's destination and of the guides.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, quote

from tests.kit.vendors.base import OAuthVendor, Refused, Reply, Request, route

_V: Final = r"/services/data/v66\.0"
_SELECT: Final = re.compile(r"SELECT (.+) FROM (\w+) WHERE (.+?)(?: ORDER BY (\w+)( DESC)?)?(?: LIMIT (\d+))?")
_CONDITION: Final = re.compile(r"(\w+) (?:= ('(?:[^'\\]|\\.)*'|true|false)|IN \(((?:'(?:[^'\\]|\\.)*'(?:, )?)+)\))")
_MOST_QUERY: Final = 16_384 - 8_000
"""Bytes of an encoded query that leave room for the headers."""
_TEXT: Final = re.compile(r"'((?:[^'\\]|\\.)*)'")

_COMMON: Final = {"Id": 18, "Email": 80, "LastModifiedDate": 0, "CreatedDate": 0, "FirstName": 40, "LastName": 80, "Phone": 40}
_OURS: Final = {"LeadPulse_Id__c": 255, "LeadPulse_Score__c": -1, "LeadPulse_Grade__c": 255}
FIELDS: Final = {
    "Lead": {**_COMMON, **_OURS, "Company": 255, "IsConverted": 0, "ConvertedContactId": 18},
    "Contact": {**_COMMON, **_OURS},
    "Task": {
        "Id": 18, "WhoId": 18, "Subject": 255, "ActivityDate": 0, "Status": 40, "Priority": 40, "Description": 32_000,
        "OwnerId": 18, "CreatedDate": 0,
    },
    "User": {"Id": 18, "Email": 128, "IsActive": 0, "CreatedDate": 0},
}  # fmt: skip
"""Field → its length; -1: a number."""

_PREFIXES: Final = {"Lead": "00Q", "Contact": "003", "Task": "00T", "User": "005"}
_READ_ONLY: Final = {"Id", "IsConverted", "ConvertedContactId", "CreatedDate", "LastModifiedDate"}


def error(status: int, code: str, message: str) -> Reply:
    """Return an error (REST, "Status Codes and Error Responses")."""
    return Reply(status, [{"errorCode": code, "message": message}])


class RowError(Exception):
    """One record is refused (REST, "sObject Collections": the item's `errors`)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.result = {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}


@dataclass
class Salesforce(OAuthVendor):
    """An organisation with leads, contacts, tasks and users."""

    name: ClassVar[str] = "salesforce"
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id → fields, with the object's name as `type`."""
    usage: str = ""
    """`Sforce-Limit-Info`."""
    locked: set[str] = field(default_factory=set)
    """Values of the external id whose rows are locked."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self.add("User", Email="anna@example.com", IsActive=True)

    def add(self, kind: str, **fields: Any) -> str:
        """Add a record, and return its id."""
        number = next(self._ids)
        id_ = f"{_PREFIXES[kind]}{number:012}AAA"
        stamp = f"2026-03-05T12:00:00.{number % 1000:03}+0000"
        self.rows[id_] = {"type": kind, "Id": id_, "CreatedDate": stamp, "LastModifiedDate": stamp, **fields}
        return id_

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of an object."""
        return [row for row in self.rows.values() if row["type"] == kind]

    def convert(self, lead: str) -> str:
        """Convert a lead to a contact, and return the contact's id."""
        held = self.rows[lead]
        contact = self.add("Contact", LastName=held["LastName"], Email=held.get("Email"))
        held.update(IsConverted=True, ConvertedContactId=contact)
        return contact

    def headers(self) -> dict[str, str]:
        """Return the usage of the day."""
        return {"Sforce-Limit-Info": self.usage} if self.usage else {}

    def token_at(self) -> str:
        """Return the path of My Domain that gives tokens."""
        return "/services/oauth2/token"

    def check_login(self, request: Request) -> None:
        """Refuse a token that has ended."""
        if not self.holds(request.headers.get("authorization", "").removeprefix("Bearer ")):
            raise Refused("REST: INVALID_SESSION_ID", error(401, "INVALID_SESSION_ID", "Session expired or invalid"))

    @route("POST", "/services/oauth2/token")
    def log_in(self, request: Request) -> Reply:
        """Client credentials flow."""
        form = parse_qs(request.body.decode())
        if form.get("grant_type") != ["client_credentials"] or not request.headers.get("authorization", "").startswith(
            "Basic "
        ):
            raise Refused("OAuth 2.0 Client Credentials Flow", Reply(400, {"error": "invalid_grant"}))
        return Reply(200, {"access_token": self.give_token(), "instance_url": self.url, "token_type": "Bearer"})

    @route("PATCH", _V + r"/composite/sobjects/(\w+)/(\w+)")
    def upsert(self, request: Request, kind: str, key: str) -> Reply:
        """REST: "Upsert Records Using sObject Collections"."""
        self._object(kind)
        if key not in FIELDS[kind] or not key.endswith("_Id__c"):
            words = f"Provided external ID field does not exist or is not accessible: {key}"
            raise Refused("REST: Only external ids are supported", error(404, "NOT_FOUND", words))
        results = []
        for record in self._records(request, one_kind=kind):
            if "id" in record or "Id" in record:
                raise Refused("REST: Don't set the id field", error(400, "INVALID_FIELD", "id"))
            if not record.get(key):
                raise Refused("REST: the external id field", error(400, "MISSING_ARGUMENT", key))
            results.append(self._result(lambda one=record: self._upserted(kind, key, one)))
        return Reply(200, results)

    @route("PATCH", _V + r"/composite/sobjects")
    def update(self, request: Request) -> Reply:
        """REST: "Update Records Using sObject Collections"."""
        results = []
        for record in self._records(request):
            if "id" not in record:
                raise Refused("REST: id of each record", error(400, "MISSING_ARGUMENT", "id"))
            results.append(self._result(lambda one=record: self._updated(one)))
        return Reply(200, results)

    def _records(self, request: Request, one_kind: str | None = None) -> list[dict[str, Any]]:
        body = request.json()
        records = body.get("records")
        if set(body) - {"allOrNone"} != {"records"} or not isinstance(records, list) or not 1 <= len(records) <= 200:
            raise Refused("REST: up to 200 objects", error(400, "JSON_PARSER_ERROR", "records"))
        if not isinstance(body.get("allOrNone", False), bool):
            raise Refused("REST: allOrNone", error(400, "JSON_PARSER_ERROR", "allOrNone"))
        for record in records:
            kind = record.get("attributes", {}).get("type")
            if kind is None or (one_kind and kind != one_kind):
                raise Refused("REST: an attributes map with type", error(400, "INVALID_TYPE", str(kind)))
            self._object(kind)
            for name, value in record.items():
                self._known(kind, name, value)
        return records

    def _known(self, kind: str, name: str, value: Any) -> None:
        """Refuse the whole request for an unknown field, or a value of another type, as Salesforce does."""
        if name in ("attributes", "id"):
            return
        if name not in FIELDS[kind]:
            words = f"No such column '{name}' on sobject of type {kind}"
            raise Refused(f"Object: {kind}.{name}", error(400, "INVALID_FIELD", words))
        if FIELDS[kind][name] == -1 and isinstance(value, str):
            words = "Cannot deserialize instance of double from VALUE_STRING value"
            raise Refused(f"Object: {kind}.{name} is a number", error(400, "JSON_PARSER_ERROR", words))

    def _object(self, kind: str) -> None:
        if kind not in FIELDS:
            raise Refused("REST: sObject", error(404, "NOT_FOUND", "The requested resource does not exist"))

    def _result(self, do: Any) -> dict[str, Any]:
        try:
            id_, created = do()
        except RowError as refused:
            return refused.result
        return {"id": id_, "success": True, "errors": [], "created": created}

    def _upserted(self, kind: str, key: str, record: dict[str, Any]) -> tuple[str, bool]:
        value = str(record[key])
        if value in self.locked:
            raise RowError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        found = [row for row in self.of(kind) if str(row.get(key, "")).lower() == value.lower()]
        if len(found) > 1:
            raise RowError("DUPLICATE_EXTERNAL_ID", "more than one record")
        fields = {name: one for name, one in record.items() if name != "attributes"}
        if found:
            self._set(found[0], fields)
            return found[0]["Id"], False
        for name in ("LastName", "Company") if kind == "Lead" else ("LastName",):
            if not fields.get(name):
                raise RowError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{name}]")
        self._check(kind, fields)
        return self.add(kind, **fields), True

    def _updated(self, record: dict[str, Any]) -> tuple[str, bool]:
        row = self.rows.get(record["id"])
        if row is None or row["type"] != record["attributes"]["type"]:
            raise RowError("ENTITY_IS_DELETED", "entity is deleted")
        self._set(row, {name: value for name, value in record.items() if name not in ("attributes", "id")})
        return row["Id"], False

    def _set(self, row: dict[str, Any], fields: dict[str, Any]) -> None:
        if row.get("IsConverted"):
            raise RowError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        self._check(row["type"], fields)
        row.update(fields)

    def _check(self, kind: str, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            most = FIELDS[kind][name]
            if name in _READ_ONLY:
                raise RowError("INVALID_FIELD_FOR_INSERT_UPDATE", f"Unable to create/update fields: {name}")
            if most > 0 and isinstance(value, str) and len(value) > most:
                raise RowError("STRING_TOO_LONG", f"{name}: data value too large: (max length={most})")

    @route("POST", _V + "/sobjects/Task")
    def create_task(self, request: Request) -> Reply:
        """Object: "Task"."""
        body = request.json()
        for name, value in body.items():
            self._known("Task", name, value)
        try:
            self._check("Task", body)
            date.fromisoformat(body["ActivityDate"])
        except (RowError, ValueError) as why:
            raise Refused("Object: Task", error(400, *(str(why).partition(": ")[::2]))) from why
        if body.get("Priority", "Normal") not in ("High", "Normal", "Low") or body.get("Status") != "Not Started":
            raise Refused(
                "Object: Task.Priority, Task.Status", error(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Priority")
            )
        if self.rows.get(body.get("WhoId"), {}).get("type") not in ("Lead", "Contact"):
            raise Refused("Object: Task.WhoId is a Lead or Contact", error(400, "INVALID_CROSS_REFERENCE_KEY", "WhoId"))
        if self.rows[body["WhoId"]].get("IsConverted"):
            raise Refused("Object: Lead, converted", error(400, "CANNOT_UPDATE_CONVERTED_LEAD", "WhoId"))
        if "OwnerId" in body and self.rows.get(body["OwnerId"], {}).get("type") != "User":
            raise Refused("Object: Task.OwnerId is a User", error(400, "INVALID_CROSS_REFERENCE_KEY", "OwnerId"))
        return Reply(201, {"id": self.add("Task", **body), "success": True, "errors": []})

    @route("DELETE", _V + r"/sobjects/(\w+)/(\w+)/([^/]+)")
    def delete(self, _request: Request, kind: str, key: str, value: str) -> Reply:
        """REST: "sObject Rows by External ID", DELETE."""
        found = [row["Id"] for row in self.of(kind) if row.get(key) == value]
        if not found:
            return error(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
        del self.rows[found[0]]
        return Reply(204)

    @route("GET", _V + r"/sobjects/(\w+)/describe")
    def describe(self, _request: Request, kind: str) -> Reply:
        """REST: "sObject Describe"."""
        self._object(kind)
        fields = [
            {
                "name": name,
                "type": "double" if most == -1 else "string",
                "externalId": name == "LeadPulse_Id__c",
                "createable": name not in _READ_ONLY,
                "updateable": name not in _READ_ONLY,
            }
            for name, most in FIELDS[kind].items()
        ]
        return Reply(200, {"name": kind, "fields": fields})

    @route("GET", _V + "/query")
    def query(self, request: Request) -> Reply:
        """SOQL: the few forms that we use."""
        if len(quote(request.query.get("q", ""), safe="")) > _MOST_QUERY:
            raise Refused("Help 000386264: URI and headers are at most 16,384 bytes", Reply(414, b"URI Too Long"))
        parsed = _SELECT.fullmatch(request.query.get("q", ""))
        if parsed is None:
            raise Refused("SOQL: SELECT", error(400, "MALFORMED_QUERY", "unexpected token"))
        names, kind, where, order, down, most = parsed.groups()
        self._object(kind)
        used = [*names.split(", "), *([order] if order else [])]
        rows = self.of(kind)
        for condition in where.split(" AND "):
            held = _CONDITION.fullmatch(condition)
            if held is None:
                raise Refused("SOQL: WHERE", error(400, "MALFORMED_QUERY", condition))
            used.append(held[1])
            if held[1] == "Description":
                raise Refused("SOQL: long text areas cannot be filtered", error(400, "INVALID_FIELD", "Description"))
            rows = [row for row in rows if _holds(row.get(held[1]), held[2], held[3])]
        if unknown := [name for name in used if name not in FIELDS[kind]]:
            words = f"No such column '{unknown[0]}' on entity '{kind}'"
            raise Refused(f"Object: {kind}.{unknown[0]}", error(400, "INVALID_FIELD", words))
        if order:
            rows = sorted(rows, key=lambda row: str(row[order]), reverse=bool(down))
        found = [{name: row.get(name) for name in names.split(", ")} for row in rows[: int(most or 2_000)]]
        return Reply(200, {"totalSize": len(found), "done": True, "records": found})


def _holds(value: Any, one: str | None, many: str | None) -> bool:
    if one in ("true", "false"):
        return bool(value) == (one == "true")
    wanted = {re.sub(r"\\(.)", r"\1", text).lower() for text in _TEXT.findall(one or many or "")}
    return value is not None and str(value).lower() in wanted
