"""What the maps of CRMs, forms and webinars share: safe steps into a record, numbers, stages, and traits of a person."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from worker.connections.sources import Crm, Source
from worker.core.contract.event_fields import DECIMAL, DECIMAL_CHARS
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, Unmapped, objects_of, profile, text
from worker.intake.vendors.expressions import traits_of

OWN: Final = "leadpulse"
"""Fields whose name begins so are those that LeadPulse writes."""

_LARGEST: Final = 2.0**53
_DIGITS: Final = re.compile(r"[0-9][0-9,]{0,15}")


def object_of(inbound: Inbound) -> dict[str, Any]:
    """Return the body's JSON object. Raises `Unmapped`, for a list too."""
    found = objects_of(inbound)
    if len(found) != 1:
        raise Unmapped(f"the body holds {len(found)} objects, not one")
    return found[0]


def inside(value: Any, *path: str) -> Any:
    """Return what is at *path* in objects within objects; `None` where a step is missing."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def listed(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list; other elements, and what is no list, are passed over."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def path_part(value: str) -> str:
    """Return an id as one part of a path, encoded. Raises `Unmapped` for a name of another folder."""
    if value in (".", "..") or not value:
        raise Unmapped(f"{value!r} is no id")
    return quote(value, safe="")


def number(value: Any) -> float | None:
    """Return a number or its plain decimal text (`1,250.00` too); `None` for anything else and for what is too large."""
    if isinstance(value, str):
        plain = value.strip().replace(",", "")
        if len(plain) > DECIMAL_CHARS or not DECIMAL.fullmatch(plain):
            return None
        value = float(plain) if "." in plain else int(plain)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value if abs(value) <= _LARGEST else None


def company_size(value: Any) -> float | None:
    """Return the number of employees: a number, or the lowest one of a range such as `51-200` or `1,001-5,000`."""
    if not isinstance(value, str):
        return number(value)
    found = _DIGITS.search(value)
    return number(found[0]) if found else None


def address_in(value: Any) -> str | None:
    """Return a text that holds an `@`, without blanks around it."""
    found = text(value) if isinstance(value, str) else None
    return found if found and "@" in found else None


def fields_of(record: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the traits that *names* (trait → field) find in *record*. `company.size` becomes a number."""
    found = {trait: inside(record, field) for trait, field in names.items()}
    held: dict[str, Any] = {trait: value for trait, value in found.items() if isinstance(value, (str, int, float))}
    if "company.size" in held:
        held["company.size"] = company_size(held["company.size"])
    return held


def learn(made: Mapped, source: Source, subject: str, id_: str, at_ms: int, record: Any, own: Mapping[str, Any]) -> None:
    """Add the `profile.updated` of *record* to *made*: the source's traits over the vendor's *own*; none for nothing learnt.

    An expression that fails refuses the profile alone: the event beside it is as good as before.
    """
    try:
        made.events += profile(subject, id_, at_ms, traits_of(source.traits, record, own))
    except Unmapped as error:
        made.refused.append(f"profile.updated {id_}: {error}")


def changed_traits(source: Source, changed: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the traits in *changed*, fields of a record that have changed. `None` removes a trait: its field was emptied.

    Raises `Unmapped` for an expression that fails.
    """
    record = {field: "" if value is None else value for field, value in changed.items()}
    own = fields_of(record, names) | {trait: "" for trait, field in names.items() if record.get(field) == ""}
    found = traits_of(source.traits, record, own)
    return {trait: None if value == "" else value for trait, value in found.items() if value is not None}


def stage_type(source: Source, *names: Any) -> str | None:
    """Return the event type of the first of *names* (stages, statuses) that the source's `stages` name."""
    stages = source.stages if isinstance(source, Crm) else {}
    return next((stages[word] for name in names if (word := text(name)) is not None and word in stages), None)


def is_own(field: Any) -> bool:
    """Return whether LeadPulse writes this field: `leadpulse_score`, `LeadPulse_Score__c`."""
    return isinstance(field, str) and field.lower().startswith(OWN)
