"""A backlog for a worker, and how it gets through: its memory, its place in the group, its lag."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from tests.kit.deliver import Produced, deliver
from tests.kit.site import Site
from tests.kit.traffic import Sent, now_ms
from tests.kit.workers import Worker
from worker.core.contract.partitioner import owner
from worker.core.scoring.calendar import rfc3339

PARTITIONS = 8


LEADS = 50_000


HEAVY = """\
grid: heavy
version: 1
timezone: UTC
engagement:
  half_life: 5s
  rules:
    - {id: demo, points: 40, on: demo.requested, intent: true}
stages:
  mql: {enter: 15, leave: 10}
  sql: {enter: 30, leave: 20, intent_within: 30d}
"""
"""One event brings a lead to sql, by two outputs with the whole dossier, and a minute later time takes it back by two more."""


_TRAITS = ",".join(f'"t{n}":"{n:0>1000}"' for n in range(60))


def an_event(lead: str, type_: str, id_: str, at_ms: int, data: str = "") -> bytes:
    """Return one event as its producer writes it; *data* are JSON members."""
    return (
        f'{{"specversion":"1.0","id":"{id_}","source":"https://www.example.com/site","type":"{type_}","subject":"{lead}",'
        f'"time":"{rfc3339(at_ms)}","datacontenttype":"application/json","data":{{{data}}}}}'
    ).encode()


def backlog(site: Site, count: int, leads: int = LEADS, hot: float = 0.0) -> Iterator[Sent]:
    """Yield *count* events of about 300 bytes within the last hour; the share *hot* of them is one lead's."""
    rnd = random.Random(1)
    names = [f"lead-{rnd.getrandbits(64):016x}" for _ in range(leads)]
    owners = [owner(name, site.settings.partitions) for name in names]
    keys = [name.encode() for name in names]
    begin_ms = now_ms() - 3_600_000
    pages = ["pricing", "product/scoring", "blog/decay", "customers", "docs/start"]
    for n in range(count):
        who = 0 if rnd.random() < hot else min(int(rnd.paretovariate(0.5)), leads) - 1
        at_ms = begin_ms + n * 3_600_000 // count
        kind = rnd.random()
        if kind < 0.75:
            url = f"https://www.example.com/{pages[n % 5]}?utm_source=newsletter&utm_campaign=c{n % 100}"
            type_, data = "page.viewed", f'"url":"{url}","session_id":"s{who}-{n // 1000}"'
        elif kind < 0.95:
            type_, data = "email.opened", f'"message_id":"m{n % 5000}","campaign_id":"spring"'
        elif kind < 0.98:
            type_, data = "profile.updated", f'"traits":{{"email":"p{who}@acme.example","role":"cto","company":{{"size":120}}}}'
        else:
            type_, data = "form.submitted", '"form_id":"contact"'
        topic = site.crm if type_ == "profile.updated" else site.web
        yield Sent(topic, owners[who], an_event(names[who], type_, f"e-{n:032d}", at_ms, data), keys[who])


def heavy(site: Site, leads: int, type_: str, at_ms: int) -> Iterator[Sent]:
    """Yield one event for each of *leads* leads; `profile.updated` gives it 60 kB of traits."""
    data = f'"traits":{{{_TRAITS}}}' if type_ == "profile.updated" else ""
    topic = site.crm if type_ == "profile.updated" else site.web
    for n in range(leads):
        lead = f"lead-{n}"
        value = an_event(lead, type_, f"{type_}-{n}", at_ms, data)
        yield Sent(topic, owner(lead, site.settings.partitions), value, lead.encode())


def produce(site: Site, messages: Iterable[Sent]) -> int:
    """Write *messages* fast; return how many they were."""
    producer = Producer({"bootstrap.servers": site.settings.kafka, "compression.type": "lz4", "linger.ms": 20})
    return deliver(producer, (Produced(m.topic, m.value, m.key, m.partition) for m in messages))


async def drained(site: Site, share: float = 1.0, timeout_s: float = 900.0) -> float:
    """Wait until that *share* of the inputs is applied and, if it is all, published; return the seconds until applied."""
    tps = [TopicPartition(topic, p) for topic in site.settings.input_topics for p in range(site.settings.partitions)]
    async with site.consumer() as consumer:
        ends = await consumer.end_offsets(tps)
    began = time.monotonic()
    took_s = 0.0
    while True:
        at = {p: await site.position(p) for p in range(site.settings.partitions)}
        applied = sum(min(int(at[tp.partition].get(f"next:{tp.topic}", 0)), end) for tp, end in ends.items())
        published = all(one.get("batch") == one.get("published") for one in at.values())
        if applied >= share * sum(ends.values()):
            took_s = took_s or time.monotonic() - began
            if published or share < 1:
                return took_s
        assert time.monotonic() < began + timeout_s, f"{applied} of {sum(ends.values())} after {timeout_s:g} s\n{site.logs()}"
        await asyncio.sleep(0.2)


async def judged(site: Site, timeout_s: float = 300.0) -> None:
    """Wait until no lead is due any more, and all of it is published."""
    deadline = time.monotonic() + timeout_s
    async with site.redis() as redis:
        while any([await redis.zcard(site.key(p, "due")) for p in range(site.settings.partitions)]):
            assert time.monotonic() < deadline, f"leads are still due after {timeout_s:g} s\n{site.logs()}"
            await asyncio.sleep(0.2)
    await drained(site)


def memory_mb(worker: Worker, what: str = "VmHWM") -> float:
    """Return the most memory that *worker* has held until now, or another line of its `/proc/PID/status`."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(re.findall(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)[0]) / 1024


async def members(site: Site) -> list[str]:
    """Return the ids of the group's members. A member that left the group and came again has another id."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.settings.kafka)
    await admin.start()
    try:
        (response,) = await admin.describe_consumer_groups([site.settings.group])
        return sorted(member[0] for member in response.groups[0][5])
    finally:
        await admin.close()


def undisturbed(worker: Worker, partitions: int) -> str:
    """Return what shows that *worker* lost a partition for a while; empty when it had its *partitions* all the time."""
    log = worker.log.read_text(errors="replace")
    wrong = [line for line in log.splitlines() if "beginning anew" in line or "taken over" in line]
    if log.count("ready at batch") != partitions:
        wrong.append(f"ready {log.count('ready at batch')} times")
    return "; ".join(wrong[:3])
