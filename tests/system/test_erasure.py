"""Erasing and exporting a person, as an operator does it, on real Kafka and Redis."""

from __future__ import annotations

import json
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from tests.system.conftest import MakeSite
from tests.system.kit import Message, Site
from worker.core.days import rfc3339
from worker.core.state import unpack

NAMES = (b"ada-lovelace", b"visitor-of-ada", b"ada@acme.example")
BASE = 1_760_000_000_000


def said(number: int, lead: str, kind: str, **data: Any) -> Message:
    """Return an event."""
    return {
        "specversion": "1.0", "id": str(number), "source": "/test", "type": kind, "subject": lead,
        "time": rfc3339(BASE + number * 1_000), "data": data,
    }  # fmt: skip


STORY = [
    *(said(n, "visitor-of-ada", "page.viewed", url="/pricing", page_type="pricing") for n in range(1, 4)),
    said(4, "ada-lovelace", "profile.updated", traits={"email": "ada@acme.example", "role": "cto"}),
    said(5, "ada-lovelace", "lead.identified", anonymous_id="visitor-of-ada"),
    said(6, "bob", "form.submitted", form_id="demo"),
]


async def everything(site: Site) -> bytes:
    """Return every byte that Redis holds of the site, the values of all its keys one after the other."""
    found = b""
    async with site.redis() as redis:
        async for key in redis.scan_iter(match=f"{{{site.settings.namespace}:*"):
            found += key + b" " + await redis.dump(key) + b"\n"
            if await redis.type(key) == b"hash":
                found += b"".join(x for pair in (await redis.hgetall(key)).items() for x in pair)
            elif await redis.type(key) == b"zset":
                found += b"".join(await redis.zrange(key, 0, -1))
    return found


async def compact(site: Site, topic: str) -> None:
    """Let Kafka compact *topic*."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    try:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact", "max.message.bytes": "2097152"})]
        )
    finally:
        await admin.close()


async def test_an_operator_exports_and_erases_a_person(make_site: MakeSite) -> None:
    """By any of the ids; what is left are the marks, which keep earlier events out, and a compacted topic forgets the key."""
    site = await make_site(partitions=3)
    mql = site.settings.output_topic("lead.mql")
    await compact(site, mql)
    worker = site.worker()
    await site.send(site.sent(message) for message in STORY)
    await site.settled()

    told = site.command("export", "visitor-of-ada")
    assert told.returncode == 0, told.stderr
    export = json.loads(told.stdout)
    assert [one["id"] for one in export["ids"]] == ["ada-lovelace", "visitor-of-ada"]
    ada, visitor = export["ids"]
    assert ada["traits"]["email"]["value"] == "ada@acme.example"
    assert ada["derived_traits"]["email_domain"] == "acme.example"
    assert [one["count"] for one in ada["counts"] if one["rules"] == ["pricing-page"]] == [3]
    assert len(ada["event_marks"]) == 5
    assert (ada["aliases"], visitor["alias_of"]) == (["visitor-of-ada"], "ada-lovelace")
    assert {key.rpartition(":")[2] for key in ada["keys"]} >= {"ada-lovelace", "rank"}
    assert site.command("export", "nobody").returncode == 1

    before = await site.states()
    dry = site.command("erase", "visitor-of-ada", "--dry-run")
    assert json.loads(dry.stdout)["ids"] == ["visitor-of-ada", "ada-lovelace"]
    asked = site.command("erase", "visitor-of-ada")
    assert asked.returncode == 1, "nobody said yes"
    assert await site.states() == before

    done = site.command("erase", "visitor-of-ada", "--yes")
    assert (done.returncode, json.loads(done.stdout)["done"]) == (0, True), done.stderr
    await site.settled()
    await site.send(site.sent(message | {"id": f"again-{message['id']}"}) for message in STORY)
    await site.settled()
    await worker.stop()
    held = await everything(site)
    for name in NAMES:
        keys = [line for line in held.split(b"\n") if name in line]
        assert len(keys) == (not name.startswith(b"ada@")), f"{name!r} stands elsewhere than in its mark's key: {keys}"
        assert held.count(name) == len(keys)
    for lead in ("ada-lovelace", "visitor-of-ada"):
        state = unpack((await site.states())[lead])
        assert (state.alive, state.kin, bool(state.erased)) == (False, None, True)
    records = await site.read([TopicPartition(mql, p) for p in range(3)])
    for name in (b"ada-lovelace", b"visitor-of-ada"):
        assert [record.value for record in records if record.key == name][-1:] == [None]
    assert {record.key for record in records if record.value is None} == {b"ada-lovelace", b"visitor-of-ada"}


async def test_an_erasure_without_workers_is_sent_and_said_to_wait(make_site: MakeSite) -> None:
    """The operator must not take it for done."""
    site = await make_site(partitions=2)
    worker = site.worker()
    await site.send(site.sent(message) for message in STORY)
    await site.settled()
    await worker.stop()
    done = site.command("erase", "ada-lovelace", "--yes", "--wait", "1")
    assert (done.returncode, json.loads(done.stdout)["done"]) == (1, False)
    assert "do workers run" in done.stderr
    heir = site.worker()
    await site.settled()
    await heir.stop()
    await site.verdict()
    assert not unpack((await site.states())["visitor-of-ada"]).alive
