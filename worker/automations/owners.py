"""Who of sales gets a lead: a table by a trait, else one of several by a stable share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from worker.automations.models import Owners


def owner_of(owners: Owners | None, lead_id: str, traits: Mapping[str, Any]) -> str | None:
    """Return the owner of a lead, by its traits as dotted paths; `None` where none is named.

    `round-robin` picks by a hash of the lead's id. So a lead keeps its owner, whatever process asks, and a preview is equal.
    """
    if owners is None:
        return None
    value = traits.get(owners.table) if owners.table is not None else None
    among = owners.values.get(_key(value)) if value is not None else None
    among = among if among is not None else owners.otherwise
    return None if among is None else share(among, lead_id)


def share(among: Sequence[str], lead_id: str) -> str:
    """Return the one of *among* that a lead falls to. All get nearly the same number of leads."""
    number = int.from_bytes(hashlib.sha256(lead_id.encode()).digest()[:8])
    return among[number % len(among)]


def _key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
