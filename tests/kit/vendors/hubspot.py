"""A HubSpot that refuses what HubSpot refuses.

Places are those of `HubSpot/HubSpot-public-api-spec-collection`, `PublicApiSpecs/CRM`: contacts, tasks, associations, owners
and properties of 2026-03 and v3. "Guide" is a page of developers.hubspot.com/docs. Behaviour of batches (409 for one input, 2xx
with nothing done) comes from users' reports and is scripted.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route

_OBJECTS: Final = r"/crm/(?:objects/2026-03|v3/objects)"
_PROPERTIES: Final = r"/crm/(?:properties/2026-03|v3/properties)/contacts"
_NOW: Final = "2026-03-05T12:00:00.000Z"
_ID: Final = "correlationId"

TASK_PROPERTIES: Final = {
    "hs_timestamp", "hs_task_subject", "hs_task_body", "hs_task_status", "hs_task_priority", "hs_task_type",
    "hs_task_reminders", "hubspot_owner_id",
}  # fmt: skip
"""Guide "Activities | Tasks", properties."""


def error(status: int, category: str, message: str, **more: Any) -> Reply:
    """Return an error as components/schemas/Error has it."""
    return Reply(
        status,
        {"status": "error", "message": message, _ID: "aeb5f871-7f07-4993-9211-075dc63e7cbf", "category": category, **more},
    )


def refused(place: str, message: str, status: int = 400, category: str = "VALIDATION_ERROR") -> Refused:
    """Return the refusal of a request that *place* does not allow."""
    return Refused(place, error(status, category, message))


def conflict(existing: str) -> Reply:
    """Return what HubSpot answers for an address that a contact has."""
    return error(409, "CONFLICT", f"Contact already exists. Existing ID: {existing}")


class Conflict(Exception):
    """An address, or another unique value, that a contact has already."""


@dataclass
class HubSpot(Vendor):
    """A portal with contacts, tasks, owners and properties."""

    name: ClassVar[str] = "hubspot"
    token: str = "pat-eu1-secret"
    contacts: dict[str, dict[str, str]] = field(default_factory=dict)
    tasks: dict[str, dict[str, str]] = field(default_factory=dict)
    on_contact: dict[str, list[str]] = field(default_factory=dict)
    """Contact → its tasks."""
    owners: dict[str, str] = field(default_factory=lambda: {"anna@example.com": "501"})
    properties: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            **{name: {"type": "string"} for name in ("firstname", "lastname", "phone", "company")},
            "email": {"type": "string", "hasUniqueValue": True},
            "leadpulse_id": {"type": "string", "hasUniqueValue": True},
            "leadpulse_score": {"type": "number"},
            "leadpulse_grade": {"type": "string"},
            "leadpulse_stage": {"type": "string"},
            "leadpulse_reasons": {"type": "string"},
        }
    )
    """Of contacts."""
    groups: list[str] = field(default_factory=lambda: ["contactinformation"])
    whole_batch_fails: bool = False
    """One input in conflict refuses the whole batch, as users report."""
    limits: tuple[int, int] | None = None
    """Of ten seconds: the most, and what is left."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1001)

    def headers(self) -> dict[str, str]:
        """Return the limit's headers (guide "API usage guidelines")."""
        if self.limits is None:
            return {}
        most, left = self.limits
        names = {"Max": most, "Remaining": left, "Interval-Milliseconds": 10_000}
        return {f"X-HubSpot-RateLimit-{name}": str(value) for name, value in names.items()}

    def check_login(self, request: Request) -> None:
        """Refuse another token (components/securitySchemes/private_apps)."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise refused(
                "securitySchemes: private_apps", "Authentication credentials not found", 401, "INVALID_AUTHENTICATION"
            )

    def contact_with(self, name: str, value: str) -> str | None:
        """Return the id of the contact whose property *name* is *value*."""
        return next((id_ for id_, held in self.contacts.items() if held.get(name) == value), None)

    @route("POST", _OBJECTS + "/contacts/batch/upsert")
    def upsert(self, request: Request) -> Reply:
        """Create or update contacts by a unique property."""
        inputs = self._inputs(request, "SimplePublicObjectBatchInputUpsert")
        names = {one.get("idProperty") for one in inputs}
        if len(names) != 1 or None in names:
            raise refused("SimplePublicObjectBatchInputUpsert.idProperty", "all inputs must have one idProperty")
        [key] = names
        if not self.properties.get(str(key), {}).get("hasUniqueValue"):
            raise refused(
                "SimplePublicObjectBatchInputUpsert.idProperty: values are unique",
                f"Unable to perform update/upsert by non-unique 0-1 property {key}",
            )
        return self._written(inputs, lambda one: self.contact_with(str(key), one["id"]), str(key))

    @route("POST", _OBJECTS + "/contacts/batch/update")
    def update(self, request: Request) -> Reply:
        """Update contacts by their ids."""
        inputs = self._inputs(request, "SimplePublicObjectBatchInput")
        if any("idProperty" in one for one in inputs):
            raise refused("SimplePublicObjectBatchInput.idProperty", "only updates by id are known here")
        return self._written(inputs, lambda one: one["id"], "")

    def _inputs(self, request: Request, schema: str) -> list[dict[str, Any]]:
        body = request.json()
        if set(body) != {"inputs"} or not isinstance(body["inputs"], list) or not body["inputs"]:
            raise refused(f"BatchInput{schema}: required inputs", "inputs is required")
        inputs: list[dict[str, Any]] = body["inputs"]
        if len(inputs) > 100:
            raise refused("guide Contacts: batches are limited to 100 records", "too many inputs")
        for one in inputs:
            self._fields(one, schema, {"id", "properties"}, {"idProperty", "objectWriteTraceId"})
            if not all(isinstance(one[name], str) for name in one if name != "properties"):
                raise refused(f"{schema}: id, idProperty, objectWriteTraceId are strings", "string expected")
        if len({one["id"] for one in inputs}) != len(inputs):
            raise refused(f"{schema}.id", "Duplicate IDs found in batch input")
        return inputs

    def _fields(self, held: dict[str, Any], schema: str, required: set[str], optional: set[str]) -> None:
        if not required <= set(held) <= required | optional:
            raise refused(f"{schema}: required {sorted(required)}", f"fields are {sorted(held)}")
        properties = held.get("properties")
        if not isinstance(properties, dict) or not all(isinstance(value, str) for value in properties.values()):
            raise refused(f"{schema}.properties: additionalProperties string", "values must be strings")

    def _written(self, inputs: list[dict[str, Any]], find: Any, key: str) -> Reply:
        results, errors = [], []
        for one in inputs:
            trace = one.get("objectWriteTraceId")
            try:
                results.append(self._write(find(one), one, key) | ({"objectWriteTraceId": trace} if trace else {}))
            except Conflict as found:
                if self.whole_batch_fails or trace is None:
                    return conflict(str(found))
                errors.append(_input_error("CONFLICT", f"Contact already exists. Existing ID: {found}", trace))
            except ValueError as why:
                if trace is None or self.whole_batch_fails:
                    return error(400, "VALIDATION_ERROR", f'Property values were not valid: [{{"message":"{why}"}}]')
                errors.append(_input_error("VALIDATION_ERROR", str(why), trace))
            except KeyError as missing:
                errors.append(_input_error("OBJECT_NOT_FOUND", f"no contact {missing}", trace))
        body: dict[str, Any] = {"status": "COMPLETE", "startedAt": _NOW, "completedAt": _NOW, "results": results}
        return Reply(207, body | {"numErrors": len(errors), "errors": errors}) if errors else Reply(200, body)

    def _write(self, id_: str | None, one: dict[str, Any], key: str) -> dict[str, Any]:
        properties = {**one["properties"], **({key: one["id"]} if key else {})}
        new = id_ is None
        self._check(id_, properties)
        if id_ is None:
            id_ = str(next(self._ids))
            self.contacts[id_] = {}
        self._keep(id_, properties)
        return {**self._contact(id_), "new": new}

    def _keep(self, id_: str, properties: dict[str, str]) -> None:
        """Write *properties* into a contact."""
        self.contacts[id_].update(properties)

    def _check(self, id_: str | None, properties: dict[str, str]) -> None:
        """Raise `ValueError` for a property that is not there or not of its type, `Conflict` for a value that is taken."""
        if id_ is not None and id_ not in self.contacts:
            raise KeyError(id_)
        for name, value in properties.items():
            definition = self.properties.get(name)
            if definition is None:
                raise ValueError(
                    f'Property "{name}" does not exist'
                )  # batch: "non-existent properties will result in an error"
            if definition["type"] == "number" and value:
                float(value)
            if definition.get("hasUniqueValue"):
                other = self.contact_with(name, value)
                if other not in (None, id_):
                    raise Conflict(other)

    def _contact(self, id_: str) -> dict[str, Any]:
        return {"id": id_, "properties": dict(self.contacts[id_]), "createdAt": _NOW, "updatedAt": _NOW, "archived": False}

    def _by(self, id_: str, request: Request) -> str:
        key = request.query.get("idProperty")
        found = id_ if key is None else self.contact_with(key, id_)
        if found not in self.contacts:
            raise refused("contacts/{contactId}: 404", "resource not found", 404, "OBJECT_NOT_FOUND")
        return str(found)

    @route("GET", _OBJECTS + "/contacts/([^/]+)")
    def read(self, request: Request, id_: str) -> Reply:
        """Read one contact, by its id or by `idProperty`."""
        return Reply(200, self._contact(self._by(id_, request)))

    @route("PATCH", _OBJECTS + "/contacts/([^/]+)")
    def patch(self, request: Request, id_: str) -> Reply:
        """Update one contact (components/schemas/SimplePublicObjectInput)."""
        found, body = self._by(id_, request), request.json()
        self._fields(body, "SimplePublicObjectInput", {"properties"}, set())
        try:
            self._check(found, body["properties"])
        except Conflict as other:
            return conflict(str(other))
        except ValueError as why:
            raise refused("SimplePublicObjectInput.properties", str(why)) from None
        self._keep(found, body["properties"])
        return Reply(200, self._contact(found))

    @route("POST", _OBJECTS + "/contacts/gdpr-delete")
    def forget(self, request: Request) -> Reply:
        """Delete a contact for privacy (components/schemas/PublicGdprDeleteInput)."""
        body = request.json()
        if "objectId" not in body or not set(body) <= {"objectId", "idProperty"}:
            raise refused("PublicGdprDeleteInput: required objectId", f"fields are {sorted(body)}")
        found = self.contact_with(body["idProperty"], body["objectId"]) if "idProperty" in body else body["objectId"]
        if self.contacts.pop(str(found), None) is None:
            raise refused("contacts/gdpr-delete: 404", "resource not found", 404, "OBJECT_NOT_FOUND")
        return Reply(204)

    @route("POST", _OBJECTS + "/tasks")
    def create_task(self, request: Request) -> Reply:
        """Create a task (components/schemas/SimplePublicObjectInputForCreate)."""
        body = request.json()
        self._fields(body, "SimplePublicObjectInputForCreate", {"associations", "properties"}, set())
        properties = body["properties"]
        if unknown := set(properties) - TASK_PROPERTIES:
            raise refused("guide Tasks: properties", f"Property {sorted(unknown)} does not exist")
        if "hs_timestamp" not in properties or not _is_time(properties["hs_timestamp"]):
            raise refused("guide Tasks: hs_timestamp is required, Unix milliseconds or UTC", "hs_timestamp")
        for name, allowed in {
            "hs_task_status": {"COMPLETED", "NOT_STARTED"},
            "hs_task_priority": {"LOW", "MEDIUM", "HIGH"},
            "hs_task_type": {"EMAIL", "CALL", "TODO"},
        }.items():
            if properties.get(name, next(iter(allowed))) not in allowed:
                raise refused(f"guide Tasks: {name}", f"{properties[name]} was not one of the allowed options")
        if len(properties.get("hs_task_body", "")) > 65_536:
            raise refused("guide Tasks: hs_task_body", "too long")
        if properties.get("hubspot_owner_id", "501") not in self.owners.values():
            raise refused("guide Tasks: hubspot_owner_id", "no such owner")
        ons = [self._association(one) for one in body["associations"]]
        id_ = str(next(self._ids))
        self.tasks[id_] = dict(properties)
        for contact in ons:
            self.on_contact.setdefault(contact, []).append(id_)
        return Reply(201, {"id": id_, "properties": properties, "createdAt": _NOW, "updatedAt": _NOW, "archived": False})

    def _association(self, held: dict[str, Any]) -> str:
        if set(held) != {"to", "types"} or set(held["to"]) != {"id"} or not isinstance(held["to"]["id"], str):
            raise refused("PublicAssociationsForObject: required to, types", f"{held}")
        for kind in held["types"]:
            if kind != {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 204}:
                raise refused("AssociationSpec; guide Associations: task to contact is 204", f"{kind}")
        if held["to"]["id"] not in self.contacts:
            raise refused("PublicAssociationsForObject.to", "no such contact", 404, "OBJECT_NOT_FOUND")
        return str(held["to"]["id"])

    @route("GET", _OBJECTS + "/contacts/([^/]+)/associations/tasks")
    def tasks_of(self, request: Request, id_: str) -> Reply:
        """List a contact's tasks, in pages (CollectionResponseMultiAssociatedObjectWithLabelForwardPaging)."""
        found = self._by(id_, request)
        start, most = int(request.query.get("after", "0")), int(request.query.get("limit", "500"))
        ids = self.on_contact.get(found, [])
        kinds = [{"category": "HUBSPOT_DEFINED", "typeId": 204, "label": None}]
        page: dict[str, Any] = {
            "results": [{"toObjectId": one, "associationTypes": kinds} for one in ids[start : start + most]]
        }
        more = {"paging": {"next": {"after": str(start + most)}}} if len(ids) > start + most else {}
        return Reply(200, page | more)

    @route("POST", _OBJECTS + "/tasks/batch/read")
    def read_tasks(self, request: Request) -> Reply:
        """Read tasks (components/schemas/BatchReadInputSimplePublicObjectId)."""
        body = request.json()
        if set(body) - {"idProperty"} != {"inputs", "properties", "propertiesWithHistory"} or len(body["inputs"]) > 100:
            raise refused("BatchReadInputSimplePublicObjectId: required", f"fields are {sorted(body)}")
        ids = [one["id"] for one in body["inputs"] if one["id"] in self.tasks]
        results = [{"id": id_, "properties": {name: self.tasks[id_].get(name) for name in body["properties"]}} for id_ in ids]
        return Reply(200, {"status": "COMPLETE", "startedAt": _NOW, "completedAt": _NOW, "results": results})

    @route("GET", _PROPERTIES + "/groups/([^/]+)")
    def read_group(self, _request: Request, name: str) -> Reply:
        """properties.json: GET groups/{groupName}."""
        if name not in self.groups:
            return error(404, "OBJECT_NOT_FOUND", f"group {name} does not exist")
        return Reply(200, {"name": name, "label": name, "archived": False})

    @route("POST", _PROPERTIES + "/groups")
    def create_group(self, request: Request) -> Reply:
        """properties.json: components/schemas/PropertyGroupCreate."""
        body = request.json()
        if not {"name", "label"} <= set(body) <= {"name", "label", "displayOrder"}:
            raise refused("PropertyGroupCreate: required label, name", f"fields are {sorted(body)}")
        self.groups.append(body["name"])
        return Reply(201, {**body, "archived": False})

    @route("GET", _PROPERTIES + "/([^/]+)")
    def read_property(self, _request: Request, name: str) -> Reply:
        """properties.json: GET {propertyName}."""
        if name not in self.properties:
            return error(404, "OBJECT_NOT_FOUND", f"property {name} does not exist")
        return Reply(200, {"name": name, "label": name, "groupName": "x", "options": [], **self.properties[name]})

    @route("POST", _PROPERTIES)
    def create_property(self, request: Request) -> Reply:
        """properties.json: components/schemas/PropertyCreate."""
        body = request.json()
        required = {"fieldType", "groupName", "label", "name", "type"}
        if not required <= set(body) <= required | {"hasUniqueValue", "description"}:
            raise refused("PropertyCreate: required", f"fields are {sorted(body)}")
        if (body["type"], body["fieldType"]) not in {("string", "text"), ("string", "textarea"), ("number", "number")}:
            raise refused("PropertyCreate: type, fieldType", "fieldType does not fit")
        if body["groupName"] not in self.groups:
            raise refused("PropertyCreate: groupName", "group does not exist", 404, "OBJECT_NOT_FOUND")
        if body["name"] in self.properties:
            return error(409, "PROPERTY_EXISTS", f"A property named {body['name']} already exists")
        self.properties[body["name"]] = body
        return Reply(201, body)

    @route("GET", r"/crm/(?:owners/2026-03|v3/owners)")
    def list_owners(self, request: Request) -> Reply:
        """List owners (components/schemas/CollectionResponsePublicOwnerForwardPaging)."""
        wanted = request.query.get("email")
        found = [{"id": id_, "email": mail, "type": "PERSON"} for mail, id_ in self.owners.items() if wanted in (None, mail)]
        return Reply(200, {"results": found})


def _input_error(category: str, message: str, trace: str | None) -> dict[str, Any]:
    context = {"objectWriteTraceId": [trace]} if trace else {}
    return {"status": "error", "category": category, "message": message, "context": context, "errors": [], "links": {}}


def _is_time(text: str) -> bool:
    if text.isdecimal():
        return True
    try:
        return text.endswith("Z") and datetime.fromisoformat(text).tzinfo == UTC
    except ValueError:
        return False
