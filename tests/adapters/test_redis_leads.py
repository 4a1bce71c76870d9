"""Traits of leads out of the states that the worker keeps in Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.services import Redis
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_leads import RedisLeads
from worker.adapters.redis_store import RedisStore
from worker.core.contract.partitioner import owner
from worker.core.scoring.state import IdentityLinks, LeadState, pack
from worker.core.scoring.traits import Write, pack_traits


@pytest.fixture
async def client(redis_server: Redis, namespace: str) -> AsyncIterator[Client]:
    """A client of the shared server, which has the worker's functions."""
    made = connect(redis_server.url)
    await RedisStore(made, namespace, 0).load(["nobody"])
    yield made
    await made.aclose()


async def keep(client: Client, namespace: str, lead: str, alias_of: str = "", **traits: Any) -> None:
    """Write a lead's state."""
    held = {path: Write(1_770_000_000_000, "e-1", value) for path, value in traits.items()}
    state = LeadState(traits=pack_traits(held))
    state.identity = IdentityLinks(alias_of=alias_of)
    await client.hset(f"{{{namespace}:{owner(lead, 4)}}}:lead:{lead}", "state", pack(state))


async def test_an_address_is_that_of_the_lead_behind_an_alias(client: Client, namespace: str) -> None:
    """In lower case. A lead without one, and a lead without a state, have none."""
    await keep(client, namespace, "ada", email=" Ada@Example.com")
    await keep(client, namespace, "visitor:1", alias_of="ada")
    await keep(client, namespace, "bob", country="FR")
    await keep(client, namespace, "loop", alias_of="loop")
    leads = RedisLeads(client, namespace, 4)
    assert [await leads.address(lead) for lead in ("ada", "visitor:1", "bob", "nobody", "loop")] == [
        "ada@example.com", "ada@example.com", "", "", "",
    ]  # fmt: skip


async def test_a_leads_aliases_are_the_other_ids_of_the_person(client: Client, namespace: str) -> None:
    """Of an alias, they are the lead behind it and that lead's other aliases."""
    state = LeadState()
    state.identity = IdentityLinks(aliases=("visitor:1", "email:ada@example.com"))
    await client.hset(f"{{{namespace}:{owner('ada', 4)}}}:lead:ada", "state", pack(state))
    await keep(client, namespace, "visitor:1", alias_of="ada")
    leads = RedisLeads(client, namespace, 4)
    assert await leads.aliases("ada") == ("visitor:1", "email:ada@example.com")
    assert await leads.aliases("visitor:1") == ("ada", "email:ada@example.com")
    assert await leads.aliases("nobody") == ()
    await keep(client, namespace, "early", alias_of="without-a-state")
    assert [await leads.lead_of(one) for one in ("ada", "visitor:1", "nobody", "early")] == ["ada", "ada", "nobody", "early"]


async def test_consent_is_true_and_nothing_else(client: Client, namespace: str) -> None:
    """`None` where the lead has no state, so that the output's word counts."""
    for lead, value in {"yes": True, "no": False, "text": "true", "gone": None}.items():
        await keep(client, namespace, lead, ok=value)
    await keep(client, namespace, "none")
    await keep(client, namespace, "visitor:1", alias_of="yes")
    leads = RedisLeads(client, namespace, 4)
    found = {lead: await leads.consents(lead, "ok") for lead in ("yes", "no", "text", "gone", "none", "visitor:1", "nobody")}
    assert found == {
        "yes": True, "no": False, "text": False, "gone": False, "none": False, "visitor:1": True, "nobody": None,
    }  # fmt: skip
