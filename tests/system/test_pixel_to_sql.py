"""A visitor on a page with the pixel becomes a `lead.sql`: a real browser, collector, broker, Redis and worker."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from tests.kit.browser import chromium
from tests.kit.collectors import EVENTS, PARTITIONS, Park, park_of
from tests.kit.services import Kafka, Redis, needed
from tests.kit.site import Site
from tests.kit.waits import until
from worker.core.contract.model import Record
from worker.presets import grid_path

log = logging.getLogger(__name__)

PAGE = """<!doctype html><title>Shop</title>
<script>window.lp=window.lp||function(){(lp.q=lp.q||[]).push(arguments)}</script>
<script async src="COLLECTOR/lp/www/lp.js" data-test></script>
<form onsubmit="lp('track', 'demo.requested', {form_id: 'demo', fields: {email: this.email.value}}); return false">
<input name="email"><button>Book a demo</button></form>"""


@pytest.fixture
def own_broker() -> Iterator[Kafka]:
    """Start a broker for one test, since the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


def configure(park: Park, connections: str) -> None:
    """Write the file of connections that the collectors read."""
    Path(park.environ["LEADPULSE_CONNECTIONS"]).write_text(connections)


async def test_a_page_becomes_a_lead_sql(own_broker: Kafka, own_redis: Redis, tmp_path: Path) -> None:
    """The address of the form names the lead. The page seen before and the demo that the visitor asked for count for it."""
    port = unused_port()
    given = {"input_topics": ",".join(EVENTS), "partitions": PARTITIONS, "clock": "wall"}
    site = Site(own_broker.address, own_redis.url, "pixel", tmp_path, **given)
    site.put_grid(grid_path("saas-b2b").read_text())

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE.replace("COLLECTOR", f"http://127.0.0.1:{collector.port}"), content_type="text/html")

    shop = web.Application()
    shop.router.add_get("/{any:.*}", page)
    async with (
        chromium() as browser,
        park_of(own_broker.address, own_redis.url, tmp_path) as park,
        TestServer(shop, port=port) as pages,
    ):
        origin = str(pages.make_url("")).rstrip("/")
        configure(park, f'sites:\n  www: {{origins: ["{origin}"], consent: required}}\n')
        await site.prepare()
        try:
            collector = park.collector("http")
            await site.worker().ready(PARTITIONS)
            await collector.ready()
            context = await browser.new_context()
            visit = await context.new_page()
            await visit.goto(f"{origin}/pricing?utm_source=news")
            await visit.wait_for_function("lp.on")
            await visit.evaluate("lp('consent', true)")
            await visit.goto(f"{origin}/demo")

            async def the_first_view() -> bool:
                return bool(await park.read(["lead.events.web"]))

            await until(the_first_view, "the view of the page before, which its beacon brings")
            await visit.fill("input", "zoe@acme.example")
            clicked_s = time.time()
            await visit.click("button")

            async def of_the_address() -> list[Record]:
                found = [one for one in await site.outputs() if one.topic.endswith("lead.sql")]
                return [one for one in found if json.loads(one.value or b"")["subject"] == "email:zoe@acme.example"]

            await until(of_the_address, "a lead.sql of the address")
            (record,) = await of_the_address()
            assert record.timestamp_ms is not None
            log.info("lead.sql was in Kafka %.0f ms after the click", record.timestamp_ms - clicked_s * 1000)
            sent = {json.loads(one.value or b"")["subject"] for one in await site.outputs() if one.topic.endswith("lead.sql")}
            log.info("%d ids had a lead.sql: one unless the worker lagged behind the link", len(sent))
            reasons = {one.get("id") for one in json.loads(record.value or b"")["data"]["reasons"]}
            assert {"demo", "pricing-page"} <= reasons
        finally:
            site.close()
