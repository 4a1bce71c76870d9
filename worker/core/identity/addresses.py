"""The id `email:ADDRESS`: which leads have that address."""

from __future__ import annotations

from typing import Final

from worker.core.scoring.state import IdentityLinks

MOST_HOLDERS: Final = 16
"""Leads that are remembered to have one address; a further one is reported all the same."""


def others(kin: IdentityLinks, lead: str) -> tuple[str, ...]:
    """Return the leads beside *lead* that have this id's address."""
    return tuple(holder for holder in kin.holders if holder != lead)
