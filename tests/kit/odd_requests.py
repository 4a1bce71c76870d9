"""Odd requests of every kind to a collector: odd values, broken bodies, wrong headers, broken HTTP. A seed makes them all."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from schemas import INPUTS
from schemas.examples import input_example
from tests.kit.odd_webhooks import changed, places
from tests.kit.signing import Request
from tests.kit.vendor_cases import Case, Signers

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


WORDS: Final = (
    b"null",
    b"\x00",
    b"\xff",
    b"{",
    b"]",
    b"1e999",
    b"9" * 400,
    b"[" * 2_000,
    b"\xed\xa0\x80",
    b'"',
    b"\\u0000",
    b"",
    b"\r\n",
)
PATHS: Final = (
    "/",
    "/v1",
    "/v1/events/",
    "/v1/eventz",
    "/in/",
    "/in/none",
    "/in/%2e%2e",
    "/lp/www",
    "/lp/none/e",
    "/lp/%00/e",
    "/%ff",
)
METHODS: Final = ("GET", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "PATCH", "GETT", "get")


class Sent(NamedTuple):
    """One request, as its bytes go over the wire."""

    kind: str
    data: bytes
    broken: bool = False
    """It is no HTTP request, so the server may close the connection without an answer."""
    head: bool = False
    """A `HEAD` request, whose answer has no body."""


def odd_bytes(chance: random.Random, held: bytes) -> bytes:
    """Return *held* with pieces cut, doubled, overwritten or put in."""
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(held) + 1)
        match chance.randrange(5):
            case 0:
                held = held[:at]
            case 1:
                held = held[:at] + held[at + chance.randrange(1, 20) :]
            case 2:
                held = held[:at] + held[max(0, at - chance.randrange(1, 40)) : at] + held[at:]
            case 3:
                held = held[:at] + bytes([chance.randrange(256)]) + held[at + 1 :]
            case _:
                held = held[:at] + chance.choice(WORDS) + held[at:]
    return held


def odd_json(chance: random.Random, value: Any) -> bytes:
    """Return *value* as JSON, with an odd value in one place or two, and sometimes with odd bytes."""
    for _ in range(chance.randrange(3)):
        value = changed(value, chance.choice(list(places(value))), chance.choice(ODD))
    held = json.dumps(value).encode()
    return odd_bytes(chance, held) if chance.random() < 0.3 else held


def raw(kind: str, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Sent:
    """Return a request in bytes. Header values that HTTP cannot carry lose what is odd in them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: in.example.com", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {_line(value)}" for name, value in headers.items() if name.lower() not in ("host", "content-length")]
    return Sent(kind, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, head=method == "HEAD")


def _line(value: str) -> str:
    return value.replace("\r", "").replace("\n", "").replace("\x00", "")


class OddRequests:
    """Makes requests to a collector that knows *found*, the cases of vendors, the token, the keys and the site `www`."""

    def __init__(self, seed: int, found: Mapping[str, Case], signers: Signers, token: str, key: str) -> None:
        self._chance = random.Random(seed)
        self._found = dict(found)
        self._signers = signers
        self._token = token
        self._key = key
        self._events = [input_example(name) for name in INPUTS]
        self._kinds: tuple[Callable[[], Sent], ...] = (
            self._event, self._event, self._batch, self._binary, self._webhook, self._webhook, self._webhook, self._stranger,
            self._segment, self._beacon, self._beacon, self._page, self._elsewhere, self._no_http,
        )  # fmt: skip

    def next(self) -> Sent:
        """Return the next request."""
        return self._chance.choice(self._kinds)()

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _example(self) -> dict[str, Any]:
        return {**self._chance.choice(self._events), "id": f"{self._chance.getrandbits(60):x}"}

    def _event(self) -> Sent:
        chance = self._chance
        kind = "application/cloudevents+json" if chance.random() < 0.9 else chance.choice(TEXTS)
        return raw("event", "/v1/events", odd_json(chance, self._example()), {"Content-Type": kind} | self._bearer())

    def _batch(self) -> Sent:
        chance = self._chance
        held = [self._example() for _ in range(chance.choice((0, 1, 2, 5)))]
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        return raw("batch", "/v1/events", odd_json(chance, held), kind | self._bearer() | headers(chance))

    def _binary(self) -> Sent:
        chance, event = self._chance, self._example()
        given = {f"ce-{name}": str(value) for name, value in event.items() if name != "data" and chance.random() < 0.97}
        if chance.random() < 0.3:
            given[chance.choice(list(given) or ["ce-id"])] = chance.choice(TEXTS)
        data = odd_json(chance, event.get("data"))
        return raw("binary", "/v1/events", data, given | {"Content-Type": "application/json"} | self._bearer())

    def _webhook(self) -> Sent:
        chance = self._chance
        vendor = chance.choice(list(self._found))
        held = chance.choice(self._found[vendor].bodies)
        try:
            held = odd_json(chance, json.loads(held))
        except ValueError:
            held = odd_bytes(chance, held)
        return self._to(vendor, self._signed(vendor, held), self._found[vendor].headers)

    def _signed(self, vendor: str, held: bytes) -> Request:
        try:
            return self._signers.sign(vendor, time.time_ns() // 1_000_000, held)
        except (ValueError, TypeError, RecursionError):  # a signature within a body that is no longer JSON
            return Request(held, {"Authorization": f"Bearer {self._key}"})

    def _to(self, vendor: str, request: Request, more: Mapping[str, str]) -> Sent:
        path = f"/in/{vendor}" + (f"?{request.query}" if request.query else "")
        return raw(f"in {vendor}", path, request.body, request.headers | dict(more))

    def _stranger(self) -> Sent:
        chance = self._chance
        return raw("stranger", f"/in/{chance.choice(list(self._found))}", body(chance), headers(chance))

    def _segment(self) -> Sent:
        chance = self._chance
        kind = chance.choice(("page", "track", "identify", "group", "alias", "batch"))
        key = chance.choice((self._key, "w", "none"))
        message = {
            "anonymousId": "a", "userId": "u", "event": "Demo Requested", "messageId": f"{chance.getrandbits(60):x}",
            "properties": {"url": "https://x.example/?lp=t"}, "context": {"page": {"url": "/"}, "leadpulse": "v1.x.y"},
            "traits": {"email": "a@b.example"}, "timestamp": "2026-11-01T00:00:00Z", "previousId": "p",
        }  # fmt: skip
        held = {"batch": [message | {"type": "track"}, message | {"type": "page"}]} if kind == "batch" else message
        given = (
            {"Origin": chance.choice(("https://www.example.com", "https://x.example", "null"))} if chance.random() < 0.3 else {}
        )
        return raw("segment", f"/v1/{kind}?writeKey={quote(key)}", odd_json(chance, held), given | headers(chance))

    def _beacon(self) -> Sent:
        chance = self._chance
        visitor = f"{chance.getrandbits(128):032x}"
        uuid = "-".join((visitor[:8], visitor[8:12], visitor[12:16], visitor[16:20], visitor[20:]))
        page = {"id": uuid, "type": "page.viewed", "at": 1, "data": {"url": "https://www.example.com/?email=a@b.example"}}
        form = {"id": uuid, "type": "form.submitted", "at": 2, "data": {"form_id": "f", "fields": {"email": "a@b.example"}}}
        held = {
            "sent": 3,
            "consent": True,
            "visitor": uuid,
            "events": [page, form],
            "identify": "v1.x.y",
            "traits": {"role": "CTO"},
        }
        given = {"Origin": "https://www.example.com", "Cookie": f"lp_visitor={uuid}.{visitor[:16]}"}
        given = {name: value for name, value in given.items() if chance.random() < 0.8} | headers(chance)
        return raw("beacon", "/lp/www/e", odd_json(chance, held), given)

    def _page(self) -> Sent:
        chance = self._chance
        text = quote(chance.choice(TEXTS)) + "%ff%00" * chance.randrange(2)
        path = chance.choice(
            ("/lp/www/lp.js", f"/lp/www/e.gif?u={text}&r={text}", "/lp/www/e.gif", "/readyz", "/v1/openapi.json")
        )
        given = {"Referer": "https://www.example.com/", "If-None-Match": text} | headers(chance)
        return raw("page", path, b"", given, chance.choice(("GET", "GET", "HEAD")))

    def _elsewhere(self) -> Sent:
        chance = self._chance
        path = chance.choice((*PATHS, "/v1/events", "/in/hubspot", "/in/mailchimp?key=x", "/lp/www/e", "/v1/batch"))
        return raw("elsewhere", path, body(chance), headers(chance), chance.choice(METHODS))

    def _no_http(self) -> Sent:
        chance = self._chance
        held = self._event().data
        match chance.randrange(5):
            case 0:
                held = odd_bytes(chance, held)
            case 1:
                held = held.replace(b"Content-Length:", b"Transfer-Encoding: chunked\r\nX:") + chance.choice(WORDS)
            case 2:
                held = held.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
            case 3:
                held = held.replace(b"Host:", b"X: " + b"y" * chance.choice((9_000, 70_000)) + b"\r\nHost:", 1)
            case _:
                held = chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n"
        return Sent("no http", held, broken=True)
