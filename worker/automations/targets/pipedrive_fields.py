"""Pipedrive's fields of persons, by its specification of API v2: listed by name, and made. Their keys are random."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from worker.automations.requests import Http
from worker.automations.targets.prepared import Preparation, Prepared, Wanted
from worker.connections.targets import PipedriveTarget

_FIELDS: Final = "/api/v2/personFields"
_TYPES: Final = {"text": "varchar", "long": "text", "number": "double"}
_HASH: Final = re.compile(r"[0-9a-f]{40}")


def prepare(_target: PipedriveTarget, wanted: Sequence[Wanted], make: bool) -> Preparation:
    """Look up the fields, and make those that are missing. A field has a name here until its key is known."""
    by_code: dict[str, dict[str, Any]] = {}
    cursor = ""
    for _ in range(20):
        answer = yield Http.json("fields", "GET", f"{_FIELDS}?limit=500{cursor}", sample={"data": []})
        held = answer.json()
        data = held.get("data") if isinstance(held, dict) else None
        for one in data if isinstance(data, list) else []:
            if isinstance(one, dict):
                by_code[str(one.get("field_code"))] = one
        more = held.get("additional_data") if isinstance(held, dict) else None
        following = more.get("next_cursor") if isinstance(more, dict) else None
        if not following:
            break
        cursor = f"&cursor={quote(str(following), safe='')}"
    by_name = {str(one.get("field_name")): code for code, one in by_code.items()}
    found = []
    for wish in wanted:
        if wish.name in by_code:
            found.append(Prepared(wish.name, "there"))
        elif _HASH.fullmatch(wish.name):
            found.append(Prepared(wish.name, "by hand", "no field of persons has this key: write one of those that are there"))
        elif wish.name in by_name:
            found.append(Prepared(wish.name, "by hand", f"write its key in `fields`: {by_name[wish.name]}"))
        elif not make:
            found.append(Prepared(wish.name, "missing"))
        else:
            body = {"field_name": wish.name, "field_type": _TYPES[wish.type]}
            answer = yield Http.json("make", "POST", _FIELDS, body, sample={"data": {"field_code": "<field_code>"}})
            held = answer.json()
            made = held.get("data") if isinstance(held, dict) else None
            code = made.get("field_code") if isinstance(made, dict) else None
            found.append(Prepared(wish.name, "made", f"write its key in `fields`: {code}"))
    return found
