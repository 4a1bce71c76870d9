"""Odd requests of every kind: each is answered, and none is a fault of the collector."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from typing import Any

import pytest

from tests.kit.collected import NOW_MS, served
from tests.kit.odd_requests import NAMES, body, headers
from tests.kit.signing import PUBLIC_URL, SIGN
from worker.collector.mapping import made_of
from worker.collector.signatures.common import BadSignature, Key, Signed
from worker.collector.signatures.registry import verifier
from worker.connections.file import parse_connections
from worker.connections.sources import VENDORS
from worker.core.contract.model import Record
from worker.intake.inbound import Inbound, encode_inbound
from worker.logs import configuration


@pytest.mark.parametrize("vendor", sorted(set(VENDORS) - {"ses"}))
def test_no_request_is_a_fault_of_a_signature(vendor: str) -> None:
    """It fits, or it does not."""
    chance = random.Random(vendor)
    for window in (300_000, None):
        key = Key(("secret", "whsec_c2VjcmV0"), window, PUBLIC_URL)
        for _ in range(1_000):
            signed = Signed(body(chance), headers(chance), target="/in/x?key=é", query={"key": "é"})
            with pytest.raises(BadSignature):
                verifier(vendor)(signed, key, NOW_MS)


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_no_webhook_is_a_fault_of_the_mapper(vendor: str) -> None:
    """It becomes events, or a dead letter with a reason."""
    chance = random.Random(vendor)
    more = {"ses": ", topic_arns: a", "json": ', map: {type: "event", id: id}'}.get(vendor, "")
    secrets = "" if vendor == "ses" else ', secrets: "${A}"'
    text = f"public_url: {PUBLIC_URL}\nsources: {{tool: {{vendor: {vendor}{secrets}{more}}}}}\n"
    sources = parse_connections(text.encode(), "connections.yaml").sources
    for number in range(1_000):
        kind: Any = "lookup" if number % 5 == 0 else "webhook"
        about = {chance.choice(NAMES): "1", "ask": chance.choice(("deal", "contact", "report"))}
        inbound = Inbound("tool", vendor, NOW_MS, body(chance), kind=kind, about=about if kind == "lookup" else {})
        made = made_of(Record("lead.inbound", 0, number, NOW_MS, None, encode_inbound(inbound)), sources, "lead.inbound.dead")
        if made.dead is not None:
            held = dict(made.dead.headers)
            assert held["lp-reason"] in (b"unmapped", b"refused")
            assert b"a fault in the map" not in held["__connect.errors.exception.message"], held


async def test_no_request_is_a_fault_of_the_collector() -> None:
    """Signed or not, to every path."""
    chance = random.Random(18)
    held: dict[str, Any] = {vendor: sign for vendor, sign in SIGN.items() if vendor not in ("resend", "json")}
    sources = "".join(f'  {vendor}: {{vendor: {vendor}, secrets: "${{A}}"}}\n' for vendor in held)
    site = '  www: {origins: ["https://x.example"], write_key: "${B}", identify: "${A}"}\n'
    file = f'public_url: {PUBLIC_URL}\ntokens: ["${{A}}"]\nsites:\n{site}sources:\n{sources}'
    paths = ["/v1/events", *(f"/v1/{kind}?writeKey=b" for kind in ("page", "track", "identify", "batch")), "/readyz", "/x"]
    statuses: Counter[int] = Counter()
    async with served(file, {"A": "a", "B": "b"}) as collector:
        for _ in range(3_000):
            given, sent = headers(chance), body(chance)
            path = chance.choice((*paths, *(f"/in/{vendor}" for vendor in held)))
            vendor = path.removeprefix("/in/")
            if vendor in held and chance.random() < 0.7:
                signed = held[vendor]("a", NOW_MS, path, sent) if vendor not in ("mailgun", "mandrill") else None
                given, sent, query = (signed.headers, signed.body, signed.query) if signed else (given, sent, "")
                path += f"?{query}" if query else ""
            elif path.startswith("/v1/events"):
                given["Authorization"] = "Bearer a"
            given = {name: text for name, text in given.items() if text.isascii()}
            method = chance.choice(("POST", "POST", "POST", "GET", "HEAD", "PUT", "OPTIONS"))
            answer = await collector.client.request(method, path, data=sent, headers=given)
            statuses[answer.status] += 1
    assert 500 not in statuses, statuses
    assert {200, 401, 404, 405, 400} <= set(statuses)


BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00 hello\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /lp/www/e HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
)


async def test_what_is_no_request_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A stranger who sends rubbish gets 400 or nothing, and cannot fill the log with tracebacks."""
    logger = logging.getLogger("aiohttp.server")
    settings = configuration("json", terminal=False)
    [name] = settings["loggers"]["aiohttp.server"]["filters"]
    quiet = settings["filters"][name]["()"]()
    async with served('sites:\n  www: {origins: ["https://x.example"]}\n', {}) as collector:
        for filters in ([], [quiet]):
            logger.filters = filters
            caplog.clear()
            for data in (first + data for data in BROKEN for first in (b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")):
                reader, writer = await asyncio.open_connection(collector.client.host, collector.client.port)
                writer.write(data)
                writer.write_eof()
                assert (await reader.read()).rpartition(b"HTTP/1.")[2][2:5] in (b"400", b"200", b"")
                writer.close()
            assert bool(caplog.records) == (not filters)
        logger.filters = []
