"""HubSpot's properties of contacts, by `PublicApiSpecs/CRM/Properties`, 2026-03: looked up by name, and made."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final
from urllib.parse import quote

from worker.automations.requests import Answer, Http
from worker.automations.targets.answers import inside
from worker.automations.targets.hubspot_api import parts
from worker.automations.targets.prepared import Preparation, Prepared, Wanted, label_of
from worker.connections.targets import HubSpotTarget

_GROUP: Final = "leadpulse"
_TYPES: Final = {"text": ("string", "text"), "long": ("string", "textarea"), "number": ("number", "number")}
"""Our type → HubSpot's `type` and `fieldType`."""


def prepare(target: HubSpotTarget, wanted: Sequence[Wanted], make: bool) -> Preparation:
    """Look up the properties, and make those that are missing."""
    found = []
    grouped = False
    for one in wanted:
        at = _path(target, f"/{quote(one.name, safe='')}")
        answer = yield Http.json("property", "GET", at, sample={"name": one.name}, takes=(404,))
        if answer.status != 404:
            found.append(_there(one, answer.json()))
        elif not make:
            found.append(Prepared(one.name, "missing"))
        else:
            if not grouped:
                yield from _group(target)
                grouped = True
            body = _definition(one)
            answer = yield Http.json("make", "POST", _path(target), body, sample={"name": one.name}, takes=(409,))
            found.append(Prepared(one.name, "there" if answer.status == 409 else "made"))
    return found


def _path(target: HubSpotTarget, rest: str = "") -> str:
    return parts(target, "properties", f"/contacts{rest}")


def _there(one: Wanted, held: Any) -> Prepared:
    type_ = inside(held, "type")
    if one.unique and inside(held, "hasUniqueValue") is not True:
        what = "its values are not unique, which cannot be changed later: name another property in `id_property`"
        return Prepared(one.name, "by hand", what)
    if one.type != "number" and type_ not in (None, "string"):
        return Prepared(one.name, "by hand", f"it is of type {type_}, and takes no text: name another property in `fields`")
    return Prepared(one.name, "there")


def _group(target: HubSpotTarget) -> Generator[Http, Answer, None]:
    """Make the group of our properties, unless it is there."""
    answer = yield Http.json("group", "GET", _path(target, f"/groups/{_GROUP}"), sample={"name": _GROUP}, takes=(404,))
    if answer.status == 404:
        body = {"name": _GROUP, "label": "LeadPulse"}
        yield Http.json("group", "POST", _path(target, "/groups"), body, sample={}, takes=(409,))


def _definition(one: Wanted) -> dict[str, Any]:
    type_, field_type = _TYPES[one.type]
    held = {"name": one.name, "label": label_of(one.name), "type": type_, "fieldType": field_type, "groupName": _GROUP}
    return held | ({"hasUniqueValue": True} if one.unique else {})
