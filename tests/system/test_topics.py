"""Topics that are not what they were: made again under their name, gone, compacted, with records deleted in the middle."""

from __future__ import annotations

from tests.kit.site import MakeSite
from tests.kit.topics import OTHER_RECORDS, REMADE, delete, make_again, set_policy, stands, thin_out
from tests.kit.traffic import traffic


async def test_a_topic_made_again_and_longer_than_our_offset_stops_by_name_and_nothing_is_skipped(make_site: MakeSite) -> None:
    """By offsets alone it looks as if it went on. Once the loss is accepted, the new one is read from its start."""
    site = await make_site(partitions=1)
    first = site.worker()
    await site.send(site.sent(m) for m in traffic(1, 40, 100))
    await site.settled()
    await first.stop()
    await make_again(site, site.web)
    new = [site.sent(m, topic=site.web) for m in traffic(2, 40, 300)]
    await site.send(new)
    refused = site.worker()
    assert await refused.ended() == 1
    assert REMADE in refused.said()
    assert site.web in refused.said()
    told = site.command("doctor")
    assert told.returncode == 1
    assert REMADE in told.stderr
    last = site.worker(accept_loss="true")
    await site.settled()
    await last.stop()
    assert int((await site.position(0))[f"next:{site.web}"]) == len(new)
    again = site.worker()  # the word is needed once
    await again.ready(1)
    await again.stop()
    async with site.redis() as redis:
        ids = {await redis.hget(site.key(0, "position"), f"id:{topic}") for topic in site.settings.topics}
    assert len(ids) == len(site.settings.topics)
    assert None not in ids
    await site.verdict()


async def test_without_ids_the_last_record_that_was_read_must_be_there_still(make_site: MakeSite) -> None:
    """Brokers before 2.8 give topics no ids. A topic that goes on is known again; one that was made again is not."""
    site = await make_site(partitions=1)
    first = site.worker(no_topic_ids="1")
    await site.send(site.sent(m) for m in traffic(1, 40, 100))
    await site.settled()
    await first.stop()
    assert ":" in (await site.position(0))[f"id:{site.web}"]
    again = site.worker(no_topic_ids="1")
    await site.send(site.sent(m) for m in traffic(2, 40, 50))
    await site.settled()
    await again.stop()
    await site.verdict()
    await make_again(site, site.web)
    await site.send(site.sent(m, topic=site.web) for m in traffic(3, 40, 300))
    for settings in ({"no_topic_ids": "1"}, {}):  # and brokers that are new enough by now change nothing in it
        refused = site.worker(**settings)
        assert await refused.ended() == 1
        assert REMADE in refused.said()


async def test_a_topic_made_again_under_a_running_worker_stops_it_by_name(make_site: MakeSite) -> None:
    """Also where nothing is being read: the brokers' ids are looked at again and again."""
    site = await make_site(partitions=1)
    worker = site.worker()
    await site.send(site.sent(m) for m in traffic(1, 40, 100))
    await site.settled()
    position = await site.position(0)
    await make_again(site, site.crm)
    await site.send(site.sent(m, topic=site.crm) for m in traffic(2, 40, 300))
    assert await worker.ended() == 1
    assert REMADE in worker.said()
    held = await site.position(0)
    assert held[f"id:{site.crm}"] == position[f"id:{site.crm}"]


async def test_a_topic_that_is_gone_is_told_while_the_worker_runs(make_site: MakeSite) -> None:
    """In the log, and it is not ready: its events wait nowhere. The same with a topic made anew is another matter."""
    site = await make_site(partitions=1)
    worker = site.worker()
    await worker.ready(1)
    await delete(site, site.crm)
    await worker.says(f"topic {site.crm} is gone")
    told = site.command("doctor")
    assert told.returncode == 1
    assert f"missing: {site.crm}" in told.stderr


async def test_positions_of_an_older_version_get_their_ids_without_a_stop(make_site: MakeSite) -> None:
    """At once, by a batch of its own; the journal is folded again through it."""
    site = await make_site(partitions=1)
    first = site.worker()
    await site.send(site.sent(m) for m in traffic(1, 40, 100))
    await site.settled()
    await first.stop()
    old = await site.copy()
    ids = [f"id:{topic}" for topic in site.settings.topics]
    async with site.redis() as redis:
        assert await redis.hdel(site.key(0, "position"), *ids) == len(ids)
    batch = int((await site.position(0))["batch"])
    second = site.worker()
    await second.ready(1)
    await second.stop()
    position = await site.position(0)
    assert set(ids) <= position.keys()
    assert int(position["batch"]) == batch + 1
    await site.restore(old)
    third = site.worker()
    await third.says("folding again")
    await third.ready(1)
    await third.stop()
    assert int((await site.position(0))["batch"]) == batch + 1
    await site.verdict()


async def test_a_compacted_input_is_refused_at_the_start_and_by_doctor(make_site: MakeSite) -> None:
    """Its records could not be folded again."""
    site = await make_site(partitions=1)
    for policy in ("compact", "compact,delete"):
        await set_policy(site, site.web, cleanup_policy=policy)
        refused = site.worker()
        assert await refused.ended() == 1
        assert f"{site.web}: cleanup.policy is " in refused.said()
        told = site.command("doctor")
        assert told.returncode == 1
        assert f"{site.web}: cleanup.policy is " in told.stderr
    await set_policy(site, site.web, cleanup_policy="delete")
    worker = site.worker()
    await worker.ready(1)
    await set_policy(site, site.web, cleanup_policy="compact")
    await worker.says(f"input topic {site.web} is compacted")
    await worker.stop()


async def test_a_batch_whose_records_are_not_all_there_any_more_is_not_folded_again(make_site: MakeSite) -> None:
    """Redis went back, and the input was compacted meanwhile: other states would stand under numbers that are published."""
    site = await make_site(partitions=1)
    first = site.worker()
    await site.send(site.sent(m) for m in traffic(1, 10, 50))
    await site.settled()
    old, begin = await site.copy(), await stands(site, site.web)
    await site.send(site.sent(m) for m in traffic(2, 10, 300))
    await site.settled()
    await first.stop()
    new, end = await site.copy(), await stands(site, site.web)
    await thin_out(site, site.web, begin, end)
    await site.restore(old)
    refused = site.worker()
    assert await refused.ended() == 1
    assert OTHER_RECORDS in refused.said()
    assert "restore a newer copy of Redis" in refused.said()
    await site.restore(new)
    last = site.worker()
    await site.settled()
    await last.stop()
    await site.verdict()
