"""The collector's promise on a real broker: what was answered with 200 is in Kafka, once."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from tests.kit.collectors import Park, Sender, id_of, opened, park_of
from tests.kit.services import Kafka, Redis, needed
from tests.kit.shell import leadpulse
from tests.kit.waits import until
from worker.core.contract.dead_letter import LETTER_HEADER

KILLS = 20
HEARD_S = 5.0
"""The sender shares two cores with a broker that starts. The collector's own clock is held to 2.5 s."""


@pytest.fixture
def own_broker() -> Iterator[Kafka]:
    """Start a broker for one test, since the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


@pytest.fixture
async def park(own_broker: Kafka, own_redis: Redis, tmp_path: Path) -> AsyncIterator[Park]:
    """Return a broker with the collector's topics."""
    async with park_of(own_broker.address, own_redis.url, tmp_path) as made:
        yield made


async def test_a_batch_of_100_with_one_bad_element(park: Park) -> None:
    """Gives 99 events, one dead letter and 200. The same webhook again gives nothing more."""
    collector = park.collector()
    await collector.ready()
    events: list[object] = [opened(n, 1_790_000_000) for n in range(99)]
    body = json.dumps([*events[:50], 7, *events[50:]]).encode()
    sender = Sender(park, collector.port)
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await sender.send_raw(session, body, range(99))
    assert sender.statuses[200] == 2
    assert await park.mapped(id_of(n) for n in range(99)) == {id_of(n): 1 for n in range(99)}

    async def two_letters() -> bool:
        return len(await park.read(["lead.inbound.dead"])) >= 2

    await until(two_letters, "a dead letter for each record")
    assert LETTER_HEADER in dict((await park.read(["lead.inbound.dead"]))[0].headers)
    assert await park.ids() == {id_of(n): 1 for n in range(99)}
    assert collector.end() == 0


@pytest.mark.parametrize("how", ["suspended", "killed"])
async def test_kafka_stopped_under_load(park: Park, own_broker: Kafka, how: str) -> None:
    """429 within 2.5 s, and everything that was answered with 200 is in the topics afterwards."""
    collector = park.collector()
    await collector.ready()
    sender, stop = Sender(park, collector.port), asyncio.Event()
    load = asyncio.create_task(sender.load(itertools.count(), 50, stop))
    await until(lambda: sender.statuses[200] > 500)
    await asyncio.to_thread(own_broker.suspend if how == "suspended" else own_broker.kill)
    await until(lambda: sender.statuses[429] > 300)
    answered = sender.statuses[200]
    # In a thread: the senders must read their answers while Java starts, or they seem to wait for it.
    await asyncio.to_thread(own_broker.resume if how == "suspended" else own_broker.restart)
    await until(lambda: sender.statuses[200] > answered + 500, "taken again")
    stop.set()
    await load
    assert set(sender.statuses) == {200, 429}
    in_time, answered_in_all = await collector.within("2.5")
    assert in_time == answered_in_all, f"slowest at the sender: {sender.slowest_s:.2f} s\n{collector.said()}"
    assert sender.slowest_s < HEARD_S
    found = await park.mapped(id_of(n) for n in sender.answered)
    assert max(found.values()) == 1
    assert collector.end() == 0


async def test_kill_9_at_random_loses_and_doubles_nothing(park: Park) -> None:
    """Collector and mapper are killed twenty times in all. Senders repeat what was not answered."""
    http, mapper = park.collector("http"), park.collector("map")
    await http.ready()
    await mapper.ready_by_log()
    sender, stop = Sender(park, http.port), asyncio.Event()
    load = asyncio.create_task(sender.load(itertools.count(), 20, stop))
    chance = random.Random(18)
    for kill in range(KILLS):
        before = sender.statuses[200]
        await until(lambda before=before: sender.statuses[200] > before + 50)  # type: ignore[misc]
        await asyncio.sleep(chance.random() * 0.7)
        victim = http if kill % 2 else mapper
        victim.kill()
        victim.restart()
        if victim is mapper:
            await mapper.ready_by_log()
    stop.set()
    await load
    assert sender.statuses[200] > KILLS * 50
    found = await park.mapped(id_of(n) for n in sender.answered)
    assert {id_: count for id_, count in found.items() if count > 1} == {}


async def test_remap_sends_what_a_mended_map_makes(park: Park) -> None:
    """Only what is missing. What an earlier map made by mistake is listed."""
    http = park.collector("http")
    await http.ready()
    sender = Sender(park, http.port)
    async with aiohttp.ClientSession() as session:
        await sender.send(session, [1])
        mapper = park.collector("map")
        await park.mapped([id_of(1)])
        mapper.kill()
        wrong = park.folder / "wrong.yaml"
        wrong.write_text('sources:\n  mailer: {vendor: brevo, secrets: ["${KEY}"]}\n')
        mapper = park.collector("map", LEADPULSE_CONNECTIONS=str(wrong))
        await mapper.ready_by_log()
        await sender.send(session, [2, 3])

    async def a_letter() -> bool:
        return len(await park.read(["lead.inbound.dead"])) == 1

    await until(a_letter)
    mapper.kill()
    listed = leadpulse("dead", "list", "--inbound", "--json", env=park.environ)
    assert [json.loads(line)["reason"] for line in listed.stdout.splitlines()] == ["no_source"]
    place = json.loads(listed.stdout)["place"]
    assert "no source 'mailer'" in leadpulse("dead", "show", place, "--inbound", env=park.environ).stdout
    producer = AIOKafkaProducer(bootstrap_servers=park.kafka)
    await producer.start()
    invented = {"specversion": "1.0", "id": "e9:email.clicked", "source": "/in/mailer", "type": "email.clicked", "subject": "x"}
    await producer.send_and_wait("lead.events.email", json.dumps(invented).encode(), b"x")
    await producer.stop()

    def remap(*words: str) -> Any:
        done = leadpulse("collect", "remap", "--source", "mailer", "--since", "2026-01-01T00:00:00Z", *words, env=park.environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    told = remap("--dry-run")
    assert (told["webhooks"], told["present"], told["sent"], told["dead"]) == (2, 1, 2, 0)
    assert [one["id"] for one in told["wrong"]] == ["e9:email.clicked"]
    assert remap()["sent"] == 2
    assert remap()["sent"] == 0
    replayed = leadpulse("dead", "replay", "--inbound", "--all", env=park.environ)
    assert json.loads(replayed.stdout)["replayed"] == 1, replayed.stderr
    await park.collector("map").ready_by_log()

    async def read_again() -> bool:
        return len(await park.read(["lead.inbound"])) == 3

    await until(read_again)
    assert await park.ids() == {id_of(1): 1, id_of(2): 1, id_of(3): 1, "e9:email.clicked": 1}
