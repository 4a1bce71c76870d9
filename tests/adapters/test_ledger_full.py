"""A ledger in a Redis that is full, refuses, or holds a lot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import redis as plain

from tests.kit.ledgers import HOUR, LEASE, a_state, an_act, claimed, ended, enrolled, the_row
from tests.kit.services import Redis, needed
from worker.adapters.redis_client import connect
from worker.adapters.redis_ledger import RedisLedger
from worker.automation_ports import Cancel, EraseLead, Leave, Lift, Op, Suppress
from worker.errors import StoreFull, StoreRefused


@pytest.fixture
async def ledger(redis_server: Redis, namespace: str) -> AsyncIterator[RedisLedger]:
    """An empty ledger on the shared server."""
    client = connect(redis_server.url)
    yield RedisLedger(client, namespace, 0)
    await client.aclose()


async def test_a_full_redis_takes_no_acts_and_lets_those_end_that_it_has(own_redis: Redis, namespace: str) -> None:
    """Erasures and unsubscriptions are obeyed, and nothing is lost: the offsets do not move."""
    client = connect(own_redis.url)
    ledger = RedisLedger(client, namespace, 0)
    await ledger.take([an_act("a"), an_act("b", "bob"), an_act("c", "cat"), a_state(5), enrolled()], 0, {"lead.sql": 5})
    with plain.Redis(port=own_redis.port) as admin:
        admin.config_set("maxmemory", 1_000_000)
        for op in (an_act("d"), a_state(6), enrolled(lead="bob")):
            with pytest.raises(StoreFull, match="maxmemory"):
                await ledger.take([EraseLead("bob", 9), op], 1, {"lead.sql": 6})
        assert await ledger.position() == {"lead.sql": 5}
        assert len(await ledger.rows()) == 3
        assert await claimed(ledger, 1, "c1") == ["a", "b", "c"]
        assert await ledger.begin("a", "c1", "task", LEASE)
        assert await ledger.remember("a", "c1", "task", "17")
        assert await ended(ledger, "a", "c1", "done", 2)
        assert await ended(ledger, "b", "c1", "retry", 2, due_ms=9)
        assert await ledger.decide("b", "dead", "", 3)
        (state,) = await ledger.claim_states("crm", 2, LEASE, 10)
        assert state.sequence == 5
        assert len(await ledger.claim_enrolled(2, LEASE, 10)) == 1
        ops: list[Op] = [
            EraseLead("bob", 9), Suppress("email:x", "unsubscribed", 3), Lift("email:y", 3), Leave("warm", "ann"),
            Cancel("ann", "lead.cooled", 3),
        ]  # fmt: skip
        await ledger.take(ops, 3, {"lead.sql": 6})
        assert await ledger.suppressed(["email:x"]) == {"email:x": "unsubscribed"}
        assert sorted(row.id for row in await ledger.rows()) == ["a", "c"]
        assert await ledger.position() == {"lead.sql": 6}
        await ledger.published([acted.key for acted in await ledger.acted(9)])
        admin.config_set("maxmemory", 0)
    await ledger.take([an_act("d")], 4)
    assert await claimed(ledger, 4, "c2") == ["d"]
    await client.aclose()


@pytest.mark.parametrize("key", ["position", "targets", "queue:crm:ann", "due:crm", "is:intent:crm", "lead:ann"])
async def test_a_key_of_another_type_is_refused(ledger: RedisLedger, redis_server: Redis, namespace: str, key: str) -> None:
    """Once it is gone, the same call leaves everything as it should be."""
    with plain.Redis(port=redis_server.port) as admin:
        admin.set(f"{{{namespace}:0}}:act:{key}", "x")
        with pytest.raises(StoreRefused, match=r"WRONGTYPE.*something else writes"):
            await ledger.take([an_act("a")], 0, {"lead.sql": 6})
        admin.delete(f"{{{namespace}:0}}:act:{key}")
    assert await ledger.position() == {}
    await ledger.take([an_act("a")], 0, {"lead.sql": 6})
    assert await claimed(ledger, 0, "c1") == ["a"]


async def test_an_act_that_cannot_be_read_is_named(ledger: RedisLedger, redis_server: Redis, namespace: str) -> None:
    """Something else wrote under its key."""
    with plain.Redis(port=redis_server.port) as admin:
        admin.hset(f"{{{namespace}:0}}:act:row:a", "lead", "ann")
    with pytest.raises(StoreRefused, match="an act cannot be read"):
        await ledger.get("a")


@pytest.mark.parametrize(
    "command", ["hset", "hdel", "zadd", "zrange", "sadd", "smembers", "hincrby", "pexpire", "zremrangebyscore"]
)
async def test_a_missing_right_refuses_the_call_whole(redis_server: Redis, namespace: str, command: str) -> None:
    """The operator hears which one."""
    with plain.Redis(port=redis_server.port) as admin:
        admin.execute_command("ACL", "SETUSER", namespace, "on", ">pw", "~*", "+@all", "-" + command)
        client = connect(f"redis://{namespace}:pw@{redis_server.address}")
        with pytest.raises(StoreRefused, match=rf"may not run {command.upper()}.*give this Redis user the right"):
            await RedisLedger(client, namespace, 0).take([an_act("a")], 0)
        assert admin.keys(f"{{{namespace}:*") == []
        await client.aclose()
        admin.execute_command("ACL", "DELUSER", namespace)


async def test_many_operations_are_taken_in_slices(ledger: RedisLedger) -> None:
    """The position comes with the last ones."""
    for count in (0, 1, 199, 200, 201, 400, 603):
        await ledger.take([an_act(f"{count}.{n}", f"lead{n}") for n in range(count)], 0, {"lead.sql": count})
        assert len([row for row in await ledger.rows() if row.id.startswith(f"{count}.")]) == count
        assert await ledger.position() == {"lead.sql": count}


_MOST_S = 0.1
"""Of Redis' CPU, which a busy machine does not make longer."""


async def _cpu_s(admin: plain.Redis, call: Awaitable[object]) -> float:
    def used_s() -> float:
        told: Any = admin.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    before_s = used_s()
    await call
    return used_s() - before_s


async def test_no_call_holds_redis_for_long(namespace: str) -> None:
    """While one runs, every worker waits. Among 40,000 acts, and for a lead with 1,000 of them."""
    with needed(lambda: Redis(keep=False)) as server, plain.Redis(port=server.port) as admin:
        client = connect(server.url, timeout_s=60)
        ledger = RedisLedger(client, namespace, 0)
        for at in range(0, 40_000, 500):
            acts = [
                an_act(f"r|/s|lead{at + n}:1", f"lead{at + n}", unless=("lead.cooled",), packed=b"p" * 500) for n in range(500)
            ]
            await ledger.take(acts, at)
        await ledger.take([an_act(f"{n}", "busy", "mail", at_ms=n) for n in range(1_000)], 0)
        await ledger.take([a_state(1, f"lead{n}") for n in range(2_000)], 0)
        cancels = [Cancel(f"lead{n}", "lead.cooled", 1) for n in range(200)]
        assert await _cpu_s(admin, ledger.take(cancels, 1)) < _MOST_S
        assert await _cpu_s(admin, ledger.claim("crm", HOUR, LEASE, 100, "c1")) < _MOST_S
        assert await _cpu_s(admin, ledger.claim_states("crm", HOUR, LEASE, 100)) < _MOST_S
        assert await _cpu_s(admin, ledger.figures()) < _MOST_S
        assert await _cpu_s(admin, ledger.next_due(["crm", "mail"])) < _MOST_S
        assert await _cpu_s(admin, ledger.acted(100)) < _MOST_S
        await ledger.distrust()
        assert len(await ledger.rows()) == 41_000
        assert await _cpu_s(admin, ledger.take([EraseLead("busy", HOUR)], HOUR)) < _MOST_S
        assert (await the_row(ledger, "r|/s|lead30000:1")).unsure == "*"
        await client.aclose()
