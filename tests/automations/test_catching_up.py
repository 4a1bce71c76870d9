"""Nothing is handed out before all is read that cancels, suppresses or replaces it: after a pause, or after Redis went back."""

from __future__ import annotations

import asyncio
import functools

import pytest

from tests.kit.acting import CRM, Acting
from tests.kit.mail_acts import INVITE, mail_stage, person
from tests.kit.state_acts import none_waits, state_stage
from tests.kit.waits import until
from worker.adapters.memory_ledger import MemoryLedger
from worker.automations import partition
from worker.automations.file import parse_rules
from worker.core.contract.partitioner import owner

UNSUBSCRIBED = "email.unsubscribed"
OTHER = next(lead for lead in map("lead-{}".format, range(99)) if owner(lead, 2) == owner("ada", 2))
"""A lead of the same partition as ada."""


@pytest.fixture
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each fetch bring one record of each topic, a while after the last one."""
    fetch = partition.PartitionReader._fetched

    async def slowly(self: partition.PartitionReader) -> object:
        await asyncio.sleep(0.15)
        return await fetch(self)

    monkeypatch.setattr(partition, "MOST_RECORDS", 1)
    monkeypatch.setattr(partition.PartitionReader, "_fetched", slowly)


@pytest.mark.usefixtures("slow_reading")
@pytest.mark.parametrize("cancels", ["lead.sql", "crm.accepted"])
async def test_what_was_cancelled_while_nothing_ran_is_not_sent(cancels: str) -> None:
    """The event that cancels stands in another topic, behind events of another lead, so it is read later than the output."""
    made = Acting("acts:\n  - {id: tell, on: lead.cooled, to: hook, do: send, unless: [lead.sql, crm.accepted]}\n")
    async with made.acting():
        pass
    made.publish("lead.cooled")
    made.later(10)
    for number in range(5):
        _happen(made, cancels, OTHER, number)
    _happen(made, cancels, "ada", 2)
    async with made.acting():
        await until(lambda: made.acks.records, "the act ends")
    assert await made.states("ada") == ["cancelled"]
    assert not made.target.requests


def _happen(made: Acting, type_: str, lead: str, seq: int) -> None:
    if type_.startswith("crm."):
        made.happen(type_, lead)
    else:
        made.publish(type_, lead, seq)


@pytest.mark.usefixtures("slow_reading")
@pytest.mark.parametrize("running", [False, True], ids=["between processes", "under a process"])
async def test_a_redis_that_went_back_writes_no_older_state_after_a_newer_one(running: bool) -> None:
    """The copy has a state that waits. Since then a newer one was written, which is read again."""
    made, crm = state_stage()
    made.target.answers = [503]
    async with made.acting():
        made.publish(seq=1)
        await until(lambda: made.target.requests, "the first attempt")
    old = made.copy()
    crm.held.clear()
    async with made.acting():
        for seq in range(2, 6):
            made.publish(seq=seq)
        made.later(120_000)
        await until(lambda: crm.held.get("ada", {}).get("sequence") == 5, "the newest")
        await none_waits(made)
        await asyncio.sleep(1.5)  # offsets are committed a while later
        written = len(made.target.requests)
        if running:
            made.restore(old)
            made.later(120_000)
            await until(functools.partial(_written_since, made, written), "it is written again")
            await none_waits(made)
    if not running:
        made.restore(old)
        made.later(120_000)
        async with made.acting():
            await until(functools.partial(_written_since, made, written), "it is written again")
            await none_waits(made)
    assert [body[0]["sequence"] for _, _, _, body in made.target.requests[written:]] == [5]


def _written_since(made: Acting, number: int) -> bool:
    """Return whether there are more than *number* requests. A lease that is left behind ends meanwhile."""
    if not made.busy():
        made.later(5_000)
    return len(made.target.requests) > number


async def _suppressed(made: Acting, address: str) -> bool:
    return any([await ledger.suppressed([address]) for ledger in made.ledgers])


async def _empty(made: Acting) -> None:
    """Empty Redis, once what was read is committed."""

    def committed() -> bool:
        ends = {tp: one.end for tp, one in ((tp, made.log._log(tp)) for tp in made.log._committed) if one.end}
        return bool(ends) and all(made.log._committed[tp].offset == end for tp, end in ends.items())

    await until(committed, "all is committed")
    for ledger in made.ledgers:
        vars(ledger).clear()
        vars(ledger).update(vars(MemoryLedger()))


@pytest.mark.usefixtures("slow_reading")
async def test_no_mail_goes_out_before_every_partition_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis was emptied. The lead who unsubscribed is another partition's, which is read again last."""
    made = mail_stage()
    theirs = next(lead for lead in map("lead-{}".format, range(99)) if owner(lead, 2) != owner("ada", 2))
    made.addresses[theirs] = "ada@example.com"
    made.happen(UNSUBSCRIBED, theirs)
    made.since_ms = 0
    async with made.acting():
        await until(functools.partial(_suppressed, made, "email:ada@example.com"), "the address is suppressed")
        made.happen(UNSUBSCRIBED, "ada-2")
        await asyncio.sleep(1)
    await _empty(made)
    reads, held = partition.PartitionReader.read, asyncio.Event()

    async def later(self: partition.PartitionReader) -> None:
        if self.partition == owner(theirs, 2):
            await held.wait()
        await reads(self)

    monkeypatch.setattr(partition.PartitionReader, "read", later)
    async with made.acting():
        made.publish(**person())

        async def waits() -> bool:
            return any("is still to be read again" in row.detail for row in await made.rows())

        await until(waits, "the mail waits")
        assert not made.target.mails
        held.set()
        await until(lambda: made.acks.records, "the act ends")
    assert (await made.states(), made.target.mails) == (["cancelled"], [])


@pytest.mark.usefixtures("slow_reading")
async def test_a_second_death_while_outputs_are_read_again_makes_nothing_twice() -> None:
    """Redis was emptied. The next process still distrusts what the first one had not read again."""
    made = Acting("acts:\n  - {id: make, on: lead.sql, to: hook, do: send}\n", kinds=CRM)
    made.since_ms = 0
    for seq in range(1, 9):
        made.publish(seq=seq)
    async with made.acting():
        await until(lambda: len(made.acks.records) == 8, "all are made")
        await asyncio.sleep(1)
    await _empty(made)
    for _ in range(3):
        async with made.acting():
            await until(functools.partial(_taken, made), "some outputs are read again")
            await asyncio.sleep(0.8)  # offsets are committed a while later
    made.later(120_000)
    async with made.acting():
        await until(functools.partial(_all_ended, made, 8), "all have ended")
    assert set(made.target.made.values()) == {1}
    assert await made.states() == ["done"] * 8


async def _taken(made: Acting) -> bool:
    return bool(await made.rows())


async def _all_ended(made: Acting, number: int) -> bool:
    if not made.busy():
        made.later(5_000)
    return len([state for state in await made.states() if state not in ("intent", "retry")]) == number


async def test_an_act_that_is_written_anew_goes_to_no_suppressed_address() -> None:
    """It could not be written, and its lead unsubscribed. A person mends the rule, and lets it be tried again."""
    made = mail_stage(INVITE.replace('"Hello"', '"Hello {{ traits.first_name }}"'))
    async with made.acting():
        made.publish(**person())
        await until(lambda: made.acks.records, "the act is dead")
        assert await made.states() == ["dead"]
        made.happen(UNSUBSCRIBED, lead="email:ada@example.com")

        async def suppressed() -> bool:
            found = [await one.suppressed(["email:ada@example.com"]) for one in made.ledgers]
            return any(found)

        await until(suppressed, "the address is suppressed")
    made.rules = parse_rules(INVITE.encode(), "automations.yaml", made.connections, kinds=made.kinds)
    (row,) = await made.rows()
    for ledger in made.ledgers:
        await ledger.decide(row.id, "intent", "tried again", made.now_ms())
    async with made.acting():
        await until(lambda: len(made.acks.records) == 2, "the act ends")
    assert await made.states() == ["cancelled"]
    assert not made.target.mails
