"""The OpenAPI document is true of the running collector: requests are made of it, and each answer is held to it."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry
from schemathesis.specs.openapi.definitions import OPENAPI_31

from schemas.documents import HERE
from tests.kit.collected import Fetched, Log, served
from worker.collector.application import application, document
from worker.collector.collector import Collector
from worker.collector.metrics import CollectorMetrics
from worker.collector.promise import Promise
from worker.collector.segment import KINDS
from worker.connections.file import parse_connections
from worker.connections.unsubscribe import keys, made

FILE: Final = """\
public_url: https://in.example.com
tokens: ["${TOKEN}"]
unsubscribe: ["${SECRET}"]
sites:
  www: {origins: ["https://www.example.com"], write_key: "${WRITE}", identify: ["${SECRET}"]}
sources:
  tool: {vendor: typeform, secrets: ["${SECRET}"]}
  server: {vendor: segment, secrets: ["${SECRET}"]}
"""
SECRETS: Final = {"TOKEN": "t0ken", "WRITE": "w", "SECRET": "server-key"}

DOCUMENT: Final[dict[str, Any]] = json.loads(document())


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, requests.Session]]:
    """Serve a collector from another thread, as `requests` waits in this one."""
    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        async with served(FILE, SECRETS) as collector:
            found.append(str(collector.client.make_url("")).rstrip("/"))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    with requests.Session() as session:
        yield found[0], session
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


def test_the_document_is_valid() -> None:
    """By OpenAPI's own schema."""
    Draft202012Validator(OPENAPI_31).validate(DOCUMENT)


CONFIGURED: Final = {
    "site": ["www"],
    "name": ["tool", "server"],
    "token": [made(keys(parse_connections(FILE.encode(), ""), SECRETS)[0], "lead-42", "x")],
}
"""Names that FILE has. Made-up ones would all be answered with 404."""

SERVER: Final = f"Basic {b64encode(b'server-key:').decode()}"
CALLERS: Final = {"/v1/events": "Bearer t0ken"} | {f"/v1/{kind}": SERVER for kind in KINDS}


FEW: Final = ("PageViewed", "WebinarAttended", "ProfileUpdated", "Custom", "OtherEvent")
"""Types of events. All of them would be 6,000 requests in half a minute; `tests/schemas` has the others."""

ALIKE: Final = ("/v1/page", "/v1/identify", "/v1/group", "/v1/alias")
"""Paths with the handler of `/v1/track`."""

BEYOND: Final = ("too_large", "too_deep", "bad_number", "bad_time")
"""Reasons that a schema cannot say: the document's words do."""


def narrowed(described: dict[str, Any]) -> dict[str, Any]:
    """Return *described* with the names of FILE in its paths, few types of events, and one of paths that are alike."""
    held: dict[str, Any] = json.loads(json.dumps(described))
    held["paths"] = {name: path for name, path in held["paths"].items() if name not in ALIKE}
    for path in held["paths"].values():
        for parameter in path.get("parameters", []):
            parameter["schema"]["enum"] = CONFIGURED[parameter["name"]]
    schemas = held["components"]["schemas"]
    schemas["Event"]["anyOf"] = [{"$ref": f"#/components/schemas/{name}"} for name in FEW]
    types = [schemas[name]["properties"]["type"].get("const") for name in FEW]
    schemas["OtherEvent"]["properties"]["type"]["not"]["anyOf"][0]["enum"] = [name for name in types if name is not None]
    return held


def is_beyond(response: schemathesis.Response) -> bool:
    """Return whether an answer refuses events for what a schema cannot say."""
    if response.status_code != 400 or "json" not in response.headers["content-type"][0]:
        return False
    return bool(errors := response.json().get("errors")) and all(one.get("reason") in BEYOND for one in errors)


def test_every_path_is_described_and_every_described_path_answers() -> None:
    """But for preflights, and the looks of vendors whether an address is there."""
    metrics = CollectorMetrics(CollectorRegistry())
    found = parse_connections(FILE.encode(), "connections.yaml")
    collector = Collector(found, SECRETS, Promise(Log(), 1, metrics), metrics, Fetched().fetch)
    routes = {
        (route.resource.canonical, "POST" if route.method == "*" else route.method)
        for route in application(collector).router.routes()
        if route.resource is not None and route.method not in ("OPTIONS", "HEAD")
    }
    described = {
        (path, method.upper()) for path, held in DOCUMENT["paths"].items() for method in held if method != "parameters"
    }
    assert described == routes


async def test_the_collector_serves_the_document() -> None:
    """As the file that stands beside the other schemas."""
    async with served(FILE, SECRETS) as collector:
        answer = await collector.client.get("/v1/openapi.json")
        assert answer.content_type == "application/json"
        assert await answer.read() == (HERE / "openapi.json").read_bytes()


REFUSALS: Final = [400, 401, 403, 404, 405, 408, 413]
config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
schema = schemathesis.openapi.from_dict(narrowed(DOCUMENT), config=config)
accepted: Any = next(check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ == "positive_data_acceptance")


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: schemathesis.Case[Any], server: tuple[str, requests.Session]) -> None:
    """Valid requests, wrong ones, without a token, by other methods."""
    headers = {"Authorization": CALLERS[case.path]} if case.path in CALLERS else {}
    # Elsewhere the document cannot say what is valid: JSON is an event, or with `ce-…` headers its data. Vendors sign.
    judged = case.path == "/v1/events" and case.media_type != "application/json"
    address, session = server
    response = case.call(address, session, headers)
    case.validate_response(response, excluded_checks=[] if judged and not is_beyond(response) else [accepted])
