"""A headless Chromium, and pages with the pixel that it opens, on two origins of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.kit.collected import Served, served
from tests.kit.services import missing
from tests.kit.waits import until
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record

WITHOUT_SCRIPT = "<!doctype html><title>Shop</title><h1>Shop</h1><a href='/two'>two</a>"

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""A headless browser calls itself one, and the collector marks what it sends.

A context's own `user_agent` is not enough: the beacons of pages that close have the browser's.
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the system's Chromium. Skips the test where there is none, and fails it in CI."""
    program = shutil.which("chromium")
    if program is None:
        missing("there is no chromium on this machine")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=program,
            args=[f"--user-agent={USER_AGENT}", *(["--no-sandbox"] if os.geteuid() == 0 else [])],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        try:
            yield browser
        finally:
            await browser.close()


class Shop:
    """A shop's pages and its collector, with a browser that visits."""

    def __init__(self, browser: Browser, context: BrowserContext, collector: Served, port: int) -> None:
        self.browser = browser
        self.context = context
        self.collector = collector
        self.address = f"http://127.0.0.1:{port}"
        self.foreign = f"http://localhost:{port}"
        """The same pages under an origin that the site does not name."""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.listen(context)

    def listen(self, context: BrowserContext) -> None:
        """Note what the pages of *context* ask for and complain about."""
        context.on(
            "request", lambda one: self.requests.append(one.url) if "/lp/" in one.url and "lp.js" not in one.url else None
        )
        context.on("console", lambda one: self.complaints.append(one.text) if one.type in ("error", "warning") else None)
        context.on("weberror", lambda one: self.complaints.append(str(one.error)))

    async def visit(self, path: str = "/one", page: Page | None = None) -> Page:
        """Open *path* of the shop."""
        page = page or await self.context.new_page()
        await page.goto(self.address + path if path.startswith("/") else path)
        return page

    async def say(self, page: Page, *words: Any) -> None:
        """Call `lp` on *page*."""
        await page.evaluate("words => lp(...words)", list(words))

    async def views(self, count: int) -> list[Event]:
        """Wait until Kafka has *count* events; return them."""
        await until(lambda: len(self.collector.log.records) >= count, f"{count} events in Kafka")
        found = [decode(Record("", 0, 0, 0, None, one.value)) for one in self.collector.log.records]
        assert all(isinstance(one, Event) for one in found), found
        return [one for one in found if isinstance(one, Event)]

    async def cookies(self) -> list[Any]:
        """Return the browser's cookies."""
        return list(await self.context.cookies())

    async def stored(self, page: Page) -> dict[str, str]:
        """Return what the pages keep."""
        found: dict[str, str] = await page.evaluate("({...localStorage})")
        return found


@asynccontextmanager
async def shop(
    browser: Browser, site: str = "consent: given", attributes: str = "data-test", **context: Any
) -> AsyncIterator[Shop]:
    """Serve a shop whose site has the settings *site*, and whose script tag has *attributes*."""
    port = unused_port()
    to: list[str] = []

    async def page(request: web.Request) -> web.Response:
        if request.path == "/bare":
            return web.Response(text=WITHOUT_SCRIPT, content_type="text/html")
        frame = "<iframe src='/two'></iframe>" if request.path == "/framed" else ""
        return web.Response(
            text=f"{WITHOUT_SCRIPT}{frame}<script>window.lp=window.lp||function(){{(lp.q=lp.q||[]).push(arguments)}}</script>"
            f"<script async src='{to[0]}/lp/www/lp.js' {attributes}></script>",
            content_type="text/html",
        )

    pages = web.Application()
    pages.router.add_get("/{any:.*}", page)
    file = f'sites:\n  www: {{origins: ["http://127.0.0.1:{port}"], identify: ["${{KEY}}"], {site}}}\n'
    async with served(file, {"KEY": "s3cret"}) as collector, TestServer(pages, port=port):
        to.append(str(collector.client.make_url("")).rstrip("/"))
        opened = await browser.new_context(**context)
        yield Shop(browser, opened, collector, port)
        await opened.close()


async def closed(page: Page) -> None:
    """Close *page* as its visitor would, and wait until it is gone: `run_before_unload` does not wait."""
    await page.close(run_before_unload=True)
    if not page.is_closed():
        await page.wait_for_event("close")
