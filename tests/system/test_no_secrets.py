"""No secret shows anywhere, whatever goes wrong: in logs, Redis, Kafka, metrics, or what commands print."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.kit.act_targets import SECRETS, all_targets
from tests.kit.acts_live import ActSite
from tests.kit.collectors import PARTITIONS, Park
from tests.kit.secret_run import (
    API_TOKEN,
    ASKING,
    OF_SITES,
    Faults,
    act_on_all,
    collect_all,
    commands,
    connections,
    kafka_values,
    of_sources,
    programs,
    reading,
    redis_values,
    rules,
    settings_of,
    shown_in,
)
from tests.kit.services import Kafka, Redis
from tests.kit.shell import GRID
from tests.kit.vendor_cases import cases
from tests.kit.vendor_hosts import Apis
from worker.core.contract.output_types import OUTPUT_TYPES


async def test_no_secret_is_shown(
    collect_kafka: Kafka, own_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of target and source, with successes, 401, 429 and other refusals that repeat what they were sent."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "contract.pdf").write_bytes(b"%PDF-1.7")
    found = {vendor: case for vendor, case in cases(time.time_ns() // 1_000_000).items() if vendor not in ("ses", "sendgrid")}
    apis = Apis()
    apis.token = API_TOKEN
    async with apis.serving(), all_targets() as targets:
        park = Park(collect_kafka.address, own_redis.url, tmp_path)
        url = f"http://127.0.0.1:{targets.hook.port}/hook?key=key-of-the-hook-4711"
        secrets = {**SECRETS, **OF_SITES, **of_sources(found), "HOOK_URL": url}
        outputs = dict.fromkeys(OUTPUT_TYPES, "secrets.out") | {"lead.dead": "secrets.dead"}
        for name, secret in secrets.items():
            monkeypatch.setenv(name, secret)
        settings = settings_of(collect_kafka.address, own_redis.url, tmp_path, GRID, outputs, PARTITIONS)
        acts = await asyncio.to_thread(
            ActSite, settings, tmp_path, rules(), connections(targets, apis, found), lease_s=6.0, **secrets
        )
        park.environ |= acts.environ
        async with programs(acts, park, tmp_path) as running:
            faults = Faults(targets)
            await act_on_all(acts, faults)
            statuses = await collect_all(running.collectors["text"].port, found, secrets)
            statuses |= await collect_all(running.collectors["json"].port, found, secrets)
            await garbage(collect_kafka.address)
            await park.drained()
            lines = await acts.values("secrets.out")
            (tmp_path / "outputs.jsonl").write_bytes(b"\n".join(lines) + b"\n")
            faults.begin(401)
            refused = await asyncio.to_thread(commands, acts, ASKING)
            faults.end()
            places = dict(running.shown()) | {f"{name} (refused)": held for name, held in refused.items()}
            places |= await asyncio.to_thread(commands, acts, [*reading(tmp_path), *ASKING])
            places |= await kafka_values(collect_kafka.address) | {"Redis": await redis_values(acts)}
        given = {f"token {n}": token for n, token in enumerate([*targets.salesforce.tokens, *targets.zoho.tokens, API_TOKEN])}
        everything = secrets | given | {"the key of HOOK_URL": "key-of-the-hook-4711"}
        shown = shown_in(places, everything)
        assert not shown, "\n".join(shown)
        states = await acts.states()
        assert {"done", "dead", "unknown"} <= set(states), states
        assert all({200, 401} <= set(statuses[vendor]) for vendor in found), statuses
        for topic in ("secrets.acted", "secrets.dead", "lead.inbound", "lead.inbound.dead"):
            assert places[topic], topic
        assert Counter(name.endswith("(refused)") for name in places)[True] == len(ASKING)


async def garbage(kafka: str) -> None:
    """Put into an input topic what is no event."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait("lead.events.web", b"{broken", partition=0)
    await producer.stop()
