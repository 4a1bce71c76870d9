"""What mapping again counts, without Kafka: events that are missing, erased people, and look-ups without an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.kit.collected import Memory
from worker.collector.remap import Counted, _ask_again
from worker.connections.file import parse_connections
from worker.core.contract.model import Record
from worker.intake.inbound import Inbound, encode_inbound
from worker.intake.questions import decode_question, encode_question
from worker.intake_ports import Wanted

FILE = b"""
public_url: https://in.example.com
sources:
  crm: {vendor: hubspot, secrets: ["${KEY}"], api: hubspot, stages: {won: crm.won}}
targets:
  hubspot: {kind: hubspot, token: "${KEY}"}
"""
SOURCES = parse_connections(FILE, "connections.yaml").sources
AT_MS = 1_770_000_000_000


def counted(since_ms: int = 0) -> Counted:
    """Return a count of the source `crm`."""
    return Counted("crm", SOURCES, since_ms)


def record(value: bytes | None, key: bytes = b"k", timestamp_ms: int = AT_MS) -> Record:
    """Return a record of the inbound topic."""
    return Record("lead.inbound", 0, 0, timestamp_ms, key, value)


def webhook(kind: str, *numbers: int, at_ms: int = AT_MS, **more: Any) -> Record:
    """Return a webhook about objects of HubSpot's."""
    change = {"subscriptionId": 1, "occurredAt": AT_MS, "subscriptionType": kind, **more}
    body = json.dumps([change | {"eventId": number, "objectId": number} for number in numbers]).encode()
    return record(encode_inbound(Inbound("crm", "hubspot", at_ms, body)))


def won(*numbers: int, **more: Any) -> Record:
    """Return a webhook about deals that were won."""
    return webhook("deal.propertyChange", *numbers, propertyName="dealstage", propertyValue="won", **more)


def answer(about: dict[str, str], body: Any) -> Record:
    """Return the answer to a look-up."""
    return record(encode_inbound(Inbound("crm", "hubspot", AT_MS, msgspec.json.encode(body), kind="lookup", about=about)))


def objects(of: Counted) -> list[str]:
    """Return the objects that are asked again."""
    return [question.about["object"] for question in of.unanswered()]


def test_look_ups_without_an_answer_are_asked_again() -> None:
    """Redis may have lost them. An answer that cannot be mapped is none, such as that of an API that was given up."""
    held = counted()
    held.take(won(1, 2, 3))
    abouts = {one.about["object"]: one.about for one in held.unanswered()}
    assert list(abouts) == ["1", "2", "3"]
    held.take(answer(abouts["1"], {"properties": {}, "associations": {}}))
    held.take(answer(abouts["2"], {"message": "given up: the API answers 503"}))
    assert objects(held) == ["2", "3"]
    held.take(won(1, 2, 3))  # a webhook that came again asks the same
    assert objects(held) == ["2", "3"]


async def test_a_look_up_that_waits_is_not_asked_twice() -> None:
    """And one that is asked again has its whole time anew, however old its webhook is."""
    held, memory, later_ms = counted(), Memory(), AT_MS + 30 * 86_400_000
    held.take(won(1, 2))
    first, second = held.unanswered()
    await memory.schedule([Wanted(encode_question(first), first.due_ms)])
    assert await _ask_again(memory, [first, second], later_ms, dry_run=True) == 1
    assert len(memory.wanted) == 1
    assert await _ask_again(memory, [first, second], later_ms, dry_run=False) == 1
    assert [(decode_question(one).due_ms, due_ms) for one, due_ms in memory.wanted.items()] == [
        (first.due_ms, first.due_ms), (later_ms, later_ms),
    ]  # fmt: skip
    assert await _ask_again(memory, [first, second], later_ms, dry_run=False) == 0


def test_only_recent_webhooks_ask_again() -> None:
    """Those since the instant that the operator gives."""
    held = counted(AT_MS)
    held.take(won(1, at_ms=AT_MS - 1))
    held.take(won(2))
    assert objects(held) == ["2"]


def test_nothing_is_asked_about_an_erased_person() -> None:
    """Nor is an event of theirs missing."""
    held = counted()
    held.take(webhook("contact.creation", 7, 8))
    held.take(webhook("contact.propertyChange", 7, 8, propertyName="jobtitle", propertyValue="CTO"))
    assert (objects(held), len(held.missing({}))) == (["7", "8"], 2)
    held.take(record(None, b"7", AT_MS))
    assert objects(held) == ["8"]
    assert [event.output.key for event in held.missing({})] == [b"8"]
    assert (held.report.present, held.report.erased) == (0, 1)
    assert objects(counted()) == []


def test_a_person_may_come_back_after_an_erasure() -> None:
    """What came later is theirs again."""
    held = counted()
    held.take(record(None, b"7", AT_MS - 1))
    held.take(webhook("contact.propertyChange", 7, propertyName="jobtitle", propertyValue="CTO"))
    assert [event.output.key for event in held.missing({})] == [b"7"]
