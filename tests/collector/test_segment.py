"""Segment's protocol: what a browser may say, what a server may, and who is answered how."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.kit.collected import NOW_MS, Served, served
from worker.connections.identify import token_of

FILE = """\
sites:
  www: {origins: ["https://www.example.com"], write_key: "${WRITE}", identify: "${IDENTIFY}", custom: [custom.calculator]}
sources:
  app: {vendor: segment, secrets: "${SERVER}", events: {Bought: crm.won}}
"""
SECRETS = {"WRITE": "page-key", "IDENTIFY": "id-key", "SERVER": "server-key"}
PAGE = {"type": "page", "anonymousId": "a1", "messageId": "m1", "properties": {"url": "https://www.example.com/pricing"}}


def key(text: str) -> dict[str, str]:
    """Return the header of a library."""
    return {"Authorization": "Basic " + base64.b64encode(f"{text}:".encode()).decode()}


async def send(collector: Served, kind: str, body: Any, by: str = "page-key", **headers: str) -> int:
    """Send one request; return the status."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await collector.client.post(f"/v1/{kind}", data=raw, headers=key(by) | headers)
    return answer.status


def events(collector: Served) -> list[tuple[str, str, dict[str, Any]]]:
    """Return type, subject and data of the events in Kafka."""
    held = [json.loads(record.value or b"") for record in collector.log.records]
    return [(one["type"], one["subject"], one["data"]) for one in held]


async def test_a_page_of_a_browser_is_a_view_of_a_visitor() -> None:
    """Whatever it says of itself: `userId` and traits of a browser count for nothing."""
    async with served(FILE, SECRETS) as collector:
        assert await send(collector, "page", PAGE | {"userId": "lead-42", "traits": {"role": "ceo"}}) == 200
        assert events(collector) == [("page.viewed", "visitor:a1", {"url": "https://www.example.com/pricing"})]


@pytest.mark.parametrize("kind", ["identify", "alias", "group"])
async def test_a_browser_names_no_lead(kind: str) -> None:
    """It is counted, and answered with 200."""
    async with served(FILE, SECRETS) as collector:
        message = {"anonymousId": "a1", "userId": "lead-42", "previousId": "x", "traits": {"role": "ceo"}}
        assert await send(collector, kind, message) == 200
        assert collector.log.records == []
        assert collector.counted("collect_segment_passed_over_total") == 1


async def test_a_browser_sends_its_own_types_alone() -> None:
    """The site's listed custom types too."""
    async with served(FILE, SECRETS) as collector:
        for name in ("Demo Requested", "custom.calculator", "Bought", "crm.won", "custom.other"):
            assert await send(collector, "track", {"anonymousId": "a1", "event": name, "messageId": name}) == 200
        assert [one[0] for one in events(collector)] == ["demo.requested", "custom.calculator"]


async def test_an_identify_token_names_the_lead() -> None:
    """In the call, or in the address of the page, from which it is stripped. A forged one names nobody."""
    good = token_of("lead-42", "www", NOW_MS // 1000 + 60, "id-key")
    for token, expected in ((good, 1), (good[:-4] + "AAAA", 0), (token_of("x", "shop", NOW_MS // 1000 + 60, "id-key"), 0)):
        async with served(FILE, SECRETS) as collector:
            call = {"anonymousId": "a1", "messageId": "m", "context": {"leadpulse": token}}
            assert await send(collector, "identify", call) == 200
            named = [one for one in events(collector) if one[0] == "lead.identified"]
            assert named == [("lead.identified", "lead-42", {"anonymous_id": "visitor:a1"})] * expected
    async with served(FILE, SECRETS) as collector:
        page = {"url": f"https://www.example.com/?a=1&lp={good}"}
        assert await send(collector, "page", PAGE | {"properties": page, "context": {"page": page}}) == 200
        assert good not in repr(collector.log.records)
        assert events(collector)[0][2]["url"] == "https://www.example.com/?a=1"


async def test_a_server_names_leads_and_traits() -> None:
    """By a secret of a source with `vendor: segment`, and its map of names."""
    async with served(FILE, SECRETS) as collector:
        batch = [
            {"type": "identify", "userId": "lead-42", "anonymousId": "a1", "messageId": "1", "traits": {"title": "CEO"}},
            {"type": "track", "userId": "lead-42", "event": "Bought", "messageId": "2"},
            {"type": "track", "userId": "lead-42", "event": "Unknown", "messageId": "3"},
        ]
        assert await send(collector, "batch", {"batch": batch}, "server-key") == 200
        assert [one[:2] for one in events(collector)] == [
            ("profile.updated", "lead-42"), ("lead.identified", "lead-42"), ("crm.won", "lead-42"),
        ]  # fmt: skip


async def test_consent_is_obeyed() -> None:
    """Where the message has it."""
    async with served(FILE, SECRETS) as collector:
        context = {"consent": {"categoryPreferences": {"Analytics": False}}}
        assert await send(collector, "page", PAGE | {"context": context}) == 200
        assert collector.log.records == []


@pytest.mark.parametrize("by", ["page-key", "server-key"])
async def test_consent_is_needed_for_the_categories_that_the_connections_name(by: str) -> None:
    """Of a site and of a server. A visitor who refuses advertising alone may still be scored."""
    named = FILE.replace("custom: [", "consent_categories: [Analytics], custom: [").replace(
        "{vendor: segment,", "{vendor: segment, consent_categories: Analytics,"
    )
    async with served(named, SECRETS) as collector:
        for preferences in ({"Advertising": False, "Analytics": True}, {"Advertising": True, "Analytics": False}, {}):
            context = {"consent": {"categoryPreferences": preferences}}
            assert await send(collector, "page", PAGE | {"context": context}, by) == 200
        assert len(collector.log.records) == 1
        assert collector.counted("collect_segment_passed_over_total") == 2


async def test_the_key_comes_in_the_query_too() -> None:
    """Beacons cannot set headers."""
    async with served(FILE, SECRETS) as collector:
        assert (await collector.client.post("/v1/page?writeKey=page-key", json=PAGE)).status == 200
        assert (await collector.client.post("/v1/page?writeKey=other", json=PAGE)).status == 401
        assert await send(collector, "page", PAGE, "other") == 401
        assert (await collector.client.post("/v1/page", json=PAGE)).status == 401


async def test_pages_of_other_origins_are_refused() -> None:
    """And those of the site read the answer."""
    async with served(FILE, SECRETS) as collector:
        assert await send(collector, "page", PAGE, Origin="https://evil.example") == 403
        origin = {"Origin": "https://www.example.com"}
        answer = await collector.client.post("/v1/page?writeKey=page-key", json=PAGE, headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://www.example.com"
        assert (await collector.client.options("/v1/page", headers=origin)).status == 204
        assert (await collector.client.options("/v1/page", headers={"Origin": "https://evil.example"})).status == 403


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'{"batch": 1}', b'{"batch": [1]}', b"\xff", b'{"batch":' + b"[" * 9000]
)
async def test_what_is_no_message_is_400(body: bytes) -> None:
    """Nothing is taken."""
    async with served(FILE, SECRETS) as collector:
        assert await send(collector, "batch", body) == 400
        assert collector.log.records == []


async def test_kafka_away_is_503() -> None:
    """As its libraries expect."""
    async with served(FILE, SECRETS) as collector:
        collector.log.refuses = True
        assert await send(collector, "page", PAGE) == 503
