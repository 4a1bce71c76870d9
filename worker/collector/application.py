"""The HTTP application: endpoints, health, and one place where every request is counted."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.collector import events, inbox, pixel, segment, unsubscribe
from worker.collector.answers import Answer
from worker.collector.collector import Collector
from worker.logs import fields

log = logging.getLogger(__name__)
access = logging.getLogger("leadpulse.access")

Routes = Callable[[Collector], Sequence[web.AbstractRouteDef]]

ENDPOINTS: Final[tuple[Routes, ...]] = (inbox.routes, events.routes, segment.routes, pixel.routes, unsubscribe.routes)
"""What a collector answers, beside health."""

_LABELS: Final = (
    ("/in/", "inbound"),
    ("/v1/events", "events"),
    ("/v1/", "segment"),
    ("/lp/unsubscribe/", "unsubscribe"),
    ("/lp/", "pixel"),
)

_SECURITY: Final = {"X-Content-Type-Options": "nosniff"}


def application(collector: Collector, endpoints: Sequence[Routes] = ENDPOINTS) -> web.Application:
    """Return the application of *collector*."""
    app = web.Application(middlewares=[_counted(collector)], client_max_size=0)
    app.add_routes(_health(collector))
    for endpoint in endpoints:
        app.add_routes(endpoint(collector))
    return app


def _health(collector: Collector) -> list[web.RouteDef]:
    described = document()

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        held = {"ready": collector.ready, "kafka": not collector.promise.stalled, "draining": collector.draining}
        return web.json_response(held, status=200 if collector.ready else 503)

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/v1/openapi.json", openapi)]


@functools.cache
def document() -> bytes:
    """Return the OpenAPI document of these endpoints, as `python -m schemas` wrote it."""
    return (resources.files("schemas") / "openapi.json").read_bytes()


def _counted(collector: Collector) -> Any:
    """Return the middleware that counts answers. An unexpected error is logged and answered with 500."""
    counters: dict[tuple[str, int], tuple[Any, Any]] = {}

    def count(label: str, status: int, seconds: float) -> None:
        found = counters.get((label, status))
        if found is None:
            metrics = collector.metrics
            found = metrics.requests.labels(label, str(status)), metrics.request_seconds.labels(label)
            counters[label, status] = found
        found[0].inc()
        found[1].observe(seconds)

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        began = time.perf_counter()
        label = _label(request.path)
        try:
            response: web.StreamResponse = await handler(request)
        except Answer as answer:
            response = answer.response()
            if answer.status == 413:
                collector.metrics.too_large.labels(label).inc()
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n", headers=_allow(error))
        except Exception:
            log.exception("a request failed", extra=fields("collector.failed", endpoint=label))
            response = web.Response(status=500, text="a fault of the collector: send it again\n")
        response.headers.update(_SECURITY)
        count(label, response.status, time.perf_counter() - began)
        return response

    return middleware


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def _label(path: str) -> str:
    for prefix, label in _LABELS:
        if path.startswith(prefix):
            return label
    return "other"


def metrics_pages(collector: Collector) -> web.Application:
    """Return the application of the metrics port. It has health too, since a process that only maps has no other port."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(collector.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([*_health(collector), web.get("/metrics", metrics)])
    return app


class AccessLog(AbstractAccessLogger):
    """One line a request, without its query, its headers and its address: those hold secrets and people."""

    @property
    def enabled(self) -> bool:
        """Whether the lines are wanted."""
        return access.isEnabledFor(logging.DEBUG)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log one request."""
        access.debug("%s %s %d %.1f ms", request.method, request.path[:200], response.status, time * 1000)
