"""Odd requests of every kind: each is answered, and none is a fault of the collector."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from tests.kit.collected import NOW_MS, served
from tests.kit.signing import PUBLIC_URL, SIGN
from worker.collector.mapping import made_of
from worker.collector.signatures.common import BadSignature, Key, Signed
from worker.collector.signatures.registry import verifier
from worker.connections.file import parse_connections
from worker.connections.sources import VENDORS
from worker.core.contract.model import Record
from worker.intake.inbound import Inbound, encode_inbound

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", " ", "\x00", "é", "a@b.example", "2026-02-30T00:00:00Z", "1770000000", [], {}, [[]],
    "\ud83d", "x" * 5_000, {"a": {"b": [None]}}, 1e308, -0.0,
)  # fmt: skip
NAMES = (
    "event", "email", "timestamp", "signature", "token", "event-data", "type", "payload", "object", "Message", "RecordType",
    "data", "id", "batch", "messageId", "anonymousId", "userId", "properties", "context", "traits", "meta", "event_type",
    "form_response", "subscriptionType", "objectId", "occurredAt", "TopicArn", "Type", "eventName", "event_name", "ids",
)  # fmt: skip
HEADERS = (
    "x-hubspot-signature-v3", "x-hubspot-request-timestamp", "x-zm-signature", "x-zm-request-timestamp", "typeform-signature",
    "calendly-webhook-signature", "x-yousign-signature-256", "x-cio-signature", "x-cio-timestamp", "svix-id", "svix-timestamp",
    "svix-signature", "x-mandrill-signature", "x-signature", "authorization", "x-twilio-email-event-webhook-signature",
    "x-twilio-email-event-webhook-timestamp", "content-type", "origin", "ce-specversion", "ce-id", "ce-type",
)  # fmt: skip
TEXTS = (
    "sha256=", "v0=", "t=1,v1=", "t=,v1=", "v1,", "v1,= v1,", "Basic ", "Basic !", "Basic Og==", "Bearer ", "Bearer x", "=",
    "A==", "1770000000", "99999999999999999999", "-1", "é", "application/json", "application/cloudevents-batch+json", "1.0",
)  # fmt: skip


def odd(chance: random.Random, depth: int = 0) -> Any:
    """Return an odd value."""
    pick = chance.random()
    if depth < 4 and pick < 0.35:
        return {chance.choice(NAMES): odd(chance, depth + 1) for _ in range(chance.randrange(6))}
    if depth < 4 and pick < 0.5:
        return [odd(chance, depth + 1) for _ in range(chance.randrange(4))]
    return chance.choice(ODD)


def body(chance: random.Random) -> bytes:
    """Return a body: odd JSON, broken JSON, a form, or bytes."""
    text = json.dumps(odd(chance)).encode()
    match chance.randrange(6):
        case 0:
            return text[: chance.randrange(len(text) + 1)]
        case 1:
            return chance.randbytes(chance.randrange(60))
        case 2:
            return b"type=subscribe&data[merges][EMAIL]=%ff&mandrill_events=" + text
        case _:
            return text


def headers(chance: random.Random) -> dict[str, str]:
    """Return odd headers."""
    return {chance.choice(HEADERS): chance.choice(TEXTS) for _ in range(chance.randrange(6))}


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
