"""Segment's protocol, `/v1/{page,track,identify,group,alias,batch}`: its libraries, RudderStack's and Jitsu's, send to us."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from aiohttp import web

from worker.collector.answers import Answer, come_again, problem, read_body
from worker.collector.collector import Collector, is_one_of
from worker.connections.identify import lead_of
from worker.connections.sources import Segment
from worker.core.contract.model import Output
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake.vendors.common import Mapped, Unmapped, cloud_event
from worker.intake.vendors.registry import fault_of
from worker.intake.vendors.segment import Caller, messages_of, of_messages

KINDS: Final = ("page", "track", "identify", "group", "alias", "batch")
_AWAY: Final = 503
"""Segment's libraries send again after 5xx; their documents do not name 429."""

_NAMED: Final = 100

_any: Final = msgspec.json.Decoder().decode


class Speaker(msgspec.Struct, frozen=True):
    """Whose key came."""

    name: str
    caller: Caller
    origins: tuple[str, ...] = ()
    """Of a site: where its pages are. A server sends no `Origin`."""


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the routes of Segment's protocol."""
    held = Protocol(collector)
    made = [web.post(f"/v1/{kind}", held.taker(kind)) for kind in KINDS]
    return made + [web.options(f"/v1/{kind}", held.preflight) for kind in KINDS]


class Protocol:
    """Takes messages by a site's write key, which pages show, or by a secret of a source with `vendor: segment`."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._servers = {name: source for name, source in collector.connections.sources.items() if isinstance(source, Segment)}

    def taker(self, kind: str) -> Any:
        """Return the handler of `/v1/KIND`."""

        async def take(request: web.Request) -> web.StreamResponse:
            speaker = self._speaker(request)
            if speaker is None:
                return problem(401, "a write key is needed, as the user of basic authentication or as ?writeKey=")
            origin = request.headers.get("Origin", "").lower()
            if origin and origin not in speaker.origins:
                return problem(403, "a page of that origin may not send")
            if speaker.caller.server or self._collector.rates.allow(request, self._collector.now_ms()):
                response = await self._answer(request, kind, speaker)
            else:
                self._collector.metrics.segment_passed_over.inc()
                response = web.json_response({"success": True})
            response.headers.update(_cors(origin))
            return response

        return take

    async def preflight(self, request: web.Request) -> web.StreamResponse:
        """Answer a browser that asks whether it may send."""
        origin = request.headers.get("Origin", "").lower()
        if not any(origin in site.origins for site in self._collector.connections.sites.values()):
            return problem(403, "a page of that origin may not send")
        allowed = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "authorization, content-type"}
        return web.Response(status=204, headers=_cors(origin) | allowed | {"Access-Control-Max-Age": "3600"})

    async def _answer(self, request: web.Request, kind: str, speaker: Speaker) -> web.Response:
        collector = self._collector
        with collector.promise.room() as room:
            try:
                messages = _messages(await read_body(request, room, again=_AWAY), kind)
                found = self._mapped(messages, speaker)
            except Answer as answer:
                return problem(answer.status, answer.words.strip(), headers=answer.headers)
            except Unmapped as error:
                return problem(400, str(error), [])
            records, faults = _records(found, speaker.name if speaker.caller.server else f"site/{speaker.name}")
            if faults:
                return problem(400, "messages are refused, and none was taken", [{"detail": one} for one in faults[:_NAMED]])
            if not await collector.promise.keep(records):
                return problem(_AWAY, "Kafka does not take events now: send them again", headers=come_again(_AWAY).headers)
        collector.metrics.events.labels("segment").inc(len(records))
        collector.metrics.segment_passed_over.inc(found.passed_over.total())
        return web.json_response({"success": True})

    def _mapped(self, messages: list[dict[str, Any]], speaker: Speaker) -> Mapped:
        """Map messages. A page may prove by an identify token which lead its visitor is, each message for itself."""
        if speaker.caller.server:
            return of_messages(messages, speaker.caller)
        whole = Mapped()
        for message in messages:
            token, cleaned = _without_token(message)
            caller = speaker.caller
            if token is not None:
                secrets = self._collector.identify[speaker.name]
                lead = lead_of(token, speaker.name, secrets, self._collector.now_ms() / 1000)
                caller = msgspec.structs.replace(caller, identified=lead)
            found = of_messages([cleaned], caller)
            whole.events += found.events
            whole.refused += found.refused
            whole.passed_over += found.passed_over
        return whole

    def _speaker(self, request: web.Request) -> Speaker | None:
        key = _key(request)
        if not key:
            return None
        collector, now_ms = self._collector, self._collector.now_ms()
        for name, source in self._servers.items():
            if is_one_of(key, collector.keys[name].secrets):
                caller = Caller(
                    now_ms,
                    server=True,
                    names=source.events,
                    traits=source.traits,
                    categories=source.consent_categories,
                    repair=True,
                )
                return Speaker(name, caller)
        for held, name in collector.write_keys.items():
            if is_one_of(key, (held,)):
                site = collector.connections.sites[name]
                caller = Caller(now_ms, custom=frozenset(site.custom), categories=site.consent_categories, repair=True)
                return Speaker(name, caller, site.origins)
        return None


def _key(request: web.Request) -> str:
    """Return the write key: the user of basic authentication, or `?writeKey=`."""
    scheme, _, held = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            return b64decode(held.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            return ""
    return request.query.get("writeKey", "")


def _messages(body: bytes, kind: str) -> list[dict[str, Any]]:
    """Return the messages of a request to `/v1/KIND`. Raises `Unmapped`."""
    try:
        held = _any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unmapped(f"the body is not JSON: {error}") from error
    if not isinstance(held, dict):
        raise Unmapped("the body is no JSON object")
    if kind == "batch":
        if not isinstance(held.get("batch"), list):
            raise Unmapped("`batch` is no list of objects")
        return messages_of([held])
    return [{**held, "type": kind}]


def _records(found: Mapped, source: str) -> tuple[list[Output], list[str]]:
    """Return the records of *found*, and what is wrong with it. The worker's own decoder judges."""
    faults = list(found.refused)
    records = []
    for new in found.events:
        fault = fault_of(new, source)
        if fault is not None:
            faults.append(f"{new.type} {new.id}: {fault}"[:500])
            continue
        records.append(Output(topic_of(new.type), new.subject.encode(), cloud_event(new, source), CONTENT_TYPE))
    return records, faults


def _without_token(message: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return an identify token of `context.leadpulse` or of `?lp=` in the page's address, and the message without it."""
    found: list[str] = []

    def cleaned(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {name: cleaned(inner, (*path, name)) for name, inner in value.items() if not _is_token(path, name, inner)}
        if isinstance(value, str) and path and path[-1] in ("url", "referrer", "search"):
            return _clean_address(value, found)
        return value

    def _is_token(path: tuple[str, ...], name: str, value: Any) -> bool:
        if path == ("context",) and name == "leadpulse":
            found.extend([value] if isinstance(value, str) else [])
            return True
        return False

    kept: dict[str, Any] = {}
    for name, value in message.items():
        kept[name] = cleaned(value, (name,)) if name in ("context", "properties") else value
    return (found[0] if found else None), kept


def _clean_address(text: str, found: list[str]) -> str:
    if "lp=" not in text:
        return text
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return ""
    found.extend(value for name, value in pairs if name == "lp")
    kept = [(name, value) for name, value in pairs if name != "lp"]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _cors(origin: str) -> dict[str, str]:
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin else {}
