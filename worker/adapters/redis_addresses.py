"""The e-mail address of a lead, out of the state that the worker keeps in Redis."""

from __future__ import annotations

from typing import Final

from worker.adapters.redis_client import Client
from worker.adapters.redis_store import RedisStore
from worker.core.contract.partitioner import owner
from worker.core.scoring.state import unpack
from worker.core.scoring.traits import unpack_traits

_MOST_HOPS: Final = 4
"""So many aliases are followed from one id to the lead."""


class RedisAddresses:
    """Reads addresses of leads in one namespace."""

    def __init__(self, client: Client, namespace: str, partitions: int) -> None:
        self._stores = [RedisStore(client, namespace, p) for p in range(partitions)]

    async def address(self, lead: str) -> str:
        """Return the address of *lead*, in lower case; empty where none is known. Raises as the store does."""
        for _ in range(_MOST_HOPS):
            (packed,) = await self._stores[owner(lead, len(self._stores))].load([lead])
            if not packed:
                return ""
            state = unpack(packed)
            if not state.identity.alias_of:
                found = unpack_traits(state.traits).get("email")
                return found.value.strip().lower() if found is not None and isinstance(found.value, str) else ""
            lead = state.identity.alias_of
        return ""
