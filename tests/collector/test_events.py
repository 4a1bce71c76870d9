"""`/v1/events`: CloudEvents in three forms, a batch whole or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.kit.collected import Served, served
from worker.core.contract.event_types import INPUT_TOPICS

FILE = 'tokens: ["${ONE}", "${TWO}"]\n'
TOKENS = {"ONE": "first-token", "TWO": "second-token"}
BEARER = {"Authorization": "Bearer second-token"}
ONE = {"Content-Type": "application/cloudevents+json"} | BEARER
BATCH = {"Content-Type": "application/cloudevents-batch+json"} | BEARER


def event(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a CloudEvent."""
    held = {"specversion": "1.0", "id": str(number), "source": "/t", "type": "page.viewed", "subject": f"lead-{number}"}
    return held | {"time": "2026-02-02T02:40:00Z", "data": {"url": "/"}} | fields


async def send(collector: Served, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Post *body*; return the status and the answer."""
    answer = await collector.client.post("/v1/events", data=body, headers=headers)
    return answer.status, json.loads(await answer.read())


async def test_one_structured_event_goes_to_the_topic_of_its_type() -> None:
    """Keyed by its subject, as it came."""
    async with served(FILE, TOKENS) as collector:
        body = json.dumps(event(type="crm.won", subject="é")).encode()
        assert await send(collector, body, ONE) == (200, {"taken": 1})
        [record] = collector.log.records
        assert (record.topic, record.key, record.value) == (INPUT_TOPICS["crm"], "é".encode(), body)
        assert record.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


async def test_a_batch_is_taken_whole() -> None:
    """An empty one too."""
    async with served(FILE, TOKENS) as collector:
        assert await send(collector, json.dumps([event(n) for n in range(100)]).encode(), BATCH) == (200, {"taken": 100})
        assert [one.key for one in collector.log.records] == [f"lead-{n}".encode() for n in range(100)]
        assert await send(collector, b"[]", BATCH) == (200, {"taken": 0})


async def test_a_batch_with_bad_events_is_refused_whole() -> None:
    """Each is named by its place, with the words of the worker's decoder."""
    async with served(FILE, TOKENS) as collector:
        events = [event(0), event(1, subject=""), event(2), event(3, time="yesterday"), 4]
        status, told = await send(collector, json.dumps(events).encode(), BATCH)
        assert status == 400
        assert [(one["index"], one["reason"]) for one in told["errors"]] == [
            (1, "no_subject"), (3, "bad_time"), (4, "not_an_object"),
        ]  # fmt: skip
        assert collector.log.records == []


async def test_binary_mode_becomes_a_structured_record() -> None:
    """Attributes in headers, data in the body."""
    async with served(FILE, TOKENS) as collector:
        headers = {f"ce-{name}": str(value) for name, value in event().items() if name != "data"}
        assert (await send(collector, b'{"url": "/x"}', headers | {"Content-Type": "application/json"} | BEARER))[0] == 200
        assert json.loads(collector.log.records[0].value or b"") == event(data={"url": "/x"})
        assert (await send(collector, b"<x/>", headers | {"Content-Type": "text/xml"} | BEARER))[0] == 400


async def test_the_media_type_decides_between_structured_and_binary() -> None:
    """As the HTTP binding of CloudEvents says. Proxies and libraries add `ce-` headers to structured events."""
    body = json.dumps(event()).encode()
    async with served(FILE, TOKENS) as collector:
        for content_type in ("application/cloudevents+json", "application/cloudevents+json; charset=utf-8"):
            headers = {"Content-Type": content_type, "ce-specversion": "", "ce-id": "other"} | BEARER
            assert await send(collector, body, headers) == (200, {"taken": 1})
            assert collector.log.records[-1].value == body
        batch = {"Content-Type": "application/cloudevents-batch+json", "ce-specversion": "1.0"} | BEARER
        assert await send(collector, b"[%b]" % body, batch) == (200, {"taken": 1})
        assert (await send(collector, body, {"Content-Type": "application/json"} | BEARER)) == (200, {"taken": 1})


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/cloudevents+json", 200), ("Application/CloudEvents+JSON ; charset=UTF-8", 200), ("application/json", 200),
        ("application/cloudevents+xml", 400), ("application/cloudevents", 400), ("text/plain", 400), ("application/jsonx", 400),
        ("application/cloudevents+jsonx", 400), ("", 400), (";", 400), ("application/x-www-form-urlencoded", 400),
    ],
)  # fmt: skip
async def test_other_media_types_are_refused_by_name(content_type: str, status: int) -> None:
    """The answer names those that are taken."""
    async with served(FILE, TOKENS) as collector:
        found, told = await send(collector, json.dumps(event()).encode(), {"Content-Type": content_type} | BEARER)
        assert found == status
        assert status == 200 or "application/cloudevents-batch+json" in told["title"]
        assert len(collector.log.records) == (status == 200)


async def test_an_unknown_type_is_taken_and_counted() -> None:
    """As the worker does."""
    async with served(FILE, TOKENS) as collector:
        assert (await send(collector, json.dumps(event(type="invoice.paid")).encode(), ONE))[0] == 200
        assert collector.counted("collect_unknown_types_total", endpoint="events") == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"{", ONE), (b"", ONE), (b"[", BATCH), (b"{}", BATCH), (b"\xff", BATCH), (b"{}", BEARER), (b'[' * 5000, BATCH)],
)  # fmt: skip
async def test_what_is_no_event_is_400(body: bytes, headers: dict[str, str]) -> None:
    """With a reason, in the form of RFC 9457."""
    async with served(FILE, TOKENS) as collector:
        status, told = await send(collector, body, headers)
        assert (status, told["status"]) == (400, 400)
        assert told["title"]


async def test_a_token_is_needed() -> None:
    """In a file without tokens there is none."""
    for file in (FILE, "sites: {}\n"):
        async with served(file, TOKENS) as collector:
            for headers in (
                {},
                {"Authorization": "Bearer x"},
                {"Authorization": "Bearer "},
                {"Authorization": "Basic first-token"},
            ):
                assert (await send(collector, b"{}", headers))[0] == 401


async def test_kafka_away_is_429() -> None:
    """None of a batch counts as taken."""
    async with served(FILE, TOKENS) as collector:
        collector.log.refuses = True
        assert (await send(collector, json.dumps(event()).encode(), ONE))[0] == 429
        assert collector.counted("collect_events_total", endpoint="events") == 0


async def test_ready_until_it_drains() -> None:
    """A balancer looks there."""
    async with served(FILE, TOKENS) as collector:
        assert (await collector.client.get("/livez")).status == 200
        assert (await collector.client.get("/readyz")).status == 200
        collector.collector.draining = True
        assert (await collector.client.get("/readyz")).status == 503
        collector.collector.draining = False
        collector.collector.checked.clear()
        assert (await collector.client.get("/readyz")).status == 503


async def test_a_body_may_be_compressed() -> None:
    """The limit holds for what comes out of it, and a broken one is 400."""
    async with served(FILE, TOKENS) as collector:
        packed = ONE | {"Content-Encoding": "gzip"}
        assert await send(collector, gzip.compress(json.dumps(event()).encode()), packed) == (200, {"taken": 1})
        assert (await send(collector, gzip.compress(b" " * 50_000_000), packed))[0] == 413
        assert (await send(collector, gzip.compress(json.dumps(event()).encode())[:60], packed))[0] == 400
        assert (await send(collector, b"{}", packed))[0] == 400
        assert collector.counted("collect_waiting_bytes") == 0


@pytest.mark.parametrize("size", [1_000, 100_000])
async def test_a_body_may_come_in_pieces(size: int) -> None:
    """With its head, or after it."""
    body = json.dumps(event(data={"url": "/" + "x" * 200_000})).encode()

    async def pieces() -> Any:
        for at in range(0, len(body), size):
            yield body[at : at + size]
            await asyncio.sleep(0)

    async with served(FILE, TOKENS) as collector:
        answer = await collector.client.post("/v1/events", data=pieces(), headers=ONE)
        assert (answer.status, collector.log.records[0].value) == (200, body)
