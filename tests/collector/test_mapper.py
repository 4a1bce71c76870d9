"""The mapper over a log in memory: events once, dead letters, and what is marked when."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.kit.collected import Memory
from tests.kit.grids import a_grid, parsed
from tests.kit.waits import until
from worker.adapters.memory_log import MemoryLog, MemoryReader
from worker.collector.lookups import questions
from worker.collector.mapper import MOST_RECORDS, Mapper
from worker.collector.metrics import CollectorMetrics
from worker.connections.file import parse_connections
from worker.core.contract.codec import decode
from worker.core.contract.dead_letter import read_letter
from worker.core.contract.event_types import INPUT_TOPICS
from worker.core.contract.model import Event, Output
from worker.core.insight.replay import replay_lines
from worker.errors import ProducerFailed
from worker.intake.inbound import Inbound, decode_inbound, encode_inbound
from worker.intake.questions import Question, decode_question, encode_question
from worker.ports import LogPartition
from worker.settings import Settings

FILE = b"""
public_url: https://in.example.com
sources:
  mailer: {vendor: sendgrid, secrets: ["${KEY}"]}
  crm: {vendor: hubspot, secrets: ["${KEY}"]}
  asking: {vendor: hubspot, secrets: ["${KEY}"], api: hubspot}
  other: {vendor: json, secrets: ["${KEY}"], map: {type: type, id: id, email: email}}
  guessing: {vendor: sendgrid, secrets: ["${KEY}"], machines: {click_after_delivery: 10s}}
targets:
  hubspot: {kind: hubspot, token: "${KEY}"}
"""
SOURCES = parse_connections(FILE, "connections.yaml").sources
EMAIL = INPUT_TOPICS["email"]


class Bench:
    """A log with the collector's topics, and mappers on it."""

    def __init__(self) -> None:
        self.log = MemoryLog(Settings.load({"LEADPULSE_PARTITIONS": "2"}))
        for topic in ("lead.inbound", "lead.inbound.dead"):
            self.log.create(topic)
        self.memory = Memory()
        self.metrics = CollectorMetrics(CollectorRegistry())

    def webhook(self, body: Any, partition: int = 0, source: str = "mailer", vendor: str = "sendgrid") -> None:
        """Write a webhook as the collector does."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        inbound = Inbound(source, vendor, 1_770_000_000_000, raw)
        self.log.append("lead.inbound", partition, encode_inbound(inbound), b"k")

    @asynccontextmanager
    async def mapping(self) -> AsyncIterator[Mapper]:
        """Run a mapper."""
        group: Any = MemoryReader(self.log)
        log: Any = self.log
        mapper = Mapper(group, log, self.memory, SOURCES, self.metrics, questions, lambda: 1_770_000_000_500)
        task = asyncio.create_task(mapper.run())
        try:
            yield mapper
        finally:
            task.cancel()
            await asyncio.wait([task])

    def read(self) -> bool:
        """Return whether every webhook's offset is committed."""
        ends = [len(self.log._topics["lead.inbound"][p].entries) for p in range(2)]
        done = [self.log._committed.get(LogPartition("lead.inbound", p)) for p in range(2)]
        return all(end == (at.offset if at else 0) for end, at in zip(ends, done, strict=True))

    def events(self) -> list[Event]:
        """Return the committed events, each one that the worker takes."""
        found = [decode(record) for topic in INPUT_TOPICS.values() for record in self.log.committed_records(topic)]
        assert all(isinstance(one, Event) for one in found)
        return [one for one in found if isinstance(one, Event)]

    def ids(self) -> Counter[str]:
        """Return how often each event's id was committed."""
        return Counter(one.id for one in self.events())

    def counted(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"leadpulse_collect_{name}", labels) or 0.0


def opened(number: int, **fields: Any) -> dict[str, Any]:
    """Return an event of SendGrid's."""
    held = {"event": "open", "email": f"p{number}@x.example", "timestamp": 1_770_000_000 + number, "sg_event_id": f"e{number}"}
    return held | {"sg_message_id": "m.1"} | fields


async def test_webhooks_become_events_routed_and_keyed() -> None:
    """As `produce` sends them."""
    bench = Bench()
    bench.webhook([opened(1), opened(2, event="processed")])
    async with bench.mapping():
        await until(bench.read)
    [record] = bench.log.committed_records(EMAIL)
    assert record.key == b"email:p1@x.example"
    [event] = bench.events()
    assert (event.type, event.source, event.id) == ("email.opened", "/in/mailer", "e1:email.opened")
    assert bench.counted("mapped_events_total", source="mailer", type="email.opened") == 1
    assert bench.counted("passed_over_total", source="mailer") == 1


@pytest.mark.parametrize("bad", [7, {"email": "x@" + "y" * 70_000}])
async def test_a_batch_with_one_bad_element_gives_99_events_and_one_dead_letter(bad: Any) -> None:
    """The letter holds the whole webhook, so that it can be mapped again."""
    bench = Bench()
    worse = opened(50, **bad) if isinstance(bad, dict) else bad
    bench.webhook([opened(n) if n != 50 else worse for n in range(100)])
    async with bench.mapping():
        await until(bench.read)
    assert len(bench.events()) == 99
    [record] = bench.log.committed_records("lead.inbound.dead")
    letter = read_letter(record)
    assert letter is not None
    assert (letter.reason, letter.record.topic, letter.record.offset) == ("refused", "lead.inbound", 0)
    assert len(json.loads(decode_inbound(letter.record.value or b"").body)) == 100


async def test_what_cannot_be_mapped_is_a_dead_letter_with_the_reason() -> None:
    """And the webhooks behind it go on."""
    bench = Bench()
    bench.webhook(b"{")
    bench.webhook([1])
    bench.webhook([opened(1)], source="gone")
    bench.webhook([opened(1)], vendor="brevo")
    bench.log.append("lead.inbound", 0, b"\xff")
    bench.log.append("lead.inbound", 0, None, b"email:erased@x.example")  # not a webhook: see below
    bench.webhook([opened(1)])
    async with bench.mapping():
        await until(bench.read)
    letters = [read_letter(record) for record in bench.log.committed_records("lead.inbound.dead")]
    reasons = [letter.reason for letter in letters if letter is not None]
    assert reasons == ["unmapped", "unmapped", "no_source", "no_source", "not_inbound"]
    assert bench.ids() == {"e1:email.opened": 1}
    assert bench.counted("dead_webhooks_total", source="mailer") == 3


async def test_an_id_that_was_seen_is_sent_once() -> None:
    """In one webhook, in one transaction, in later ones, and on another partition."""
    bench = Bench()
    bench.webhook([opened(1), opened(1)])
    bench.webhook([opened(1)])
    async with bench.mapping():
        await until(bench.read)
        bench.webhook([opened(1), opened(2)])
        bench.webhook([opened(2)], partition=1)
        await until(bench.read)
    assert bench.ids() <= Counter({"e1:email.opened": 1, "e2:email.opened": 2})  # two partitions may map at one moment
    async with bench.mapping():
        bench.webhook([opened(2)], partition=1)
        await until(bench.read)
    assert bench.ids()["e1:email.opened"] == 1
    assert bench.counted("repeated_events_total", source="mailer") >= 3


async def test_an_id_on_two_partitions_at_one_moment_counts_once() -> None:
    """Both mappers ask before either has marked it, so both send it. The worker's own net of 64 ids drops the second one."""
    bench = Bench()
    asked, known = asyncio.Barrier(2), bench.memory.known

    async def at_once(marks: Sequence[bytes]) -> list[bool]:
        found = await known(marks)
        await asked.wait()
        return found

    bench.memory.known = at_once  # type: ignore[method-assign]
    for partition in range(2):
        bench.webhook([opened(1), opened(2 + partition, email="p1@x.example")], partition=partition)
    async with bench.mapping():
        await until(bench.read)
    assert bench.ids()["e1:email.opened"] == 2
    lines = [record.value or b"" for record in bench.log.committed_records(EMAIL)]
    rules = "{rules: [{id: open, points: 1, on: email.opened}]}"
    [lead] = replay_lines(lines, parsed(a_grid(engagement=rules)), 1_770_000_100_000).leads
    assert [(one["id"], one["count"]) for one in lead["reasons"]] == [("open", 3)]


async def test_a_death_between_commit_and_mark_counts_nothing_twice() -> None:
    """The next owner marks the ids of the last batches before it maps on."""
    bench = Bench()
    bench.webhook([opened(n) for n in range(20)])
    async with bench.mapping():
        await until(bench.read)
    bench.memory.marks.clear()  # as if the process had died before it marked them
    bench.webhook([opened(n) for n in range(21)])
    async with bench.mapping():
        await until(bench.read)
    assert bench.ids() == {f"e{n}:email.opened": 1 for n in range(21)}


async def test_without_the_memory_it_goes_on_and_says_so() -> None:
    """The worker's 64 ids are the net then."""
    bench = Bench()
    bench.memory.away = True
    bench.webhook([opened(1)])
    async with bench.mapping():
        await until(bench.read)
        assert bench.counted("memory_up") == 0
        bench.memory.away = False
        bench.webhook([opened(2)])
        await until(bench.read)
        assert bench.counted("memory_up") == 1
    assert bench.ids() == {"e1:email.opened": 1, "e2:email.opened": 1}


async def test_a_failed_transaction_leaves_nothing_and_is_made_again() -> None:
    """Nothing is marked before the commit."""
    bench = Bench()
    real = bench.log.producer
    fails = iter([True, False, False])

    def producer(partition: int) -> Any:
        made: Any = real(partition)
        send = made.send

        async def failing(outputs: Sequence[Output], next_: Any, batch: int, step: Callable[[str], None]) -> None:
            def at(name: str) -> None:
                if name == "before_commit" and next(fails, False):
                    raise ProducerFailed("the broker went away")

            await send(outputs, next_, batch, at)

        made.send = failing
        return made

    bench.log.producer = producer  # type: ignore[method-assign]
    bench.webhook([opened(1)])
    async with bench.mapping():
        await until(bench.read)
    assert bench.ids() == {"e1:email.opened": 1}
    assert next(fails) is False


async def test_a_new_owner_goes_on_where_the_last_one_stopped() -> None:
    """Past a whole batch, with more webhooks than one transaction takes."""
    bench = Bench()
    for n in range(MOST_RECORDS + 30):
        bench.webhook([opened(n)], partition=n % 2)
    async with bench.mapping():
        await until(lambda: bool(bench.events()))
    for n in range(MOST_RECORDS + 30, MOST_RECORDS + 60):
        bench.webhook([opened(n)], partition=n % 2)
    async with bench.mapping():
        await until(bench.read)
    assert bench.ids() == {f"e{n}:email.opened": 1 for n in range(MOST_RECORDS + 60)}


@pytest.mark.parametrize("away", [False, True])
async def test_a_click_is_compared_with_a_delivery_that_came_before(away: bool) -> None:
    """In an earlier transaction, by the memory; in the same one without it. Whether the click came first does not matter."""
    bench = Bench()
    bench.memory.away = away
    delivered, clicked = opened(1, event="delivered"), opened(2, event="click", email="p1@x.example")
    if away:
        bench.webhook([clicked], source="guessing")
        bench.webhook([delivered], source="guessing")
    async with bench.mapping():
        if not away:
            bench.webhook([delivered], source="guessing")
            await until(bench.read)
            bench.webhook([clicked], source="guessing", partition=1)
        await until(lambda: bench.read() and len(bench.events()) == 2)
    assert {one.type: one.machine for one in bench.events()} == {"email.delivered": False, "email.clicked": True}
    assert bench.counted("machine_clicks_total", source="guessing", reason="soon after delivery") == 1
    assert len(bench.memory.kept) == (not away)


async def test_an_erasure_by_a_vendor_reaches_webhooks_and_look_ups() -> None:
    """A record without a value stands behind the person's webhooks, and no vendor is asked about the person any more."""
    bench = Bench()
    about = {"ask": "contact", "object": "123", "id": "i", "at_ms": "1"}
    other = Question("crm", "/contacts/124", about | {"object": "124"}, 0)
    for question in (Question("crm", "/contacts/123", about, 0), other):
        bench.memory.wanted[encode_question(question)] = 0
    deleted = {"eventId": 1, "subscriptionId": 2, "occurredAt": 1_770_000_000_000, "objectId": 123}
    bench.webhook([deleted | {"subscriptionType": "contact.privacyDeletion"}], source="crm", vendor="hubspot")
    async with bench.mapping():
        await until(bench.read)
    assert [event.type for event in bench.events()] == ["lead.erased"]
    for topic in ("lead.inbound", "lead.inbound.dead"):
        assert [one.key for one in bench.log.committed_records(topic) if one.value is None] == [b"123"]
    assert [decode_question(held) for held in bench.memory.wanted] == [other]


async def test_an_erasure_takes_back_what_a_late_mapper_would_ask() -> None:
    """The webhook waited while the person was erased. In its partition, the erasure stands behind it."""
    bench = Bench()
    created = {"eventId": 1, "subscriptionId": 2, "occurredAt": 1_770_000_000_000, "subscriptionType": "contact.creation"}
    bench.webhook([created | {"objectId": 123}, created | {"objectId": 124}], source="asking", vendor="hubspot")
    bench.log.append("lead.inbound", 0, None, b"123")
    async with bench.mapping():
        await until(bench.read)
    assert [decode_question(held).about["object"] for held in bench.memory.wanted] == ["124"]


async def test_names_that_a_sender_makes_up_are_no_labels() -> None:
    """Each would stay in the memory of the collector and of Prometheus."""
    bench = Bench()
    for number, type_ in enumerate(("custom.call", "custom.made_up", "invoice.paid", "demo.requested")):
        body = {"type": type_, "id": str(number), "email": "a@b.example"}
        bench.webhook(body, source="other", vendor="json")
    async with bench.mapping():
        await until(bench.read)
    found = bench.metrics.registry.collect()
    labels = {one.labels["type"] for metric in found for one in metric.samples if one.name.endswith("mapped_events_total")}
    assert labels <= {"custom", "other", "demo.requested"}
    assert {"custom", "demo.requested"} <= labels
