"""A person in webhooks, exported and erased by an operator: real Kafka, Redis, collector and worker."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.collectors import EVENTS, INBOUND, PARTITIONS, Park, Sender, opened
from tests.kit.signing import PUBLIC_URL, hubspot
from tests.kit.site import Site
from tests.kit.vendor_hosts import Apis
from tests.kit.waits import until
from worker.adapters.redis_client import connect
from worker.adapters.redis_inbound import LOOKUPS
from worker.core.contract.dead_letter import REPLAYED

ADA = "email:ada@acme.example"


@pytest.fixture
async def site(park: Park, namespace: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Return a namespace that reads the park's topics."""
    given = {"input_topics": ",".join(EVENTS), "partitions": PARTITIONS, "clock": "wall"}
    made = Site(park.kafka, park.environ["LEADPULSE_REDIS"], namespace, tmp_path, **given)
    made.environ |= {name: park.environ[name] for name in ("LEADPULSE_CONNECTIONS", "KEY")}
    await made.prepare()
    yield made
    made.close()


def told(site: Site, *words: str, code: int = 0, **settings: Any) -> Any:
    """Run a command of leadpulse, and return the object that it prints."""
    done = site.command(*words, **settings)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


async def asked(park: Park) -> list[Any]:
    """Return the look-ups that wait."""
    redis = connect(park.environ["LEADPULSE_REDIS"])
    try:
        return [json.loads(held)["about"] for held in await redis.zrange(LOOKUPS, 0, -1) if isinstance(held, bytes)]
    finally:
        await redis.aclose()


async def lost(park: Park) -> None:
    """Let Redis lose the look-ups."""
    redis = connect(park.environ["LEADPULSE_REDIS"])
    try:
        await redis.delete(LOOKUPS)
    finally:
        await redis.aclose()


async def replays(park: Park) -> list[bytes]:
    """Return the webhooks that `dead replay` has sent again."""
    return [record.value for record in await park.read(["lead.inbound"]) if REPLAYED in dict(record.headers)]


async def say(session: aiohttp.ClientSession, port: int, kind: str, number: int) -> None:
    """Send a webhook of HubSpot's about a contact."""
    at_ms = int(time.time() * 1000)
    held = {"eventId": number, "subscriptionId": 2, "occurredAt": at_ms, "objectId": number, "changeSource": "CRM_UI"}
    request = hubspot("s3cret", at_ms, "/in/crm", json.dumps([held | {"subscriptionType": kind}]).encode())
    async with session.post(f"http://127.0.0.1:{port}/in/crm", data=request.body, headers=request.headers) as answer:
        assert answer.status == 200


async def test_export_and_erase_reach_webhooks_and_look_ups(park: Park, site: Site) -> None:
    """Of a batch, the person sees their part alone. Once erased, nothing that is sent again names them."""
    apis = Apis()
    apis.answers.clear()  # so that look-ups wait
    async with apis.serving(), aiohttp.ClientSession() as session:
        park.configure(
            f"public_url: {PUBLIC_URL}\nsources:\n"
            '  mailer: {vendor: sendgrid, secrets: ["${KEY}"]}\n'
            f'  crm: {{vendor: hubspot, secrets: ["${{HS}}"], api: hubspot}}\n{apis.targets}'
        )
        park.environ |= {"HS": "s3cret", "API": "a"}
        collector = park.collector()
        site.worker()
        await collector.ready()
        sender = Sender(park, collector.port)
        at_s = int(time.time()) - 60
        batch = [opened(n, at_s) | {"email": f"{name}@acme.example"} for n, name in enumerate(("ada", "bob"), 1)]
        await sender.send_raw(session, json.dumps(batch).encode(), [])
        await sender.send_raw(session, json.dumps([*batch, 7]).encode(), [])  # also a dead letter
        await sender.send_raw(session, json.dumps(batch[:1]).encode(), [])
        for number in (90_000_123, 90_000_124):
            await say(session, collector.port, "contact.creation", number)

        async def two_wait() -> bool:
            return {one["object"] for one in await asked(park)} == {"90000123", "90000124"}

        await until(two_wait, "two look-ups")
        await park.mapped({"e1:email.opened", "e2:email.opened"})
        await site.settled()

        export = told(site, "export", ADA)
        assert [one["id"] for one in export["ids"]] == [ADA]
        webhooks = export["inbound"]["webhooks"]
        assert sorted((one["topic"], one["reason"], one["shared"]) for one in webhooks) == [
            ("lead.inbound", None, False), ("lead.inbound", None, True), ("lead.inbound", None, True),
            ("lead.inbound.dead", "refused", True),
        ]  # fmt: skip
        assert all(one["payload"] == batch[:1] and one["kept_until"] > one["received_at"] for one in webhooks)
        assert "bob" not in json.dumps(export)
        contact = told(site, "export", "90000123")["inbound"]
        assert [one["source"] for one in (*contact["webhooks"], *contact["lookups"])] == ["crm", "crm"]

        for lead, lookups in ((ADA, 0), ("90000123", 1)):
            erased = told(site, "erase", lead, "--yes")
            assert (erased["done"], erased["inbound"]["topics"]) == (True, list(INBOUND))
            assert erased["inbound"]["lookups"] == lookups
        assert {one["object"] for one in await asked(park)} == {"90000124"}

        replayed = told(site, "dead", "replay", "--inbound", "--all")
        assert (replayed["replayed"], replayed["erased"]) == (1, 0), "of the letter, the rest is sent"
        await until(lambda: replays(park), "the letter in lead.inbound")
        [value] = await replays(park)
        assert b"ada" not in value
        assert b"bob" in value
        remapped = told(site, "collect", "remap", "--source", "mailer", "--since", "2026-01-01T00:00:00Z")
        assert (remapped["sent"], remapped["wrong"]) == (0, [])

        await lost(park)
        remapped = told(site, "collect", "remap", "--source", "crm", "--since", "2026-01-01T00:00:00Z")
        assert remapped["asked"] == 1
        assert {one["object"] for one in await asked(park)} == {"90000124"}

        await say(session, collector.port, "contact.privacyDeletion", 90_000_124)

        async def forgotten() -> bool:
            return not await asked(park)

        await until(forgotten, "the vendor's erasure has taken the look-up back")
        for topic in INBOUND:
            assert b"90000124" in {record.key for record in await park.read([topic]) if record.value is None}


async def test_remap_sends_nothing_of_a_person_who_was_erased(park: Park, site: Site) -> None:
    """An operator mends a map that had made nothing, after the erasure."""
    collector = park.collector()
    await collector.ready()
    sender = Sender(park, collector.port)
    async with aiohttp.ClientSession() as session:
        bounced = [opened(n, int(time.time()) - 60) | {"event": "group_unsubscribe"} for n in (1, 2)]
        await sender.send_raw(session, json.dumps(bounced).encode(), [])
    await park.drained()
    told(site, "erase", "email:p1@x.example", "--yes", "--wait", "0")
    park.configure('sources:\n  mailer: {vendor: sendgrid, groups: unsubscribe, secrets: ["${KEY}"]}\n')
    site.worker()
    await park.drained()
    remapped = told(site, "collect", "remap", "--source", "mailer", "--since", "2026-01-01T00:00:00Z")
    assert (remapped["sent"], remapped["erased"]) == (1, 1)
    found = [json.loads(record.value) for record in await park.read(EVENTS)]
    assert {(one["type"], one["subject"]) for one in found} == {
        ("lead.erased", "email:p1@x.example"), ("email.unsubscribed", "email:p2@x.example"),
    }  # fmt: skip
