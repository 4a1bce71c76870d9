"""`/lp/SITE/`: the pixel's script, its beacons, and the image for pages without script.

The server sets the visitor's cookie, and scripts cannot read it. Browsers keep a script's cookie for seven days at most.
Without consent there is no cookie and no id. The address of the visitor is not kept.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
import uuid
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from worker.collector.answers import Answer, come_again, read_body
from worker.collector.collector import Collector
from worker.collector.promise import ANSWER_S
from worker.connections.identify import lead_of
from worker.connections.models import Site
from worker.core.contract.model import Output
from worker.intake.access_log import is_machine
from worker.intake.pixel import Beacon, Sent, address_of, beacon_of, events_of, is_visitor, linked
from worker.intake.routes import CONTENT_TYPE, topic_of
from worker.intake.vendors.common import NewEvent, cloud_event, profile

COOKIE: Final = "lp_visitor"
COOKIE_S: Final = 395 * 86_400
"""Thirteen months, the longest that data protection authorities accept."""
MOST_BYTES: Final = 65_536
"""Longest beacon: what browsers let a closing page send."""
LINK_FIRST_S: Final = 0.5
"""What a visitor with a new link did follows the link after this time. A worker publishes ten times a second."""
_GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
_UNKNOWN_SITE: Final = "no such site\n"


def routes(collector: Collector) -> list[web.RouteDef]:
    """Return the routes of the pixel."""
    pixel = Pixel(collector)
    return [
        web.get("/lp/{site}/lp.js", pixel.script),
        web.post("/lp/{site}/e", pixel.take),
        web.options("/lp/{site}/e", pixel.allow),
        web.get("/lp/{site}/e.gif", pixel.image),
    ]


class Pixel:
    """Takes what the pixel of the configured sites sends."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def script(self, request: web.Request) -> web.StreamResponse:
        """Answer with the script, made for the site."""
        _, site = self._site(request)
        body, tag = script_of(site.consent == "required", site.respect_dnt)
        headers = {
            "Cache-Control": "public, max-age=3600",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "ETag": tag,
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, content_type="text/javascript", charset="utf-8", headers=headers)

    async def allow(self, request: web.Request) -> web.StreamResponse:
        """Answer a browser that asks whether it may send."""
        _, site = self._site(request)
        headers = self._origin(request, site)
        more = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "content-type"}
        return web.Response(status=204, headers=headers | more | {"Access-Control-Max-Age": "86400"})

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer a beacon: 200 once Kafka has its events."""
        name, site = self._site(request)
        headers = self._origin(request, site)
        with self._collector.promise.room() as room:
            body = await read_body(request, room, MOST_BYTES)
            try:
                beacon = beacon_of(body)
            except ValueError as error:
                raise Answer(400, f"{error}\n", headers) from error
            response = web.Response(headers=headers)
            if beacon.forget:
                response.del_cookie(
                    COOKIE, domain=site.cookie_domain, path="/", secure=True, httponly=True, samesite="Lax"
                )  # fmt: skip
                return response
            if reason := refusal(request, site, consent=beacon.consent):
                self._dropped(name, reason, len(beacon.events))
                return response
            visitor, known = visitor_of(request, beacon.visitor)
            if not self._collector.rates.allow(request, self._collector.now_ms(), visitor):
                self._dropped(name, "rate", len(beacon.events))
                return response
            links, events, link = self._events(request, name, site, beacon, visitor, known)
            await self._keep(name, links, events, headers)
        response.set_cookie(
            COOKIE, f"{visitor}.{link}" if link else visitor, max_age=COOKIE_S, domain=site.cookie_domain, path="/",
            secure=True, httponly=True, samesite="Lax",
        )  # fmt: skip
        return response

    async def image(self, request: web.Request) -> web.StreamResponse:
        """Answer with the image. A visitor who agreed before has a cookie; any other view is counted alone."""
        name, site = self._site(request)
        response = web.Response(body=_GIF, content_type="image/gif", headers={"Cache-Control": "no-store"})
        referrer = request.headers.get("Referer", "")
        if referrer and _origin_of(referrer) not in site.origins:
            raise Answer(403, "another site's page\n")
        visitor, known = visitor_of(request)
        reason = refusal(request, site, consent=True) or ("" if known is not None else "no_id")
        if not reason and not self._collector.rates.allow(request, self._collector.now_ms(), visitor):
            reason = "rate"
        if reason:
            self._dropped(name, reason, 1)
            return response
        url = request.query.get("u") or referrer
        beacon = Beacon(events=[Sent(str(uuid.uuid4()), "page.viewed", 0, {"url": url, "referrer": request.query.get("r")})])
        events, dropped = events_of(beacon, visitor, (), self._collector.now_ms(), machine=_machine(request))
        self._count(name, dropped)
        await self._keep(name, [], events, {})
        return response

    def _site(self, request: web.Request) -> tuple[str, Site]:
        name = request.match_info["site"]
        site = self._collector.connections.sites.get(name)
        if site is None:
            raise Answer(404, _UNKNOWN_SITE)
        return name, site

    def _origin(self, request: web.Request, site: Site) -> dict[str, str]:
        """Return the headers for a page of the site. Raises `Answer` for another site's page."""
        origin = request.headers.get("Origin", "").lower()
        if not origin:
            return {}
        if origin not in site.origins:
            raise Answer(403, "another site's page\n")
        return {
            "Access-Control-Allow-Origin": request.headers["Origin"],
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    def _events(
        self, request: web.Request, name: str, site: Site, beacon: Beacon, visitor: str, known: str | None
    ) -> tuple[list[NewEvent], list[NewEvent], str]:
        """Return new links, the events of *beacon*, and the mark of the lead that the visitor is linked to; empty for none."""
        now_ms = self._collector.now_ms()
        links: list[NewEvent] = []
        events, dropped = events_of(beacon, visitor, site.custom, now_ms, machine=_machine(request))
        link = known or ""
        lead = lead_of(beacon.identify, name, self._collector.identify[name], now_ms / 1000) if beacon.identify else None
        if beacon.identify and lead is None:
            dropped["token"] += 1
        for candidate in (lead, address_of(beacon)):
            if candidate is None:
                continue
            if link and link != mark(candidate):
                dropped["linked"] += 1  # a forwarded mail, a colleague's address: it merges nobody
                continue
            if not link:
                links.append(linked(candidate, visitor, f"{visitor}:{mark(candidate)}", now_ms))
            link = mark(candidate)
        if lead is not None and link == mark(lead) and beacon.traits:
            digest = hashlib.blake2b(msgspec.json.encode(beacon.traits), digest_size=8).hexdigest()
            events += profile(lead, f"{visitor}:{digest}", now_ms, beacon.traits)
        self._count(name, dropped)
        return links, events, link

    async def _keep(self, name: str, links: list[NewEvent], events: list[NewEvent], headers: dict[str, str]) -> None:
        """Put events into Kafka, those of a visitor with new *links* a moment after these. Raises `Answer` without Kafka.

        A link is for another partition than what the visitor did. A worker that does not lag knows it by then, so the visitor
        who asks for a demo has one `lead.sql`, under the address. One that lags publishes a second one.
        """
        began = time.monotonic()
        if links and events:
            await self._put(name, links, headers, ANSWER_S - LINK_FIRST_S)
            await asyncio.sleep(LINK_FIRST_S)
            links = []
        await self._put(name, [*links, *events], headers, max(0.0, began + ANSWER_S - time.monotonic()))

    async def _put(self, name: str, events: list[NewEvent], headers: dict[str, str], within_s: float) -> None:
        records = [
            Output(topic_of(one.type), one.subject.encode(), cloud_event(one, name, "/lp/"), CONTENT_TYPE) for one in events
        ]
        if not await self._collector.promise.keep(records, within_s):
            again = come_again()
            raise Answer(again.status, again.words, headers | again.headers)
        self._collector.metrics.events.labels("pixel").inc(len(records))

    def _dropped(self, site: str, reason: str, count: int) -> None:
        self._collector.metrics.pixel_dropped.labels(site, reason).inc(count)

    def _count(self, site: str, dropped: Any) -> None:
        for reason, count in dropped.items():
            self._dropped(site, reason, count)


def refusal(request: web.Request, site: Site, *, consent: bool) -> str:
    """Return why nothing of this visitor may be kept; empty where it may."""
    if request.headers.get("Sec-GPC") == "1":
        return "gpc"
    if site.respect_dnt and request.headers.get("DNT") == "1":
        return "dnt"
    return "" if consent or site.consent == "given" else "no_consent"


def visitor_of(request: web.Request, proposed: str = "") -> tuple[str, str | None]:
    """Return the visitor's id and the mark of the linked lead: empty for none, `None` for a new visitor.

    A new visitor gets the id that the page proposes, so two beacons that cross before the first cookie are one visitor.
    """
    visitor, _, link = request.cookies.get(COOKIE, "").partition(".")
    if is_visitor(visitor):
        return visitor, link[:16]
    return (proposed if is_visitor(proposed) else str(uuid.uuid4())), None


def mark(lead: str) -> str:
    """Return what a cookie holds in place of the lead's id."""
    return hashlib.blake2b(lead.encode(), digest_size=8).hexdigest()


def _machine(request: web.Request) -> bool:
    return is_machine(request.headers.get("User-Agent", ""))


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


@cache
def script_of(consent_required: bool, respect_dnt: bool) -> tuple[bytes, str]:
    """Return the script for a site with these settings, and its entity tag."""
    text = (resources.files("worker.collector") / "static" / "lp.js").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    short = "\n".join(line for line in lines if line and not line.startswith("//"))
    body = short.replace("CONSENT_REQUIRED", str(consent_required).lower()).replace("RESPECT_DNT", str(respect_dnt).lower())
    return body.encode(), f'"{hashlib.blake2b(body.encode(), digest_size=12).hexdigest()}"'
