"""The ledgers of a namespace are copied into another one, with more partitions: each act goes on there, and none twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.adapters.conftest import url_of
from tests.kit.ledgers import HOUR, LEASE, a_content, a_state, an_act, claimed, ended, enrolled
from worker.adapters.ledger_copy import Copied, LedgerCopy
from worker.adapters.redis_client import Client, connect
from worker.adapters.redis_ledger import RedisLedger
from worker.adapters.redis_limits import RedisLimits
from worker.automation_ports import Cancel, EraseLead, Ledger, Lift, Op, StateEnd, Suppress
from worker.core.contract.partitioner import owner

OLD, NEW = 2, 5
LEADS = [f"lead|{n}:é" for n in range(12)]
ADDRESSES = [f"email:{n}@example.com" for n in range(12)]
DAY = 24 * HOUR


@pytest.fixture(params=["redis", "cluster"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of each kind of server."""
    found = connect(url_of(request))
    yield found
    await found.aclose()


class Namespace:
    """The ledgers of one namespace."""

    def __init__(self, client: Client, name: str, partitions: int) -> None:
        self.ledgers: Sequence[Ledger] = [RedisLedger(client, name, p) for p in range(partitions)]

    def of(self, key: str) -> Ledger:
        """Return the ledger that owns a lead or an address."""
        return self.ledgers[owner(key, len(self.ledgers))]

    async def take(self, key: str, *ops: Op, now_ms: int = 0) -> None:
        """Do *ops* at the owner of *key*."""
        await self.of(key).take(ops, now_ms)

    async def states(self) -> dict[str, str]:
        """Return the state of each act."""
        return {row.id: row.state for ledger in self.ledgers for row in await ledger.rows()}


async def _filled(client: Client, name: str) -> Namespace:
    """Return a namespace in the midst of work."""
    old = Namespace(client, name, OLD)
    for lead in LEADS:
        acts = [an_act(f"{n}|/s|{lead}", lead, unless=("lead.cooled",), packed=b"\xff") for n in range(4)]
        await old.take(lead, *acts, a_state(5, lead), a_state(7, lead, "mail"), enrolled(lead=lead, due_ms=HOUR))
        await old.take(lead, a_content("study", HOUR, lead=lead, output=lead))
    for ledger in old.ledgers:
        first = await claimed(ledger, 1, "c1", most=99)
        for id_ in first:
            await ended(ledger, id_, "c1", "done", 2, remote_id="1")
        second = await claimed(ledger, 3, "c2", most=99)
        for id_ in second[:2]:
            await ledger.begin(id_, "c2", "task", LEASE)
            await ledger.remember(id_, "c2", "contact", "17")
            await ledger.begin(id_, "c2", "task", LEASE)
        for id_ in second[2:]:
            await ended(ledger, id_, "c2", "retry", 4, due_ms=9)
        rows = await ledger.claim_states("mail", 1, LEASE, 99)
        await ledger.finish_states("mail", [StateEnd("0", row.lead_id, row.sequence) for row in rows], 2)
        await ledger.take([], 5, {"lead.sql": 100, "#calls": 7})
    for n, address in enumerate(ADDRESSES):
        await old.take(address, Suppress(address, ("unsubscribed", "bounced")[n % 2], 5))
        await old.of(address).mail_allowed(address.removeprefix("email:"), "a", 5, 1)
    await RedisLimits(client, name).rule_allows("call", "an-act", 1, 10**15, 5)
    await old.of(ADDRESSES[0]).content_allowed(ADDRESSES[0], "warm/study", "an-act")
    await RedisLimits(client, name).pause("target:crm", True)
    await RedisLimits(client, name).pause("rule:call", True)
    await old.take("email:lifted", Lift("email:lifted", 9))
    await old.take("gone", EraseLead("gone", 9))
    await old.take("calm", Cancel("calm", "lead.cooled", 9))
    return old


async def test_everything_goes_on_with_more_partitions(client: Client, namespace: str) -> None:
    """Whoever owned it, the new owner of the lead or the address has it. A second copy changes nothing."""
    old = await _filled(client, namespace)
    new = Namespace(client, namespace + "-grown", NEW)
    for _ in range(2):
        copied = await LedgerCopy(client, namespace, OLD, namespace + "-grown", NEW).run()
        assert copied == Copied(5 * len(LEADS), len(LEADS))
    assert await RedisLimits(client, namespace + "-grown").paused() == {"target:crm", "rule:call"}
    assert await RedisLimits(client, namespace + "-grown").rule_allows("call", "an-act", 1, 10**15, 6)
    assert not await RedisLimits(client, namespace + "-grown").rule_allows("call", "another", 1, 10**15, 6)
    assert (await RedisLimits(client, namespace + "-grown").permit("crm", 1, 1.0, 1.0, 0)).why == "paused"
    assert await new.states() == await old.states()
    for lead in LEADS:
        assert await new.of(lead).rows(lead_id=lead) == await old.of(lead).rows(lead_id=lead)
        (state,) = [row for row in await new.of(lead).claim_states("crm", 1, 0, 99) if row.lead_id == lead]
        assert (state.sequence, state.first_ms) == (5, 0)
        await new.take(lead, a_state(6, lead, "mail"))
        assert lead not in [row.lead_id for row in await new.of(lead).claim_states("mail", DAY, 0, 99)]
        await new.take(lead, a_content("study", HOUR, lead=lead, output="another"))
    for p, ledger in enumerate(new.ledgers):
        assert await ledger.position() == ({"lead.sql": 100, "#calls": 7} if p < OLD else {"lead.sql": 0})
    told = {acted.key for ledger in old.ledgers for acted in await ledger.acted(999)}
    assert {acted.key for ledger in new.ledgers for acted in await ledger.acted(999)} == told
    await _forbids_the_same(new)
    await new.take("calm", an_act("late", "calm", at_ms=8, unless=("lead.cooled",)), now_ms=9)
    assert (await new.states())["late"] == "cancelled"
    await _ends_in_order(new)


async def _forbids_the_same(new: Namespace) -> None:
    for n, address in enumerate(ADDRESSES):
        assert await new.of(address).suppressed([address]) == {address: ("unsubscribed", "bounced")[n % 2]}
        assert await new.of(address).mail_allowed(address, "b", 6, 1) == 5 + DAY
    await new.take("email:lifted", Suppress("email:lifted", "unsubscribed", 8))
    assert await new.of("email:lifted").suppressed(["email:lifted"]) == {}
    assert not await new.of(ADDRESSES[0]).content_allowed(ADDRESSES[0], "warm/study", "another")
    await new.take("gone", an_act("gone", "gone", at_ms=8))
    assert "gone" not in await new.states()


async def _ends_in_order(new: Namespace) -> None:
    """Do all acts that wait, and show that leases, unsure steps and the order came along."""
    unsure, order = set(), list[str]()
    for ledger in new.ledgers:
        while rows := await ledger.claim("crm", LEASE, LEASE, 99, "c9"):
            for row in rows:
                order.append(row.id)
                if row.unsure:
                    assert (row.unsure, row.known) == ("task", {"contact": "17"})
                    unsure.add(row.id)
                await ended(ledger, row.id, "c9", "done", LEASE)
    assert len(unsure) == 2 * OLD
    for lead in LEADS:
        assert [id_ for id_ in order if id_.endswith(f"|{lead}")] == [f"{n}|/s|{lead}" for n in (1, 2, 3)]


async def test_beside_the_old_namespace_acts_stay_with_it(client: Client, namespace: str) -> None:
    """With as many partitions, both go on. Nothing is done twice, and what is forbidden is so in both."""
    await _filled(client, namespace)
    new = Namespace(client, namespace + "-second", OLD)
    assert await LedgerCopy(client, namespace, OLD, namespace + "-second", OLD).run() == Copied(0, 0)
    assert await new.states() == {}
    for ledger in new.ledgers:
        assert (await ledger.position(), await ledger.next_due(["crm", "mail"]), await ledger.acted(9)) == ({}, None, [])
    await _forbids_the_same(new)
    await new.take(LEADS[0], enrolled(lead=LEADS[0], due_ms=5))
    (lead,) = await new.of(LEADS[0]).claim_enrolled(5, LEASE, 9)
    assert lead.sent == ("study",)
