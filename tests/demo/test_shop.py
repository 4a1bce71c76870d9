"""The demo's web site: a page with the pixel under one host with the collector, and visitors who use it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from tests.kit.browser import chromium
from tests.kit.collected import Served, served
from tests.kit.waits import until
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.demo.browsers import Browser, visit_on
from worker.demo.shop import COOKIE, Shop
from worker.demo.signing import Secrets, connections_of


@asynccontextmanager
async def a_shop() -> AsyncIterator[tuple[Shop, Served, list[str]]]:
    """Serve a shop with its collector; also give the visitors that the page asked about."""
    port, asked = unused_port(), list[str]()

    async def standing(visitor: str) -> Any:
        asked.append(visitor)
        return {"lead_id": visitor, "score": 12.5, "stage": "contact", "reasons": ["+12.5 pricing-page"]}

    text, _ = connections_of(f"http://127.0.0.1:{port}")
    async with served(text.decode(), Secrets().environment, now_ms=None) as collector:
        shop = Shop(str(collector.client.make_url("")).rstrip("/"), port, standing)
        await shop.open()
        try:
            yield shop, collector, asked
        finally:
            await shop.close()


def kept(collector: Served) -> list[Event]:
    """Return the events that Kafka has."""
    found = [decode(Record("", 0, 0, 2**42, None, one.value)) for one in collector.log.records]
    return [one for one in found if isinstance(one, Event)]


async def test_a_simulated_browser_is_one_visitor_whom_an_address_names() -> None:
    """The cookie of the first beacon makes the others the same visitor's. No view is a machine's."""
    async with a_shop() as (shop, collector, _), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        browser = Browser(session, shop.address, random.Random(1))
        for path in ("/", "/pricing"):
            await browser.load(path)
            await browser.view(path, 40.0)
        await browser.ask("ada@lumen.example")
        home, pricing, link, demo = kept(collector)
        assert [one.type for one in (home, pricing, link, demo)] == [
            "page.viewed", "page.viewed", "lead.identified", "demo.requested",
        ]  # fmt: skip
        assert home.lead == pricing.lead == demo.lead == link.data["anonymous_id"]
        assert link.lead == "email:ada@lumen.example"
        assert pricing.data["duration_s"] == 40.0
        assert "machine" not in pricing.data


async def test_visitors_keep_coming() -> None:
    """The first one asks for a demo, so that even a short demo shows what becomes of a visit."""
    async with a_shop() as (shop, collector, _):
        visits = asyncio.create_task(visit_on(shop.address, seed=7))
        await until(lambda: len({one.lead for one in kept(collector) if one.lead.startswith("visitor:")}) > 1, "two visitors")
        visits.cancel()
        assert "demo.requested" in {one.type for one in kept(collector)}


async def test_a_collector_that_is_gone_is_answered_for_with_come_again() -> None:
    """The pixel keeps its events then."""
    shop = Shop(f"http://127.0.0.1:{unused_port()}", unused_port(), lambda _: asyncio.sleep(0))
    await shop.open()
    try:
        async with aiohttp.ClientSession() as session, session.post(f"{shop.address}/lp/www/e", data="{}") as answer:
            assert answer.status == 503
    finally:
        await shop.close()


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_person_visits_the_page(agrees: bool) -> None:
    """In Chromium. With consent the visit is counted and shown, and a form names the visitor. Without it nothing is sent."""
    async with chromium() as browser, a_shop() as (shop, collector, asked):
        context = await browser.new_context()
        await context.add_init_script("Object.defineProperty(navigator, 'webdriver', {get: () => false})")
        page = await context.new_page()
        complaints = list[str]()
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: complaints.append(str(one)))
        await page.goto(f"{shop.address}/pricing")
        await page.wait_for_function("lp.on")
        await page.click("#yes" if agrees else "#no")
        await page.click("text=Demo")
        await page.wait_for_function("lp.on")
        assert not await page.is_visible("#consent")
        await page.fill("input", "ada@lumen.example")
        await page.click("text=Request a demo")
        if agrees:
            await until(lambda: len(kept(collector)) >= 3, "view, link and form")
            assert {one.type for one in kept(collector)} == {"page.viewed", "lead.identified", "demo.requested"}
            (cookie,) = [one for one in await context.cookies() if one["name"] == COOKIE]
            assert cookie["httpOnly"]
            await page.wait_for_function("document.getElementById('you').textContent.includes('score 12.5')")
            assert asked[-1] == f"visitor:{cookie['value'].partition('.')[0]}"
        else:
            await page.goto(f"{shop.address}/")
            await page.wait_for_function("lp.on")
            assert kept(collector) == []
            assert await context.cookies() == []
        assert complaints == []
        await context.close()
