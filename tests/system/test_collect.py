"""The collector's promise on a real broker: what was answered with 200 is in Kafka, once."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from tests.kit.collect_faults import AGAIN, How, killed, stalled, stopped
from tests.kit.collectors import Park, Sender, id_of, opened
from tests.kit.services import Kafka
from tests.kit.shell import leadpulse
from tests.kit.waits import until
from worker.core.contract.dead_letter import LETTER_HEADER

KILLS = 4
"""`make webhooks` kills more often, with look-ups in it."""

MOST_GROWTH_MB = 80
"""What a collector may need while Kafka is stalled, beside its queue: it holds no more than a few requests then."""


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


async def test_kill_9_at_random_loses_and_doubles_nothing(park: Park) -> None:
    """Of collector and mapper in turn. Senders repeat what was not answered."""
    row = await killed(park, KILLS, deals=False)
    assert row.wrong == ""
    assert row.taken > KILLS * 50
    assert row.lost


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


async def test_memory_stays_flat_while_kafka_is_stalled(park: Park, collect_kafka: Kafka) -> None:
    """However many webhooks come, and however large they are."""
    row = await stalled(park, collect_kafka, 3.0)
    assert row.again > 500
    assert row.wrong == ""
    assert row.peak_mb - row.rest_mb < MOST_GROWTH_MB


@pytest.mark.parametrize("how", ["suspended", "killed"])
async def test_kafka_stopped_under_load(park: Park, collect_kafka: Kafka, how: How) -> None:
    """429 within 2.5 s, and everything that was answered with 200 is in the topics afterwards."""
    row = await stopped(park, collect_kafka, how)
    assert row.again >= AGAIN
    assert row.wrong == ""
