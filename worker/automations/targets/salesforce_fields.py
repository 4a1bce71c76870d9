"""Salesforce's fields, by its "sObject Describe": looked up. An administrator makes them.

A field that an API makes is hidden from all profiles until an administrator shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.automations.requests import Final as Refused
from worker.automations.requests import Http
from worker.automations.targets.prepared import Preparation, Prepared, Wanted
from worker.automations.targets.salesforce_api import path
from worker.connections.targets import SalesforceTarget

_TYPES: Final = {"text": "Text of 255 characters", "long": "Long Text Area", "number": "Number with two decimals"}
_NUMBERS: Final = frozenset({"double", "int", "currency", "percent", "long"})


def prepare(target: SalesforceTarget, wanted: Sequence[Wanted], _make: bool) -> Preparation:
    """Look up the fields of the object as the log-in sees them. None is made."""
    at = path(target, f"/sobjects/{target.object}/describe")
    answer = yield Http.json("fields", "GET", at, sample={"fields": []})
    held = answer.json()
    fields = held.get("fields") if isinstance(held, dict) else None
    if not isinstance(fields, list):
        raise Refused(f"Salesforce's description of {target.object} cannot be read")
    known = {str(one.get("name")): one for one in fields if isinstance(one, dict)}
    return [_one(target, one, known.get(one.name)) for one in wanted]


def _one(target: SalesforceTarget, one: Wanted, held: Mapping[str, Any] | None) -> Prepared:
    if held is None:
        more = ", unique and an external id" if one.unique else ""
        what = f"make it on {target.object}: {_TYPES[one.type]}{more}; let the log-in's profile see and edit it"
        return Prepared(one.name, "by hand", what)
    if one.unique and held.get("externalId") is not True:
        return Prepared(one.name, "by hand", "make it unique and an external id")
    if held.get("updateable") is False and held.get("createable") is False:
        return Prepared(one.name, "by hand", "let the log-in's profile edit it")
    if one.type == "number" and held.get("type") not in _NUMBERS:
        return Prepared(one.name, "by hand", f"it is of type {held.get('type')}, and takes no number")
    return Prepared(one.name, "there")
