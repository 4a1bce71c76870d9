"""Batches that are not what they seem: bombs, damaged ones, and what a refold makes of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from aiokafka import AIOKafkaProducer

from tests.kit.bombs import bomb, send_raw
from tests.kit.services import Kafka
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import traffic
from tests.kit.workers import Worker


def memory_mb(worker: Worker, what: str = "VmHWM") -> float:
    """Return the most memory that *worker* had at once (`VmHWM`), or has now (`VmRSS`)."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


async def letters(site: Site) -> list[tuple[str, int, int, str, bytes | None]]:
    """Return topic, partition, offset, reason and value of each dead letter."""
    found = []
    for record in await site.outputs():
        if record.topic == site.settings.output_topic("lead.dead"):
            told = {name.rpartition(".")[2]: value.decode() for name, value in record.headers}
            found.append((told["topic"], int(told["partition"]), int(told["offset"]), told["lp-reason"], record.value))
    return sorted(found, key=lambda letter: letter[:3])


async def test_a_batch_that_unpacks_to_hundreds_of_megabytes_is_taken_once_through(make_site: MakeSite) -> None:
    """Where the limit allows it: a thread unpacks it, the group stays as it is, and each record counts once."""
    site = await make_site(partitions=1, max_batch=500, max_unpacked=400_000_000)
    good = [site.sent(m) for m in traffic(18, 20, 100)]
    producer = AIOKafkaProducer(
        bootstrap_servers=site.settings.kafka, compression_type="gzip", max_batch_size=400_000_000, max_request_size=400_000_000
    )
    await producer.start()
    batch = producer.create_batch()
    for message in traffic(19, 20, 300):
        value = json.dumps({**message, "padding": "x" * 890_000}).encode()
        assert batch.append(key=message["subject"].encode(), value=value, timestamp=None) is not None
    await producer.send_batch(batch, site.web, partition=0)
    await producer.stop()
    await site.send(good)
    worker = site.worker()
    await site.settled(300)
    await worker.stop()
    said = worker.log.read_text()
    assert "beginning anew" not in said
    assert said.count("the group assigns") == 1
    verdict = await site.verdict()
    assert not verdict.unread


async def test_a_batch_that_unpacks_to_gigabytes_goes_to_the_dead_letters_by_place(make_site: MakeSite) -> None:
    """Two gigabytes in some 70 kB: the worker's memory stays, what is around it counts, and it is the same after a refold."""
    site = await make_site(partitions=1, session_timeout=6)
    worker = site.worker()
    await worker.ready(1)
    await site.send(site.sent(m) for m in traffic(21, 20, 200))
    await site.settled()
    before = memory_mb(worker)
    made = bomb(records=20, megabytes=100)
    assert len(made) < 200_000
    first = await send_raw(site, site.web, 0, made)
    again = await send_raw(site, site.web, 0, bomb("gzip", records=5, megabytes=60))
    await site.send(site.sent(m) for m in traffic(22, 20, 200))
    await site.settled(120)
    grown = memory_mb(worker) - before
    assert grown < 250, f"{before:.0f} MB before, {grown:.0f} MB more"
    await worker.stop()
    poison = [*range(first, first + 20), *range(again, again + 5)]
    assert await letters(site) == [(site.web, 0, offset, "batch_too_large", None) for offset in poison]
    verdict = await site.verdict()
    assert [place[2] for place in verdict.unread] == poison
    listed = site.command("dead", "list")
    assert listed.stdout.count("batch_too_large") == 25, listed.stderr
    replayed = site.command("dead", "replay", "--reason", "batch_too_large")
    assert json.loads(replayed.stdout)["without_value"] == 25, replayed.stderr

    await site.restore({})
    await site.allow_rebuild()
    heir = site.worker(max_unpacked=1_000_000_000)  # it could read the second one, and must not
    await heir.ready(1, 120)
    await heir.stop()
    assert len(await letters(site)) == 25
    await site.verdict()


async def test_what_was_read_once_is_not_passed_over_by_a_lower_limit(make_site: MakeSite) -> None:
    """A refold whose limit is lower stops by name, and goes on with the limit of then."""
    site = await make_site(partitions=1, session_timeout=6, max_unpacked=100_000_000)
    await send_raw(site, site.web, 0, bomb(records=10, megabytes=1))
    worker = site.worker()
    await site.settled(60)
    await worker.stop()
    assert {letter[3] for letter in await letters(site)} == {"too_large"}
    await site.restore({})
    await site.allow_rebuild()
    low = site.worker(max_unpacked=5_000_000)
    assert await low.ended(60) == 1
    assert "raise LEADPULSE_MAX_UNPACKED" in low.said()
    heir = site.worker()
    await heir.ready(1)
    await heir.stop()
    await site.verdict()


async def test_a_header_that_claims_two_billion_records_harms_nobody(make_site: MakeSite, kafka: Kafka) -> None:
    """Brokers take no such batch, so it is written over one on their disk. Checksums are off, as in development."""
    site = await make_site(partitions=1)
    first = await send_raw(site, site.web, 0, bomb(records=3, megabytes=1))
    on_disk(kafka, site, first, 57, (2**31 - 1).to_bytes(4, "big"))
    await site.send(site.sent(m) for m in traffic(23, 20, 50))
    worker = site.worker(development="true")
    await site.settled(60)
    assert memory_mb(worker) < 400
    await worker.stop()
    assert [letter[2:4] for letter in await letters(site)] == [(first + n, "too_large") for n in range(3)]


async def test_a_damaged_batch_stops_by_name_and_exactly_it_is_passed_over_by_a_setting(
    make_site: MakeSite, kafka: Kafka
) -> None:
    """The line has the setting as it is to be written; without it no worker goes past, with it the rest counts."""
    site = await make_site(partitions=1)
    await site.send(site.sent(m, topic=site.web) for m in traffic(24, 20, 100))
    first = await send_raw(site, site.web, 0, bomb(records=3, megabytes=1))
    await site.send(site.sent(m, topic=site.web) for m in traffic(25, 20, 100))
    on_disk(kafka, site, first, 70, b"\xff")
    worker = site.worker()
    assert await worker.ended(60) == 1
    (line,) = [line for line in worker.said().splitlines() if line.startswith("STOPPED")]
    assert f"LEADPULSE_PASS_OVER={site.web}:0:{first}:" in line
    assert "checksum" in line
    other = site.worker(pass_over=f"{site.web}:0:{first + 1},{site.crm}:0:{first}")
    assert await other.ended(60) == 1
    heir = site.worker(pass_over=f"{site.web}:0:{first}")
    await site.settled(60)
    await heir.stop()
    assert await letters(site) == [(site.web, 0, first + n, "batch_damaged", None) for n in range(3)]
    await site.verdict()

    await site.restore({})
    await site.allow_rebuild()
    later = site.worker()  # the cut names it from now on
    await later.ready(1)
    await site.send(site.sent(m, topic=site.web) for m in traffic(26, 20, 50))
    await site.settled()
    await later.stop()
    assert len(await letters(site)) == 3
    await site.verdict()


def on_disk(kafka: Kafka, site: Site, offset: int, at: int, written: bytes, *, topic: str = "") -> None:
    """Write over bytes of the batch of `web`, or of *topic*, that holds *offset*, *at* bytes behind its beginning."""
    (log,) = (kafka.data / f"{topic or site.web}-0").glob("*.log")
    held = log.read_bytes()
    place = 0
    while True:
        first, length = struct.unpack_from(">qi", held, place)
        (delta,) = struct.unpack_from(">i", held, place + 23)
        if first <= offset <= first + delta:
            break
        place += 12 + length
    with log.open("r+b") as file:
        file.seek(place + at)
        file.write(written)


async def test_a_bomb_among_many_partitions_leaves_the_others_alone(make_site: MakeSite) -> None:
    """Sixteen of them at once: one is unpacked after the other, so memory stays, and every partition goes on."""
    site = await make_site(partitions=4, session_timeout=6)
    made = bomb(records=4, megabytes=100)
    for p in range(4):
        for topic in (site.web, site.crm):
            for _ in range(2):
                await send_raw(site, topic, p, made)
    await site.send(site.sent(m) for m in traffic(27, 60, 300))
    worker = site.worker()
    await site.settled(120)
    assert memory_mb(worker) < 450
    assert "beginning anew" not in worker.log.read_text()
    await worker.stop()
    assert len(await letters(site)) == 64
    await site.verdict()
