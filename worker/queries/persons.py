"""All ids of one person, as Redis holds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from worker.adapters.redis_store import RedisStore
from worker.core.contract.partitioner import owner
from worker.core.identity.aliases import MOST_HOPS
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import LeadState, unpack
from worker.ports import Position, Store
from worker.queries.leads import held_leads
from worker.settings import ReaderSettings

_LOOK_S: Final = 0.2


class Person(NamedTuple):
    """One of the ids."""

    lead: str
    partition: int
    fields: dict[str, bytes]
    """Its hash, as it is."""
    state: LeadState
    """What its field `state` holds."""


class Persons:
    """Reads ids and what ties them together."""

    def __init__(self, stores: Sequence[Store], scorers: Sequence[CompiledGrid], positions: Sequence[Position]) -> None:
        self._stores = stores
        self.scorers = scorers
        self.positions = positions

    async def person(self, lead: str) -> Person | None:
        """Return what is held under *lead*; `None` for nothing."""
        partition = owner(lead, len(self._stores))
        fields = await self._stores[partition].lead(lead)
        return Person(lead, partition, fields, unpack(fields["state"])) if fields else None

    async def ids(self, lead: str) -> list[Person]:
        """Return all ids of the person known as *lead*: the lead itself first, then its aliases, and theirs."""
        for _ in range(MOST_HOPS):
            person = await self.person(lead)
            if person is None or not person.state.identity.alias_of:
                break
            lead = person.state.identity.alias_of
        people: dict[str, Person] = {}
        wanted = [lead]
        for name in wanted:
            person = await self.person(name)
            if person is None or name in people:
                continue
            people[name] = person
            wanted += person.state.identity.aliases
        return list(people.values())

    async def schedule(self, person: Person) -> tuple[int | None, float | None]:
        """Return when time will next judge the id (ms), and the bound of its score."""
        store = self._stores[person.partition]
        assert isinstance(store, RedisStore)
        return await store.schedule(person.lead)


@asynccontextmanager
async def persons(settings: ReaderSettings) -> AsyncIterator[Persons]:
    """Open the ids of *settings*' namespace for reading. Raises `OtherPartitions`."""
    async with held_leads(settings) as leads:
        yield Persons(leads.stores, leads.scorers, leads.positions)


async def ids_of_person(settings: ReaderSettings, lead: str) -> list[Person]:
    """Return all ids of the person known as *lead*, as they stand now; empty for nothing. Raises `OtherPartitions`."""
    async with persons(settings) as source:
        return await source.ids(lead)


async def until_erased(settings: ReaderSettings, lead: str, ids: list[str], at_ms: int, wait_s: float) -> bool:
    """Wait until each of *ids* is erased up to *at_ms*, or holds nothing; return whether that came within *wait_s*.

    *lead* itself, for which the erasure was sent, must be erased.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s), persons(settings) as source:
            while True:
                people = {name: await source.person(name) for name in ids}
                if all(_is_erased(person, at_ms, name == lead) for name, person in people.items()):
                    return True
                await asyncio.sleep(_LOOK_S)
    return False


def _is_erased(person: Person | None, at_ms: int, asked: bool) -> bool:
    return not asked if person is None else person.state.erased_ms >= at_ms
