"""What operators see of a collector on real servers: topics, doctor, health, and the status of its sources."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.collectors import INBOUND, CollectorProcess, Sender, id_of, park_of
from tests.kit.services import Kafka, Redis, needed
from tests.kit.shell import leadpulse
from tests.kit.waits import until
from worker.core.contract.event_types import INPUT_TOPICS


@pytest.fixture
def own_broker() -> Iterator[Kafka]:
    """Start a broker for one test, since the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


def findings(environ: dict[str, str]) -> list[dict[str, Any]]:
    """Return what doctor finds of topics and connections."""
    done = leadpulse("doctor", "--json", env=environ)
    return [one for line in done.stdout.splitlines() if (one := json.loads(line))["area"] in ("topics", "connections")]


def test_topics_of_the_collector_are_made_and_looked_at(own_broker: Kafka, own_redis: Redis, tmp_path: Path) -> None:
    """Doctor names what is missing until `topics create` has made it, inputs that no worker reads too."""
    file = tmp_path / "connections.yaml"
    file.write_text("sources: {mailer: {vendor: brevo, secrets: '${KEY}'}}")
    environ = {
        "LEADPULSE_KAFKA": own_broker.address,
        "LEADPULSE_REDIS": own_redis.url,
        "LEADPULSE_CONNECTIONS": str(file),
        "LEADPULSE_INPUT_TOPICS": "lead.events.web",
        "LEADPULSE_PARTITIONS": "2",
        "KEY": "k",
    }
    before = [one["what"] for one in findings(environ) if one["level"] == "error"]
    assert [topic for topic in INBOUND if not any(f"missing: {topic};" in what for what in before)] == []
    elsewhere = {**environ, "LEADPULSE_CONNECTIONS": "/nowhere/connections.yaml"}  # as in a Job that has not the file
    made = leadpulse("topics", "create", env=elsewhere)
    assert made.returncode == 0, made.stderr
    assert {*INBOUND, *INPUT_TOPICS.values()} <= json.loads(made.stdout).keys()
    after = findings(environ)
    assert [one for one in after if one["level"] == "error"] == []
    said = {one["level"]: one["what"] for one in after if "no worker of namespace default reads it" in one["what"]}
    assert said.keys() == {"warning"}
    weak = [one["what"] for one in after if "replicas/min.insync.replicas" in one["what"]]
    assert any("lead.inbound (1/1)" in what for what in weak)


async def test_status_and_health_tell_what_happens(own_broker: Kafka, own_redis: Redis, tmp_path: Path) -> None:
    """A webhook that came, one that was refused, one that cannot be mapped; and Kafka that is away."""
    async with park_of(own_broker.address, own_redis.url, tmp_path) as park:
        collector = park.collector()
        await collector.ready()
        sender = Sender(park, collector.port)
        refused = {"X-Twilio-Email-Event-Webhook-Signature": "AAAA", "X-Twilio-Email-Event-Webhook-Timestamp": "1"}
        async with aiohttp.ClientSession() as session:
            await sender.send(session, [1])
            await sender.send_raw(session, b"[7]", [])
            async with session.post(f"http://127.0.0.1:{collector.port}/in/mailer", data=b"[]", headers=refused) as answer:
                assert answer.status == 401
        await park.mapped([id_of(1)])

        async def shown(*words: str) -> dict[str, Any]:
            done = await asyncio.to_thread(leadpulse, "connections", "status", "--json", *words, env=park.environ)
            assert done.returncode == 0, done.stderr
            [row] = [json.loads(line) for line in done.stdout.splitlines()]
            return dict(row)

        async def all_told() -> bool:
            row = await shown()
            return row["dead"] == 1 and row["last_event"] is not None and row["last_error"] is not None

        await until(all_told, "the news of the source")
        row = await shown()
        assert (row["direction"], row["name"], row["kind"], row["pending"]) == ("source", "mailer", "sendgrid", 0)
        assert row["last_event"] <= row["last_error_at"]

        async def health(port: int, page: str) -> tuple[int, Any]:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{page}") as answer:
                return answer.status, await answer.json(content_type=None) if page == "readyz" else None

        assert await health(collector.port, "readyz") == (200, {"ready": True, "kafka": True, "draining": False})
        assert (await health(collector.metrics_port, "livez"))[0] == 200
        own_broker.suspend()
        body, headers = park.signed(b"[]")
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{collector.port}/in/mailer"
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 429
        for port in (collector.port, collector.metrics_port):
            assert await health(port, "readyz") == (200, {"ready": True, "kafka": False, "draining": False})
        own_broker.resume()
        await _ends_in_good_order(collector, sender)


async def _ends_in_good_order(collector: CollectorProcess, sender: Sender) -> None:
    """After SIGTERM a balancer sees that it is not ready, and what the balancer still sends is taken."""
    collector.process.send_signal(signal.SIGTERM)
    async with aiohttp.ClientSession() as session:

        async def unready() -> bool:
            async with session.get(f"http://127.0.0.1:{collector.port}/readyz") as answer:
                return answer.status == 503 and (await answer.json())["draining"] is True

        await until(unready, "not ready while it ends")
        await sender.send(session, [2])
    assert sender.statuses[0] == 0, "no request was refused or broken off"
    assert await asyncio.to_thread(collector.process.wait, 30) == 0
