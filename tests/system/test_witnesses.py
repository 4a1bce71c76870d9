"""What was published is known by three witnesses: each of them may forget, and nothing goes out twice."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.kit.site import MakeSite, Site
from tests.kit.traffic import Sent, traffic
from tests.kit.waits import until
from worker.core.contract.journal import Cut, Cuts, cuts_output, decode_entry


async def cuts_of(site: Site, partition: int) -> list[Cut]:
    """Return every committed cut of *partition*, in the journal's order."""
    journal = await site.read([TopicPartition(site.settings.internal_topic, partition)])
    return [cut for record in journal if isinstance(entry := decode_entry(record), Cuts) for cut in entry.cuts]


def written(site: Site, partition: int, *cuts: Cut) -> Sent:
    """Return *cuts* as another history writes them into the journal."""
    output = cuts_output(site.settings.internal_topic, partition, cuts)
    return Sent(output.topic, partition, output.value, headers=output.headers)


async def moved(site: Site, name: str, held: str) -> None:
    """Wait until Redis holds something else than *held* as *name* of partition 0's position."""

    async def has_moved() -> bool:
        return (await site.position(0))[name] != held

    await until(has_moved, f"{name} other than {held}")


@pytest.mark.parametrize("how", ["deleted", "committed over", "set back"])
async def test_offsets_forgotten_with_an_older_redis_send_nothing_twice(make_site: MakeSite, how: str) -> None:
    """The journal still has the cuts: they were committed with the offsets."""
    site = await make_site(max_batch=50)
    await site.send(site.sent(m) for m in traffic(60, 60, 300))
    worker = site.worker()
    await site.settled()
    old = await site.copy()
    before = {p: await site.position(p) for p in range(2)}
    await site.send(site.sent(m) for m in traffic(61, 60, 300))
    await site.settled()
    await worker.stop()
    await site.restore(old)
    if how == "deleted":
        await site.forget_offsets()
    else:
        ends = {
            TopicPartition(topic, p): (int(before[p][f"next:{topic}"]), before[p]["published"])
            for topic in site.settings.topics
            for p in range(2)
        }
        told = "" if how == "committed over" else None
        await site.commit({tp: OffsetAndMetadata(at, batch if told is None else told) for tp, (at, batch) in ends.items()})
    heir = site.worker()
    await heir.ready(2)
    await site.send(site.sent(m) for m in traffic(62, 60, 100))
    await site.settled()
    await heir.stop()
    await site.verdict()
    assert heir.said().count("do not agree") == 2, heir.said()
    assert "folding again" in heir.said()


async def test_offsets_forgotten_with_an_empty_redis_are_refused_until_a_rebuild_is_allowed(make_site: MakeSite) -> None:
    """It is the refusal of an empty Redis, also where the journal alone knows that anything was published."""
    site = await make_site(partitions=1, max_batch=50)
    await site.send(site.sent(m) for m in traffic(63, 60, 300))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    await site.restore({})
    await site.forget_offsets()
    published = (await cuts_of(site, 0))[-1].batch
    refused = site.worker()
    assert await refused.ended() == 1
    assert f"batches up to {published} were published" in refused.said()
    doctor = site.command("doctor")
    assert doctor.returncode == 1
    assert "leadpulse rebuild --partition 0" in doctor.stderr
    await site.allow_rebuild()
    await site.forget_offsets()
    heir = site.worker()
    await heir.ready(1)
    await site.send(site.sent(m) for m in traffic(64, 60, 100))
    await site.settled()
    await heir.stop()
    await site.verdict()


@pytest.mark.parametrize("rebuilt", [False, True], ids=["with its Redis", "when it is rebuilt"])
async def test_a_journal_of_two_series_of_cuts_is_refused_by_name(make_site: MakeSite, rebuilt: bool) -> None:
    """A namespace was begun anew upon the journal of before, or the data of two clusters were brought into one."""
    site = await make_site(partitions=1, max_batch=50)
    await site.send(site.sent(m) for m in traffic(65, 60, 300))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    last = (await cuts_of(site, 0))[-1]
    other = [msgspec.structs.replace(last, batch=batch, next=dict.fromkeys(last.next, batch)) for batch in range(1, last.batch)]
    await site.send([written(site, 0, *other)])
    if rebuilt:
        await site.restore({})
        await site.forget_offsets()
        await site.allow_rebuild()
    refused = site.worker()
    assert await refused.ended() == 1
    assert "two series of cuts" in refused.said(), refused.said()
    assert site.settings.internal_topic in refused.said()
    doctor = site.command("doctor")
    assert doctor.returncode == 1
    assert "two series of cuts" in doctor.stderr


async def test_the_last_cut_is_found_behind_another_partitions_open_transaction(make_site: MakeSite) -> None:
    """The transaction hides what comes after it, cuts among it, until it is decided."""
    site = await make_site(partitions=1, max_batch=50)
    await site.send(site.sent(m) for m in traffic(66, 60, 300))
    worker = site.worker()
    await site.settled()
    old, stood = await site.copy(), int((await site.position(0))["published"])
    open_ = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=f"{site.settings.namespace}.other")
    await open_.start()
    try:
        await open_.begin_transaction()
        await open_.send_and_wait(site.settings.internal_topic, b"aborted", partition=0)
        await site.send(site.sent(m) for m in traffic(67, 60, 300))
        await moved(site, "published", str(stood))
        await worker.stop()
        await site.restore(old)
        await site.forget_offsets()
        owner = (await site.position(0))["owner"]
        heir = site.worker()
        await moved(site, "owner", owner)
        await asyncio.sleep(1)
        assert "ready at batch" not in heir.said()
        await open_.abort_transaction()
    finally:
        await open_.stop()
    await heir.ready(1)
    await site.settled()
    await heir.stop()
    await site.verdict()
