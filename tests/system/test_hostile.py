"""A flood of records that somebody made to do harm, on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiokafka import AIOKafkaProducer
from redis.crc import key_slot

from tests.kit.hostile import NASTY, RAW, TIMES, damaged
from tests.kit.services import free_port
from tests.kit.shell import Running, leadpulse
from tests.kit.site import MakeSite, Site
from tests.kit.traffic import Sent, traffic
from tests.kit.waits import HANG_S
from worker.core.contract.codec import decode
from worker.core.contract.journal import KIND, Tick, tick_output
from worker.core.contract.marks import shown_mark
from worker.core.contract.model import Event, Record
from worker.core.contract.partitioner import owner

MARK = "zq7"
"""In every hostile string, so that it can be looked for where it must not be."""

KEYS = ("position", "due", "rank", "outbox", "grid")


def flood(site: Site, seed: int) -> Iterator[Sent]:
    """Yield hostile records among good ones: strange ids, types, traits, headers and times, and damaged bytes."""
    rnd = random.Random(seed)
    count = site.settings.partitions

    def nasty() -> str:
        return MARK + rnd.choice(NASTY)[:16_300]

    for n, good in enumerate(traffic(seed, 40, 1_200)):
        event: dict[str, Any] = json.loads(json.dumps(good))
        match n % 6:
            case 0:
                event["subject"] = nasty()
            case 1:
                event |= {"id": nasty() + str(n), "source": nasty()}
                event["data"] |= {"session_id": nasty(), "message_id": nasty(), "url": nasty(), nasty(): [nasty()]}
            case 2:
                event |= {
                    "subject": nasty(),
                    "type": "profile.updated",
                    "data": {"traits": {nasty(): nasty(), "email": nasty()}},
                }
            case 3:
                event |= {"type": rnd.choice([nasty(), "page.viewed"]), "time": rnd.choice(TIMES), nasty(): nasty()}
        value = json.dumps(event, ensure_ascii=rnd.random() < 0.5).encode()
        if n % 6 == 4:
            value = value.replace(b'"data": {', b'"data": {"raw": %s, ' % rnd.choice(RAW).encode(), 1)
        if n % 3 == 0:
            value = damaged(value, rnd, rnd.randrange(3))
        headers = ((nasty(), nasty().encode()), ("content-type", b"\xff"))[: rnd.randrange(3)]
        key = rnd.choice([None, b"", b"\xff\0", nasty().encode(), event["subject"].encode()])
        yield Sent(rnd.choice([site.web, site.crm]), rnd.randrange(count), value, key, headers)
    binary = {"specversion": "1.0", "id": nasty(), "source": "/s", "type": "page.viewed", "subject": nasty(), "time": TIMES[0]}
    of_binary = tuple((f"ce_{name}", held.encode()) for name, held in binary.items())
    yield Sent(site.web, 0, b'{"url": "/"}', None, of_binary)
    yield Sent(site.web, 0, b"\xff", None, of_binary)
    yield Sent(site.web, 0, json.dumps({**traffic(seed, 1, 1)[0], "id": MARK + "i" * 899_000}).encode())


def slot_of(key: bytes) -> int:
    """Return the slot of *key* in a cluster."""
    return int(key_slot(key))


async def test_a_flood_of_hostile_records_stays_in_its_place(make_site: MakeSite, tmp_path: Path) -> None:
    """The oracle's verdict holds; no id reaches another key, a metric's label, a line of the log, or a terminal as it is."""
    site = await make_site(partitions=3, max_bad_share=1, metrics_port=free_port())
    sent = list(flood(site, 80))
    ids = {
        found.lead for one in sent if isinstance(found := decode(Record("t", 0, 0, None, None, one.value, one.headers)), Event)
    }
    assert len([lead for lead in ids if MARK in lead]) > 15
    async with site.redis() as redis:
        before = {key async for key in redis.scan_iter(count=1_000)}
    await site.send(sent)
    with Running(["-m", "worker.cli", "run"], site.environ, tmp_path) as worker:
        await site.settled()
        metrics = await asyncio.to_thread(page, f"http://127.0.0.1:{site.settings.metrics_port}/metrics")
        assert worker.end() == 0
    verdict = await site.verdict()
    assert verdict.transitions.total() > 20
    assert verdict.dead.total() > 200
    async with site.redis() as redis:
        made = {key async for key in redis.scan_iter(count=1_000)} - before
    made.remove(f"{{{site.settings.namespace}:grids}}:order".encode())
    hold_keys(site, made, ids)
    assert MARK not in metrics
    assert MARK not in worker.words
    assert all(line.isprintable() for line in worker.words.split("\n"))
    look_at(site, sorted(lead for lead in ids if MARK in lead and "\0" not in lead))


def hold_keys(site: Site, made: set[bytes], ids: set[str]) -> None:
    """See that the keys *made* are those of the leads *ids* and of partitions, each in its partition's slot of a cluster."""
    partitions = range(site.settings.partitions)
    leads = {site.key(owner(lead, len(partitions)), f"lead:{lead}").encode() for lead in ids}
    assert made <= leads | {site.key(p, name).encode() for p in partitions for name in KEYS}
    assert len(made & leads) > 30
    slots = {slot_of(site.key(p, "position").encode()): p for p in partitions}
    assert len(slots) == len(partitions)
    for key in made:
        tag = re.match(rb"\{[^{}]+:([0-9]+)\}:", key)
        assert tag is not None
        assert slots[slot_of(key)] == int(tag[1])


def page(url: str) -> str:
    """Return what is served at *url*."""
    with urlopen(url, timeout=HANG_S) as answer:
        said: str = answer.read().decode()
    return said


def look_at(site: Site, leads: list[str]) -> None:
    """Print everything that names *leads*, and hold it to be text for people: no control character gets through."""
    commands = [
        ["top"],
        ["top", "--json"],
        ["dead", "list"],
        ["dead", "list", "--json"],
        ["dead", "replay", "--all", "--dry-run"],
    ]
    commands += [["explain", lead, *as_json] for lead in leads if not lead.isprintable() for as_json in ([], ["--json"])][:6]
    assert len(commands) > 9
    for command in commands:
        printed = text_for_people(site, *command, code=1 if "replay" in command else 0)
        if "--json" in command:
            assert all(json.loads(line) for line in printed)
    dead = text_for_people(site, "dead", "list")
    for line in dead[:: len(dead) // 4]:
        text_for_people(site, "dead", "show", line.split()[0])


def text_for_people(site: Site, *command: str, code: int = 0) -> list[str]:
    """Run *command*, hold its lines on both outputs to be printable, and return those of stdout."""
    ran = leadpulse(*command, env=site.environ)
    assert ran.returncode == code, ran.stderr
    for line in (ran.stdout + ran.stderr).split("\n"):
        assert line.isprintable(), (command, line)
    return ran.stdout.splitlines()


async def test_what_another_program_writes_into_the_journal_stops_the_worker_by_name_or_does_nothing(
    make_site: MakeSite,
) -> None:
    """Harmless: grids that nobody asks for, cuts of batches that never were, times of another age. The rest is told."""
    site = await make_site(partitions=1, clock="wall")
    internal = site.settings.internal_topic
    await site.send(site.sent(m) for m in traffic(81, 20, 200))
    far = tick_output(internal, 0, Tick(2**62, {site.web: 2**62}))
    grid = b"a: &a [x,x]\nb: [" + b"*a," * 50_000 + b"]\x1b[2J"
    harmless = [
        Sent(internal, 0, grid, None, ((KIND, b"grid"),)),
        Sent(internal, 0, b'[0,{"%s":0}]' % MARK.encode(), None, ((KIND, b"tick"),)),
        Sent(internal, 0, far.value, None, far.headers),
    ]
    worker = site.worker()
    await site.settled()
    copy = await site.copy()
    await site.send(harmless)
    await site.send(site.sent(m) for m in traffic(82, 20, 200))
    await site.settled()
    await worker.stop()
    await site.verdict()
    await site.restore(copy)
    heir = site.worker()
    await heir.says("folding again")
    await site.settled()
    await heir.stop()
    await site.verdict()
    await site.send([Sent(internal, 0, b"[%d,{}]" % -(2**70), None, ((KIND, b"tick"),))])
    stopped = site.worker()
    assert await stopped.ended() == 1
    (said,) = [line for line in stopped.said().splitlines() if line.startswith("STOPPED")]
    assert re.search(
        rf"journal record {re.escape(internal)}\[0\] offset \d+: not a readable tick .*only LeadPulse may write", said
    )


async def test_headers_that_are_larger_than_they_look_stop_nobody(make_site: MakeSite) -> None:
    """Names of four bytes a character, and half a million headers of nothing: compressed they pass the broker's limit.

    Forwarded or given up as they came, with headers of ours, they would fit into no record.
    """
    site = await make_site(partitions=2, max_bad_share=1)
    event = {**traffic(85, 1, 1)[0], "type": "page.viewed", "data": {"url": "/"}, "padding": "x" * 890_000}
    wide = [("\U0001f4a5" * 400_000, b"")]
    many = [("", b"")] * 800_000
    producer = AIOKafkaProducer(
        bootstrap_servers=site.settings.kafka, compression_type="gzip", max_batch_size=8_000_000, max_request_size=8_000_000
    )
    await producer.start()
    for value in (json.dumps(event).encode(), b"x" * 890_000):
        for headers in (wide, many):
            for p in range(2):
                batch = producer.create_batch()
                assert batch.append(key=b"k", value=value, timestamp=None, headers=headers) is not None
                await producer.send_batch(batch, site.web, partition=p)
    await producer.stop()
    await site.send(site.sent(m) for m in traffic(86, 20, 100))
    worker = site.worker()
    await site.settled()
    await worker.stop()
    verdict = await site.verdict()
    assert verdict.dead.total() == 8


async def test_a_state_that_is_garbage_stops_the_worker_with_the_leads_mark_and_what_to_do(make_site: MakeSite) -> None:
    """The lead's id is hostile too. Nothing is written, and the same Redis restored goes on."""
    site = await make_site(partitions=1)
    lead = "x\n\x1b[2J{ns:0}:lead:y"
    await site.send([site.sent({**traffic(83, 1, 1)[0], "type": "form.submitted", "data": {}, "subject": lead})])
    first = site.worker()
    await site.settled()
    await first.stop()
    copy = await site.copy()
    async with site.redis() as redis:
        await site.put_state(redis, 0, lead, b"\x80\x1b[2J" * 30_000)
    await site.send([site.sent({**traffic(84, 1, 1)[0], "type": "form.submitted", "data": {}, "subject": lead})])
    stopped = site.worker()
    assert await stopped.ended() == 1
    (said,) = [line for line in stopped.said().split("\n") if line.startswith("STOPPED")]
    assert f"lead with mark {shown_mark(lead)}: the packed state is damaged" in said
    assert "leadpulse rebuild" in said
    for command in (["explain", lead], ["top"]):
        ran = leadpulse(*command, env=site.environ)
        assert (ran.returncode, "Traceback" in ran.stderr) == (1, False)
        assert f"lead with mark {shown_mark(lead)}" in ran.stderr
    await site.restore(copy)
    heir = site.worker()
    await site.settled()
    await heir.stop()
    await site.verdict()
    found = leadpulse("explain", "--mark", shown_mark(lead), "--json", env=site.environ)
    assert json.loads(found.stdout)["lead_id"] == lead, found.stderr
    nobody = leadpulse("explain", "--mark", "0" * 12, env=site.environ)
    assert (nobody.returncode, "no lead of namespace" in nobody.stderr) == (1, True)
