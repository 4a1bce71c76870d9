"""HubSpot's paths, limits and errors, by its specifications (`PublicApiSpecs/CRM`) and its page "Error handling"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from worker.automations.requests import Again, Answer
from worker.automations.targets.answers import inside, numbers_of, raise_for, scrubbed, text_at
from worker.automations.targets.retry_after import retry_after_s
from worker.connections.targets import HubSpotTarget


def objects(target: HubSpotTarget, rest: str) -> str:
    """Return the path of CRM objects in the target's version: a date, or `v3`."""
    version = quote(target.version, safe="")
    return f"/crm/{version}/objects{rest}" if version.startswith("v") else f"/crm/objects/{version}{rest}"


def parts(target: HubSpotTarget, part: str, rest: str = "") -> str:
    """Return the path of another part of the CRM, such as owners, in the target's version."""
    version = quote(target.version, safe="")
    return f"/crm/{version}/{part}{rest}" if version.startswith("v") else f"/crm/{part}/{version}{rest}"


def words_of(answer: Answer) -> str:
    """Return category and message of an error. HubSpot calls both optional."""
    held = answer.json()
    held = held if isinstance(held, dict) else {}
    return " ".join(str(held[name]) for name in ("category", "message") if held.get(name))


def judge(answer: Answer) -> None:
    """Raise what an answer means. 423 is a lock, and 477 a migration of the account."""
    if answer.status in (423, 477):
        raise Again(f"HubSpot answers {answer.status}: {scrubbed(words_of(answer))}", retry_after_s(answer) or 10.0)
    daily = answer.status == 429 and inside(answer.json(), "policyName") == "DAILY"
    raise_for(answer, "HubSpot", words_of(answer), wait_s=3_600.0 if daily else 10.0)


def spare(answer: Answer) -> float:
    """Return the interval of HubSpot's limit where less than 30 % of it is left."""
    held = numbers_of(answer, *(f"x-hubspot-ratelimit-{name}" for name in ("max", "remaining", "interval-milliseconds")))
    if held is None:
        return 0.0
    most, left, interval_ms = held
    return interval_ms / 1_000 if left < 0.3 * most else 0.0


def id_of(held: Any) -> str:
    """Return the id of an object, or nothing."""
    return text_at(held, "id")


def properties_of(held: Any) -> Mapping[str, Any]:
    """Return the properties of an object."""
    found = inside(held, "properties")
    return found if isinstance(found, dict) else {}


def listed(held: Any, name: str) -> list[Any]:
    """Return the list at *name*, or an empty one."""
    found = inside(held, name)
    return found if isinstance(found, list) else []
