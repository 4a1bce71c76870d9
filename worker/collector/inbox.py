"""`/in/NAME`: a vendor's webhook is verified over its raw bytes, and goes to Kafka as it came."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from aiohttp import web

from worker.collector.answers import Answer, come_again, read_body
from worker.collector.collector import Collector
from worker.collector.promise import ANSWER_S, HURRIED_ANSWER_S, Room
from worker.collector.signatures.common import BadSignature, Signed, Unverified
from worker.collector.signatures.registry import verifier
from worker.collector.signatures.sns import is_amazon, message_of, sns
from worker.connections.sources import Source
from worker.core.contract.model import Output
from worker.intake.inbound import MAX_BODY_BYTES, Inbound, encode_inbound
from worker.intake.vendors.registry import MAPS
from worker.logs import fields

log = logging.getLogger(__name__)

_VALIDATES: Final = {"mandrill": ("HEAD",), "mailchimp": ("GET", "HEAD")}
"""Vendors that look whether the address answers before they send to it."""

_SECRET_WITHIN: Final = frozenset({"zoho"})
"""Vendors that send the shared secret within the body."""

_ACKNOWLEDGED: Final = (
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)
_HURRIED: Final = frozenset({"hubspot", "zoom", "customerio"})
"""Vendors that wait for less than five seconds. HubSpot waits for one."""

_SECRET_PARAMETERS: Final = frozenset({"key", "writekey", "secret", "token", "sig", "signature", "password", "access_token"})

KEPT_HEADERS: Final = (
    "content-type", "user-agent", "svix-id", "svix-timestamp", "x-hubspot-request-timestamp", "x-zm-request-timestamp",
    "x-cio-timestamp", "x-yousign-retry", "x-yousign-issued-at", "x-amz-sns-message-type", "x-amz-sns-message-id",
    "x-twilio-email-event-webhook-timestamp", "x-request-id",
)  # fmt: skip
"""Headers that go to Kafka with a webhook: those that a map or an inquiry needs, and none with a secret."""

_TELL_MS: Final = 60_000

_MOST_HEADER: Final = 500
_MOST_QUERY: Final = 4_000


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the routes of `/in/NAME`."""
    inbox = Inbox(collector)
    return [web.route("*", "/in/{name}", inbox.take)]


class Inbox:
    """Takes webhooks of the configured sources."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._told_ms: dict[tuple[str, str], int] = {}
        """(source, reason) → when a refusal was last logged."""

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request: 200 once Kafka has it."""
        name = request.match_info["name"]
        source = self._collector.connections.sources.get(name)
        if source is None:
            raise Answer(404, "no such source\n")
        vendor: str = source.vendor
        if request.method in _VALIDATES.get(vendor, ()):
            return web.Response(text="ok\n")
        if request.method != "POST":
            raise Answer(405, "send it by POST\n", {"Allow": "POST"})
        again = 503 if vendor == "segment" else 429
        with self._collector.promise.room() as room:
            signed = _signed(request, await self._body(name, request, room, again))
            try:
                number = await self._verified(name, vendor, signed)
                special = await self._special(name, vendor, signed, number)
            except Unverified as error:
                log.warning("%s: %s", name, error, extra=fields("collector.unverified", source=name))
                self._collector.news.failed(name, self._collector.now_ms(), str(error))
                raise come_again(again) from None
            if special is not None:
                return special
            inbound = _inbound(name, source, signed, number, self._collector.now_ms())
            if vendor in _SECRET_WITHIN:
                inbound = msgspec.structs.replace(inbound, body=_without(inbound.body, self._collector.keys[name].secrets))
            record = Output(self._collector.inbound_topic, key_of(inbound, source), encode_inbound(inbound))
            within_s = HURRIED_ANSWER_S if vendor in _HURRIED else ANSWER_S
            if not await self._collector.promise.keep([record], within_s):
                raise come_again(again)
        self._collector.metrics.received.labels(name).inc()
        self._collector.news.came(name, inbound.received_ms)
        return _taken(vendor, signed.body)

    async def _body(self, name: str, request: web.Request, room: Room, again: int) -> bytes:
        try:
            return await read_body(request, room, again=again, broken=again)
        except Answer as answer:
            if answer.status == 413:
                words = f"a webhook was refused: it is over {MAX_BODY_BYTES:,} bytes"
                self._collector.news.failed(name, self._collector.now_ms(), words)
            raise

    async def _verified(self, name: str, vendor: str, signed: Signed) -> int:
        """Return the number of the secret that verifies the request. Raises `Answer` with 401, and `Unverified`."""
        collector, key = self._collector, self._collector.keys[name]
        try:
            if vendor == "ses":
                number = await sns(signed, key, collector.certificates)
            else:
                number = verifier(vendor)(signed, key, collector.now_ms())
        except BadSignature as error:
            collector.metrics.bad_signatures.labels(name, error.reason).inc()
            collector.news.failed(name, collector.now_ms(), f"a webhook was refused: its signature is {error.reason}")
            self._tell(name, error.reason)
            raise Answer(401, "not verified\n") from None
        collector.metrics.old_secrets.labels(name, str(number)).inc()
        return number

    def _tell(self, name: str, reason: str) -> None:
        """Log a refusal, once a minute for each source and reason: anyone who can reach the port could flood the log."""
        now_ms = self._collector.now_ms()
        if now_ms - self._told_ms.get((name, reason), 0) >= _TELL_MS:
            self._told_ms[name, reason] = now_ms
            log.warning(
                "%s: a webhook is refused: its signature is %s", name, reason,
                extra=fields("collector.bad_signature", source=name, reason=reason),
            )  # fmt: skip

    async def _special(self, name: str, vendor: str, signed: Signed, number: int) -> web.Response | None:
        """Answer the calls by which Zoom and Amazon look whether the address is ours; `None` for any other."""
        if vendor == "zoom":
            return _zoom_validation(signed, self._collector.keys[name].secrets[number - 1])
        if vendor == "ses":
            return await self._confirmed(name, signed)
        return None

    async def _confirmed(self, name: str, signed: Signed) -> web.Response | None:
        message = message_of(signed)
        if message.get("Type") == "Notification":
            return None
        address = message.get("SubscribeURL", "")
        if message.get("Type") == "SubscriptionConfirmation" and is_amazon(address):
            try:
                await self._collector.fetch(address)
            except OSError as error:
                raise Unverified(f"the subscription cannot be confirmed: {error}") from error
            log.info("%s: confirmed the subscription of a topic", name, extra=fields("collector.subscribed", source=name))
        return web.Response(text="ok\n")


def _taken(vendor: str, body: bytes) -> web.Response:
    """Return the answer to what Kafka has. Salesforce's messages in SOAP are sent again until they are acknowledged so."""
    if vendor == "salesforce" and body.lstrip()[:1] == b"<":
        return web.Response(body=_ACKNOWLEDGED, content_type="text/xml", charset="utf-8")
    return web.Response(text="ok\n")


def _signed(request: web.Request, body: bytes) -> Signed:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Signed(body, headers, request.method, request.raw_path, dict(request.query))


def _inbound(name: str, source: Source, signed: Signed, number: int, received_ms: int) -> Inbound:
    return Inbound(
        source=name,
        vendor=getattr(source, "vendor", ""),
        received_ms=received_ms,
        body=signed.body,
        method=signed.method,
        content_type=signed.headers.get("content-type", "")[:_MOST_HEADER],
        query=public_query(signed.target),
        headers={one: _printable(signed.headers[one])[:_MOST_HEADER] for one in KEPT_HEADERS if one in signed.headers},
        key_number=number,
    )


def _without(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return a body in JSON with `***` in place of each value that is one of *secrets*."""
    for secret in secrets:
        for form in (msgspec.json.encode(secret), json.dumps(secret).encode()):
            body = body.replace(form, b'"***"')
    return body


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()


def public_query(target: str) -> str:
    """Return the query of *target* without the parameters that are secret."""
    try:
        pairs = parse_qsl(target.partition("?")[2], keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return ""
    return urlencode([(k, v) for k, v in pairs if k.lower() not in _SECRET_PARAMETERS], errors="replace")[:_MOST_QUERY]


def key_of(inbound: Inbound, source: Source) -> bytes:
    """Return the record's key: the person, where the map names exactly one; else a digest of the body."""
    vendor = MAPS.get(inbound.vendor)
    subjects: set[str] = set()
    if vendor is not None:
        try:
            subjects = {event.subject for event in vendor(inbound, source).events}
        except Exception:  # noqa: BLE001 (whatever a map cannot read: the mapper reports it, and the webhook is kept)
            subjects = set()
    if len(subjects) == 1:
        return subjects.pop().encode(errors="replace")
    return f"{inbound.source}:{hashlib.blake2b(inbound.body, digest_size=12).hexdigest()}".encode()


class _ZoomPayload(msgspec.Struct):
    plainToken: str


class _ZoomCall(msgspec.Struct):
    event: str
    payload: _ZoomPayload


_zoom_call: Final = msgspec.json.Decoder(_ZoomCall).decode


def _zoom_validation(signed: Signed, secret: str) -> web.Response | None:
    """Answer `endpoint.url_validation`, which Zoom sends again every 72 hours; `None` for an event."""
    if b"endpoint.url_validation" not in signed.body:
        return None
    try:
        call = _zoom_call(signed.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if call.event != "endpoint.url_validation":
        return None
    token = call.payload.plainToken
    encrypted = hmac.digest(secret.encode(), token.encode(errors="surrogatepass"), hashlib.sha256).hex()
    return web.Response(
        body=msgspec.json.encode({"plainToken": token, "encryptedToken": encrypted}), content_type="application/json"
    )
