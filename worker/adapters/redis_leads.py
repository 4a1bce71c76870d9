"""What acts ask of a lead, out of the state that the worker keeps in Redis: its e-mail address, and its consent."""

from __future__ import annotations

from typing import Final

from worker.adapters.redis_client import Client
from worker.adapters.redis_store import RedisStore
from worker.core.contract.partitioner import owner
from worker.core.scoring.state import LeadState, unpack
from worker.core.scoring.traits import Traits, unpack_traits

_MOST_HOPS: Final = 4
"""So many aliases are followed from one id to the lead."""


class RedisLeads:
    """Reads traits of leads in one namespace. Raises as the store does."""

    def __init__(self, client: Client, namespace: str, partitions: int) -> None:
        self._stores = [RedisStore(client, namespace, p) for p in range(partitions)]

    async def address(self, lead: str) -> str:
        """Return the address of *lead*, in lower case; empty where none is known."""
        found = (await self._traits(lead) or {}).get("email")
        return found.value.strip().lower() if found is not None and isinstance(found.value, str) else ""

    async def consents(self, lead: str, trait: str) -> bool | None:
        """Return whether *trait* of *lead* is true; `None` where the lead has no state."""
        traits = await self._traits(lead)
        if traits is None:
            return None
        found = traits.get(trait)
        return found is not None and found.value is True

    async def aliases(self, lead: str) -> tuple[str, ...]:
        """Return the other ids of the person, as far as they are known."""
        name, state = await self._named(lead)
        return () if state is None else tuple(one for one in (name, *state.identity.aliases) if one != lead)

    async def lead_of(self, lead: str) -> str:
        """Return the lead that an id belongs to: itself, unless it is an alias of a lead that has a state."""
        name, state = await self._named(lead)
        return lead if state is None else name

    async def _traits(self, lead: str) -> Traits | None:
        _, state = await self._named(lead)
        return None if state is None else unpack_traits(state.traits)

    async def _named(self, lead: str) -> tuple[str, LeadState | None]:
        """Return the lead that an id belongs to, with its state; `None`: it has none, or too many aliases lead there."""
        for _ in range(_MOST_HOPS):
            (packed,) = await self._stores[owner(lead, len(self._stores))].load([lead])
            if not packed:
                return lead, None
            state = unpack(packed)
            if not state.identity.alias_of:
                return lead, state
            lead = state.identity.alias_of
        return lead, None
