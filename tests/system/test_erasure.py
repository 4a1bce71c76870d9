"""Erasing and exporting a person, as an operator does it, on real Kafka and Redis."""

from __future__ import annotations

import json

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from tests.kit.grids import GRID
from tests.kit.repartitions import grown, repartition
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import said
from worker.core.scoring.state import unpack

NAMES = (b"ada-lovelace", b"visitor-of-ada", b"ada@acme.example")


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
    assert export["inbound"] == {"webhooks": [], "lookups": []}
    nowhere = site.command("export", "visitor-of-ada", kafka="127.0.0.1:1")
    assert (nowhere.returncode, "--without-webhooks" in nowhere.stderr) == (1, True)
    alone = site.command("export", "visitor-of-ada", "--without-webhooks", kafka="127.0.0.1:1")
    assert json.loads(alone.stdout) == {name: held for name, held in export.items() if name != "inbound"}
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
        assert (state.alive, state.links, bool(state.erased_ms)) == (False, None, True)
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


TOLD = {"company": {"domain": "acme.example"}, "decision_role": "sponsor"}
COMPANY = [
    said(1, "email:ada@acme.example", "email.clicked", message_id="m1"),
    *(said(n, "visitor-of-ada", "page.viewed", url="/pricing", page_type="pricing") for n in range(2, 5)),
    said(5, "ada-lovelace", "profile.updated", traits={"email": "ada@acme.example", **TOLD}),
    said(6, "carol", "profile.updated", traits={"email": "Ada@ACME.example", **TOLD}),
    said(7, "ada-lovelace", "lead.identified", anonymous_id="visitor-of-ada"),
    *(said(n, "bob", "form.submitted", form_id="demo") for n in range(8, 12)),
    said(12, "bob", "profile.updated", traits=TOLD),
    *(said(n, "carol", "form.submitted", form_id="demo") for n in range(13, 17)),
    said(17, "visitor-of-ada", "form.submitted", form_id="demo"),
    said(18, "email:ada@acme.example", "email.opened", message_id="m2"),
]


async def left_of_ada(site: Site) -> list[bytes]:
    """Return the lines of `everything` that name her, but for the keys of her ids' own marks."""
    names = (*NAMES[:2], b"email:ada@acme.example")
    marks = {b":lead:" + name for name in names}
    return [
        line
        for line in (await everything(site)).split(b"\n")
        if any(name in line for name in NAMES)
        and not (line.partition(b" ")[0].endswith(tuple(marks)) and sum(map(line.count, NAMES)) == 1)
    ]


async def test_an_erased_person_is_gone_from_company_and_address_through_replay_rebuild_and_repartition(
    make_site: MakeSite,
) -> None:
    """Accounts hold their leads' ids and addresses whose they are; neither a log read again nor a copy brings her back."""
    site = await make_site(partitions=2)
    site.put_grid(GRID + "accounts: {enter: 40, active: 2, min_leads: 2, step: 3}\nidentity: {email: link}\n")
    worker = site.worker()
    for part in (COMPANY[:5], COMPANY[5:]):  # hers first: what two partitions hear at once has no order
        await site.send(site.sent(message) for message in part)
        await site.settled()
    account = json.loads(site.command("accounts", "--json").stdout)
    assert {member["lead_id"] for member in account["members"]} == {"ada-lovelace", "bob", "carol"}
    assert account["hot"]
    assert await left_of_ada(site)
    done = site.command("erase", "email:ada@acme.example", "--yes")
    told = json.loads(done.stdout)
    assert (done.returncode, told["done"]) == (0, True), done.stderr
    assert set(told["ids"]) == {"ada-lovelace", "visitor-of-ada", "email:ada@acme.example"}
    await site.settled()
    # Carol has told the same address: it is hers from now on, and she is no part of what was asked for.
    assert [one["id"] for one in json.loads(site.command("export", "email:ada@acme.example").stdout)["ids"]] == [
        "carol", "email:ada@acme.example",
    ]  # fmt: skip
    await site.send([site.sent(said(30, "carol", "lead.erased"))])
    await site.settled()
    assert await left_of_ada(site) == []
    account = json.loads(site.command("accounts", "--json").stdout)
    assert [member["lead_id"] for member in account["members"]] == ["bob"]
    await site.send(site.sent(message | {"id": f"again-{message['id']}"}) for message in COMPANY)
    await site.settled()
    assert await left_of_ada(site) == []
    await worker.stop()
    before = await site.states()

    async with site.redis() as redis:
        for p in range(2):
            await redis.delete(*[key async for key in redis.scan_iter(match=site.key(p, "*"))])
    await site.allow_rebuild()
    heir = site.worker()
    await site.settled()
    await heir.stop()
    assert await site.states() == before
    assert await left_of_ada(site) == []

    new = await grown(site, 3)
    repartition(new, site)
    first = new.worker()
    await first.ready(3)
    await new.send(new.sent(message | {"id": f"once-more-{message['id']}"}) for message in COMPANY)
    await new.settled()
    await first.stop()
    assert await left_of_ada(new) == []
    kinds = [json.loads(one.value or b"") for one in await new.outputs()]
    assert sorted(one["type"] for one in kinds if one["type"].startswith("account.")) == ["account.cooled", "account.hot"]
    assert {one["subject"] for one in kinds if one["type"] == "lead.erased"} == {
        "ada-lovelace", "visitor-of-ada", "email:ada@acme.example", "carol",
    }  # fmt: skip
