"""Zoho's fields, by `zoho/crm-oas`, v8.0/fields.json: listed, and made by their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.automations.requests import Answer, Http
from worker.automations.targets.prepared import Preparation, Prepared, Wanted
from worker.automations.targets.zoho_api import judge
from worker.connections.targets import ZohoTarget

_TYPES: Final[dict[str, dict[str, Any]]] = {
    "text": {"data_type": "text", "length": 255},
    "long": {"data_type": "textarea", "textarea": {"type": "small"}},
    "number": {"data_type": "double", "length": 16, "decimal_place": 2},
}


def prepare(target: ZohoTarget, wanted: Sequence[Wanted], make: bool) -> Preparation:
    """Look up the fields of the module, and make those that are missing."""
    path = f"/crm/v8/settings/fields?module={target.object}"
    answer = yield Http.json("fields", "GET", path, sample={"fields": []})
    known = {str(one.get("api_name")): one for one in _fields(answer)}
    found = []
    for one in wanted:
        if one.name in known:
            found.append(_there(one, known[one.name]))
        elif not make:
            found.append(Prepared(one.name, "missing"))
        else:
            held = {"field_label": one.name.replace("_", " "), **_TYPES[one.type]}
            body = {"fields": [held | ({"unique": {"casesensitive": "false"}} if one.unique else {})]}
            answer = yield Http.json("make", "POST", path, body, sample={"fields": [{"code": "SUCCESS"}]}, takes=(400,))
            found.append(_made(one, answer))
    return found


def _fields(answer: Answer) -> list[dict[str, Any]]:
    held = answer.json()
    fields = held.get("fields") if isinstance(held, dict) else None
    return [one for one in fields if isinstance(one, dict)] if isinstance(fields, list) else []


def _there(one: Wanted, held: dict[str, Any]) -> Prepared:
    unique = held.get("unique")
    if one.unique and not unique:
        return Prepared(one.name, "by hand", "allow no duplicate values in its settings")
    kind = str(held.get("data_type"))
    if one.type == "number" and kind not in ("double", "integer", "bigint", "currency", "decimal"):
        return Prepared(one.name, "by hand", f"it is of type {kind}, and takes no number: name another field in `fields`")
    return Prepared(one.name, "there")


def _made(one: Wanted, answer: Answer) -> Prepared:
    results = _fields(answer)
    if answer.status < 300 and results and results[0].get("code") == "SUCCESS":
        return Prepared(one.name, "made", "Zoho names it by its label: see that the API name is the same")
    if not results:
        judge(answer)
    why = f"{results[0].get('code')} {results[0].get('message')}" if results else f"Zoho answers {answer.status}"
    return Prepared(one.name, "by hand", f"Zoho does not make it ({why}): make it in the module's layout")
