"""Pipedrive's fields of persons, by its specification of API v2: listed by name, and made. Their keys are random."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Final
from urllib.parse import quote

from worker.automations.requests import Answer, Http
from worker.automations.targets.answers import inside
from worker.automations.targets.prepared import Preparation, Prepared, Wanted
from worker.connections.targets import PipedriveTarget

_FIELDS: Final = "/api/v2/personFields"
_TYPES: Final = {"text": "varchar", "long": "text", "number": "double"}
_MOST_PAGES: Final = 20
_HASH: Final = re.compile(r"[0-9a-f]{40}")


def prepare(_target: PipedriveTarget, wanted: Sequence[Wanted], make: bool) -> Preparation:
    """Look up the fields, and make those that are missing. A field has a name here until its key is known."""
    names = yield from _names()
    codes = {name: code for code, name in names.items()}
    found = []
    for one in wanted:
        if one.name in names:
            found.append(Prepared(one.name, "there"))
        elif _HASH.fullmatch(one.name):
            found.append(Prepared(one.name, "by hand", "no field of persons has this key: write one of those that are there"))
        elif one.name in codes:
            found.append(Prepared(one.name, "by hand", f"write its key in `fields`: {codes[one.name]}"))
        elif not make:
            found.append(Prepared(one.name, "missing"))
        else:
            body = {"field_name": one.name, "field_type": _TYPES[one.type]}
            answer = yield Http.json("make", "POST", _FIELDS, body, sample={"data": {"field_code": "<field_code>"}})
            found.append(
                Prepared(one.name, "made", f"write its key in `fields`: {inside(answer.json(), 'data', 'field_code')}")
            )
    return found


def _names() -> Generator[Http, Answer, dict[str, str]]:
    """Return the fields that there are: key → name."""
    names: dict[str, str] = {}
    cursor = ""
    for _ in range(_MOST_PAGES):
        answer = yield Http.json("fields", "GET", f"{_FIELDS}?limit=500{cursor}", sample={"data": []})
        held = answer.json()
        data = inside(held, "data")
        for one in data if isinstance(data, list) else []:
            names[str(inside(one, "field_code"))] = str(inside(one, "field_name"))
        following = inside(held, "additional_data", "next_cursor")
        if not following:
            break
        cursor = f"&cursor={quote(str(following), safe='')}"
    return names
