"""The OpenAPI 3.1 document of the collector's HTTP endpoints. Its events are those of the models."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.envelope import CloudEvent
from schemas.inputs import INPUTS, InputEvent
from schemas.plain import PlainSchema
from worker.collector.events import BATCH, MOST_EVENTS, STRUCTURED
from worker.collector.pixel import COOKIE, MOST_BYTES
from worker.collector.segment import KINDS
from worker.core.contract.codec import REASONS
from worker.core.contract.event_types import CUSTOM
from worker.intake.inbound import MAX_BODY_BYTES
from worker.intake.pixel import MOST_EVENTS as MOST_OF_A_BEACON

Schema = dict[str, Any]

_ABOUT: Final = f"""\
`leadpulse collect` takes events over HTTP and puts them into Kafka.

An answer of 200 means that Kafka has all of it, on all replicas. The same event sent twice has the same id and counts once.
After 429, 503 or no answer at all, send it again. A body has at most {MAX_BODY_BYTES:,} bytes, and may be compressed by gzip.

`/v1/events` takes CloudEvents of your own systems. The other paths of `/v1` speak Segment's protocol, for its libraries.
`/in` takes webhooks of vendors, and `/lp` is the pixel. A path that is configured never answers 404 or 410.
"""

_EVENTS: Final = f"""\
One CloudEvent comes as `{STRUCTURED[0]}`, or with its attributes in `ce-…` headers and its `data` as the body.
Many come as `{BATCH}`. A batch is taken whole or not at all.

Types that LeadPulse does not know are taken and not scored. Without `data`, an event may have it in `data_base64`.
A value has no number beyond 64 bits, no lone surrogate, and `data` of at most 32 levels. A time is from 1970 to 9998.
"""

_WEBHOOK: Final = """\
The vendor's signature over the bytes verifies it, or a shared secret: as a bearer token, as the password of basic
authentication, or as `?key=`. Segment hears 503 instead of 429. Mailchimp and Mandrill also ask by GET or HEAD.
"""

_BEACON: Final = f"""\
A beacon has at most {MOST_BYTES:,} bytes. The answer sets the cookie `{COOKIE}` where the visitor agreed.
"""

_TEXT: Final[Schema] = {"text/plain": {"schema": {"type": "string"}}}
_PROBLEM: Final[Schema] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RETRY: Final[Schema] = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}}

_MEANINGS: Final = {
    400: "The body is not valid. Nothing of it was taken.",
    401: "The token, the key or the signature does not fit.",
    403: "A page of another site.",
    404: "No such source or site is configured.",
    405: "The path takes other methods: see `Allow`.",
    408: "The body did not come within 20 seconds.",
    413: "The body is too long.",
    429: "Kafka does not take events now, or too much waits for it. Send it again.",
    503: "Kafka does not take events now, or too much waits for it. Send it again.",
}


def openapi() -> str:
    """Return the document, in JSON."""
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "LeadPulse collector",
            "version": "1.0.0",
            "summary": "Events in: your own systems, Segment's libraries, webhooks of vendors, and the pixel.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost:8090", "description": "LEADPULSE_COLLECT_HOST and LEADPULSE_COLLECT_PORT"}],
        "tags": [
            {"name": "events", "description": "CloudEvents of your own systems."},
            {"name": "segment", "description": "Segment's protocol, for libraries of Segment, RudderStack and Jitsu."},
            {"name": "webhooks", "description": "Webhooks of vendors."},
            {"name": "pixel", "description": "The script on your pages."},
            {"name": "mail", "description": "The link to unsubscribe in our mails."},
            {"name": "health", "description": "For balancers."},
        ],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _paths() -> Schema:
    made: Schema = {"/v1/events": {"post": _events()}}
    made |= {f"/v1/{kind}": {"post": _segment(kind)} for kind in KINDS}
    made["/in/{name}"] = {"parameters": [_part("name", "The source's name in `connections.yaml`.")], "post": _webhook()}
    made |= _pixel()
    made["/lp/unsubscribe/{token}"] = _unsubscribe()
    made["/v1/openapi.json"] = {"get": _get("health", "openapi", "This document.", "application/json", {"type": "object"})}
    made["/livez"] = {"get": _get("health", "livez", "The process answers.", "text/plain", {"type": "string"})}
    ready = _get("health", "readyz", "Whether requests may come here.", "application/json", _of("Ready"))
    ready["responses"]["503"] = _answer("The start-up check has not ended, or the process drains.", _json("Ready"))
    made["/readyz"] = {"get": ready}
    return made


def _events() -> Schema:
    event, meaning = _of("Event"), "An attribute, where the body is `data` alone."
    headers = [
        {"name": f"ce-{name}", "in": "header", "description": meaning, "schema": {"type": "string"}}
        for name in ("specversion", "id", "source", "type", "subject", "time")
    ]
    batch = {"type": "array", "maxItems": MOST_EVENTS, "items": event}
    return {
        "tags": ["events"],
        "operationId": "sendEvents",
        "summary": "Send CloudEvents.",
        "description": _EVENTS,
        "security": [{"token": []}],
        "parameters": headers,
        "requestBody": {
            "required": True,
            "content": {
                STRUCTURED[0]: {"schema": event},
                BATCH: {"schema": batch},
                STRUCTURED[1]: {"schema": {"description": "An event, or with `ce-…` headers its `data`."}},
            },
        },
        "responses": {
            "200": _answer("Kafka has all of them.", _json("Taken")),
            **_problems(400, 401, 408, 413, 429),
        },
    }


def _segment(kind: str) -> Schema:
    content = {"schema": _of("SegmentBatch" if kind == "batch" else "SegmentMessage")}
    return {
        "tags": ["segment"],
        "operationId": f"segment{kind.capitalize()}",
        "summary": f"Send {'messages' if kind == 'batch' else f'a message `{kind}`'}, as Segment's libraries do.",
        "description": "A site's key sends what a visitor did. A server's key also names leads and traits.",
        "security": [{"writeKey": []}, {"writeKeyInQuery": []}],
        "requestBody": {"required": True, "content": {"application/json": content, "text/plain": content}},
        "responses": {
            "200": _answer("Kafka has all that counts of it.", _json("Success")),
            **_problems(400, 401, 403, 408, 413, 503),
        },
    }  # fmt: skip


def _webhook() -> Schema:
    return {
        "tags": ["webhooks"],
        "operationId": "takeWebhook",
        "summary": "Take a webhook of a vendor.",
        "description": _WEBHOOK,
        "requestBody": {"required": True, "content": {"*/*": {"schema": {}}}},
        "responses": {
            "200": _answer("Kafka has it.", {**_TEXT, "text/xml": {"schema": {}}, "application/json": {"schema": {}}}),
            **_answers(_TEXT, 401, 404, 405, 408, 413, 429, 503),
        },
    }


def _pixel() -> Schema:
    site, script = _part("site", "The site's name in `connections.yaml`."), "text/javascript"
    take = {
        "tags": ["pixel"],
        "operationId": "takeBeacon",
        "summary": "Take what the pixel sends.",
        "description": _BEACON,
        "requestBody": {"required": True, "content": {"text/plain": {"schema": _of("Beacon")}}},
        "responses": {
            "200": _answer("Kafka has all that may be kept of it.", None),
            **_answers(_TEXT, 400, 403, 404, 408, 413, 429),
        },
    }
    image = _get("pixel", "image", "The image of a page without script.", "image/gif", {})
    image["parameters"] = [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in (("u", "The page's address."), ("r", "The address that the visitor came from."))
    ]
    image["responses"] |= _answers(_TEXT, 403, 404, 429)
    code = _get("pixel", "script", "The pixel's script, made for the site.", script, {"type": "string"})
    code["responses"] |= {"304": _answer("It has not changed.", None), **_answers(_TEXT, 404)}
    return {
        "/lp/{site}/lp.js": {"parameters": [site], "get": code},
        "/lp/{site}/e": {"parameters": [site], "post": take},
        "/lp/{site}/e.gif": {"parameters": [site], "get": image},
    }


def _unsubscribe() -> Schema:
    page: Schema = {"text/html": {"schema": {"type": "string"}}}
    broken = {"400": _answer("The token is none of ours. The page says what to do.", page)}
    ask = _get("mail", "askToUnsubscribe", "A page with a button. It changes nothing.", "text/html", {"type": "string"})
    ask["responses"] |= broken
    take = {
        "tags": ["mail"],
        "operationId": "unsubscribe",
        "summary": "Unsubscribe, as the button and mail programs do (RFC 8058).",
        "security": [],
        "responses": {"200": _answer("Kafka has it.", page), **broken, **_answers(_TEXT, 429)},
    }
    token = _part("token", "From a mail. It names the lead, encrypted, and does not expire.")
    return {"parameters": [token], "get": ask, "post": take}


def _get(tag: str, name: str, summary: str, content_type: str, schema: Schema) -> Schema:
    answer = _answer(summary, {content_type: {"schema": schema}})
    return {"tags": [tag], "operationId": name, "summary": summary, "security": [], "responses": {"200": answer}}


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": _of(name)}}


def _part(name: str, meaning: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": meaning, "schema": {"type": "string"}}


def _answer(meaning: str, content: Schema | None) -> Schema:
    return {"description": meaning} | ({"content": content} if content is not None else {})


def _answers(content: Schema, *statuses: int) -> Schema:
    made = {str(status): _answer(_MEANINGS[status], content) for status in statuses}
    for status in {"429", "503"} & set(made):
        made[status]["headers"] = _RETRY
    return made


def _problems(*statuses: int) -> Schema:
    return _answers(_PROBLEM, *statuses)


def _security() -> Schema:
    return {
        "token": {"type": "http", "scheme": "bearer", "description": "One of `tokens` in `connections.yaml`."},
        "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as the user, and no password."},
        "writeKeyInQuery": {"type": "apiKey", "in": "query", "name": "writeKey", "description": "For beacons of browsers."},
    }


def _schemas() -> Schema:
    models: list[type[CloudEvent]] = [*INPUTS.values(), InputEvent]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=PlainSchema,
    )
    made: Schema = definitions["$defs"]
    for described in made.values():
        described.get("properties", {}).pop("data_base64", None)  # either of the two, which the schema would say at length
    made["OtherEvent"] = _other(made.pop("InputEvent"))
    made.pop("InputData")
    types = [*(model.__name__ for model in INPUTS.values()), "OtherEvent"]
    made["Event"] = {"description": "A CloudEvent about one lead.", "anyOf": [_of(name) for name in types]}
    return made | _ours()


def _other(envelope: Schema) -> Schema:
    """Return the schema of events whose types are not in the table."""
    custom = INPUTS[CUSTOM].model_json_schema()["properties"]["type"]["pattern"]
    known: list[Schema] = [{"enum": [name for name in INPUTS if name != CUSTOM]}, {"pattern": custom}]
    kept = dict(envelope["properties"])
    kept["type"] = {"type": "string", "minLength": 1, "not": {"anyOf": known}}
    kept["data"] = {"description": "Any JSON."}
    return envelope | {"description": "An event of a type that LeadPulse does not score.", "properties": kept}


def _ours() -> Schema:
    mistake = {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "minimum": 0, "description": "The event's place in the batch, from 0."},
            "reason": {"enum": list(REASONS)},
            "detail": {"type": "string", "maxLength": 500},
        },
    }
    problem = {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "What is wrong, and what to do."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "errors": {"type": "array", "maxItems": 100, "items": mistake, "description": "Each bad event; the first 100."},
    }
    spoken = {
        "anonymousId": "The visitor.",
        "userId": "The lead. A server's key alone may name it.",
        "messageId": "The same when it is sent again.",
        "timestamp": "When it happened, in ISO 8601.",
        "sentAt": "When it was sent, by the same clock.",
        "event": "The name of a `track`.",
        "properties": "Facts about the event.",
        "traits": "Facts about the lead.",
        "context": "`page`, `campaign`, `userAgent`, `consent`, and an identify token as `leadpulse`.",
    }
    message = {
        "type": "object",
        "description": "A message as the Segment Spec says. Values of other types are passed over, as Segment does.",
        "properties": {name: {"description": meaning} for name, meaning in spoken.items()},
    }
    batch: Schema = {"type": "array", "items": _of("SegmentMessage")}
    parts: dict[str, tuple[Schema, str]] = {
        "sent": ({"type": "number"}, "When it was sent, in ms since 1970, by the browser's clock."),
        "consent": ({"type": "boolean"}, "Whether the visitor agreed."),
        "visitor": ({"type": "string"}, "A random id that a browser without a cookie proposes for itself."),
        "events": ({"type": "array", "maxItems": MOST_OF_A_BEACON}, "Objects with `id`, `type`, `at` and `data`."),
        "identify": ({"type": "string"}, "A token that names the visitor."),
        "traits": ({"type": "object"}, "Facts about the lead that the token names."),
        "forget": ({"type": "boolean"}, "Consent was taken back."),
    }
    beacon = {name: schema | {"description": meaning} for name, (schema, meaning) in parts.items()}
    return {
        "Problem": _object("A mistake, as RFC 9457 says.", problem, ("type", "title", "status")),
        "Taken": _object("How many events Kafka has.", {"taken": {"type": "integer", "minimum": 0}}, ("taken",)),
        "Success": _object("As Segment answers.", {"success": {"const": True}}, ("success",)),
        "Ready": _object(
            "What a balancer asks.", {name: {"type": "boolean"} for name in ("ready", "kafka", "draining")}, ("ready",)
        ),
        "SegmentMessage": message,
        "SegmentBatch": _object("Several messages.", {"batch": batch, "sentAt": {}, "context": {}}, ("batch",)),
        "Beacon": _object("What the pixel posts, as JSON in plain text: browsers then need no preflight.", beacon, ()),
    }


def _object(meaning: str, properties: Schema, required: Iterable[str]) -> Schema:
    held: Schema = {"type": "object", "description": meaning, "properties": properties}
    return held | ({"required": list(required)} if required else {})
