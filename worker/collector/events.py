"""`POST /v1/events`: CloudEvents over HTTP, one by one or in batches. A batch is taken whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from worker.collector.answers import Answer, come_again, problem, read_body
from worker.collector.collector import Collector
from worker.core.contract.codec import decode
from worker.core.contract.model import Output, Record, Rejected, Tombstone, Unknown
from worker.intake.routes import CONTENT_TYPE, topic_of

BATCH: Final = "application/cloudevents-batch+json"
STRUCTURED: Final = ("application/cloudevents+json", "application/json")
MOST_EVENTS: Final = 1_000
_NAMED: Final = 100
"""Most mistakes that one answer names."""

_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}

_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any: Final = msgspec.json.Decoder().decode


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the route of `/v1/events`."""
    return [web.post("/v1/events", Events(collector).take)]


class Events:
    """Takes CloudEvents of systems with a bearer token."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._events = collector.metrics.events.labels("events")
        self._unknown = collector.metrics.unknown_types.labels("events")

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request: 200 once Kafka has all of its events."""
        collector = self._collector
        if not collector.has_token(request.headers.get("Authorization", "")):
            return problem(401, "a bearer token of `tokens` is needed", headers={"WWW-Authenticate": "Bearer"})
        with collector.promise.room() as room:
            try:
                body = await read_body(request, room)
            except Answer as answer:
                return problem(answer.status, answer.words.strip(), headers=answer.headers)
            values, fault = events_of(body, request.content_type, request.headers)
            if fault:
                return problem(400, fault, [])
            records, errors, unknown = checked(values, collector.now_ms())
            if errors:
                return problem(400, f"{len(errors)} of {len(values)} events are refused, and none was taken", errors[:_NAMED])
            if not await collector.promise.keep(records):
                later = come_again()
                return problem(later.status, "Kafka does not take events now: send them again", headers=later.headers)
        self._events.inc(len(records))
        self._unknown.inc(unknown)
        return web.Response(body=b'{"taken": %d}' % len(records), headers=_JSON)


def events_of(body: bytes, content_type: str, headers: Mapping[str, str]) -> tuple[list[bytes], str]:
    """Return the events in *body*, each as a structured CloudEvent, and what is wrong with the request as a whole."""
    content_type = content_type.lower()
    if content_type == BATCH:
        try:
            held = [bytes(one) for one in _raw_list(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [], f"the body is no JSON list: {error}"
        return held, "" if len(held) <= MOST_EVENTS else f"{len(held)} events: send at most {MOST_EVENTS} at once"
    if content_type == STRUCTURED[0]:  # whatever headers stand beside it: the media type decides, as CloudEvents says
        return [body], ""
    if "ce-specversion" in headers:
        return _binary(body, content_type, headers)
    if content_type == STRUCTURED[1]:
        return [body], ""
    return [], f"content type {content_type[:100]!r}: write one of {', '.join((STRUCTURED[0], BATCH))}, or send ce-… headers"


def _binary(body: bytes, content_type: str, headers: Mapping[str, str]) -> tuple[list[bytes], str]:
    held: dict[str, Any] = {
        name[3:].lower(): value.encode(errors="replace").decode()
        for name, value in headers.items()
        if name.lower().startswith("ce-")
    }
    if body:
        if content_type != "application/json" and not content_type.endswith("+json"):
            return [], f"content type {content_type[:100]!r} of the data: send application/json"
        try:
            held["data"] = _any(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [], f"the data is not JSON: {error}"
    try:
        return [msgspec.json.encode(held)], ""
    except (ValueError, TypeError, RecursionError, UnicodeEncodeError) as error:
        return [], f"the event cannot be written: {error}"


def checked(values: list[bytes], now_ms: int) -> tuple[list[Output], list[dict[str, Any]], int]:
    """Return the records of good events, the mistakes by place, and the number of unknown types.

    The worker's own decoder judges, so what is taken here is never a dead letter there.
    """
    records: list[Output] = []
    errors: list[dict[str, Any]] = []
    unknown = 0
    for place, value in enumerate(values):
        found = decode(Record("", 0, 0, now_ms, None, value, ()))
        if isinstance(found, Rejected):
            errors.append({"index": place, "reason": found.reason, "detail": found.detail[:500]})
            continue
        assert not isinstance(found, Tombstone), "a value is there"
        unknown += isinstance(found, Unknown)
        records.append(Output(topic_of(found.type), found.lead.encode(), value, CONTENT_TYPE))
    return records, errors, unknown
