"""Visitors of the demo's page, today: their browsers load the script, and send what the pixel sends."""

from __future__ import annotations

import asyncio
import random
import time
from http.cookies import SimpleCookie
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec

from worker.demo.programs import ProgramFailed

USER_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_EVERY_S: Final = 2.0
_AGAIN_S: Final = 0.2
_PAGES: Final = ("/", "/product/scoring", "/customers", "/pricing")
_NAMES: Final = ("ada", "grace", "alan", "edsger", "barbara", "donald", "frances", "tony")
_HOSTS: Final = ("lumen-labs", "harbour-works", "nordvik-group", "ostara-digital")
_ASKS: Final = 0.4
"""Share of visitors who ask for a demo."""


class Browser:
    """The browser of one visitor who agreed. It keeps the server's cookie, as scripts cannot."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, rnd: random.Random) -> None:
        self._session = session
        self._origin = origin
        self._rnd = rnd
        self._proposed = self._id()
        self._cookie = ""
        self._visit = self._id()

    def _id(self) -> str:
        return str(UUID(int=self._rnd.getrandbits(128), version=4))

    async def load(self, path: str) -> None:
        """Load a page and the pixel's script. Raises `ProgramFailed`."""
        for address in (path, "/lp/www/lp.js"):
            await self._ask("GET", address, self._headers())

    async def view(self, path: str, seconds: float) -> None:
        """Send that a page was read for so many *seconds*."""
        await self._beacon("page.viewed", {"url": self._origin + path, "duration_s": seconds}, ago_ms=round(seconds * 1000))

    async def ask(self, address: str) -> None:
        """Send the form for a demo, with an e-mail address."""
        await self._beacon("demo.requested", {"form_id": "demo", "fields": {"email": address}})

    async def _beacon(self, type_: str, data: dict[str, Any], ago_ms: int = 0) -> None:
        now_ms = time.time_ns() // 1_000_000
        event = {"id": self._id(), "type": type_, "at": now_ms - ago_ms, "data": data | {"session_id": self._visit}}
        body = msgspec.json.encode({"sent": now_ms, "consent": True, "visitor": self._proposed, "events": [event]})
        headers = self._headers() | {"Content-Type": "text/plain;charset=UTF-8", "Origin": self._origin}
        self._keep(await self._ask("POST", "/lp/www/e", headers, body))

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> str:
        """Return the cookie of an answer of 200. Ask again while the collector cannot be reached. Raises `ProgramFailed`."""
        while True:
            async with self._session.request(method, self._origin + path, data=body, headers=headers) as answer:
                if answer.status == 200:
                    return answer.headers.get("Set-Cookie", "")
                if answer.status not in (429, 503):
                    raise ProgramFailed(f"the demo's site answers {answer.status} to {path}")
            await asyncio.sleep(_AGAIN_S)

    def _headers(self) -> dict[str, str]:
        return {"User-Agent": USER_AGENT} | ({"Cookie": self._cookie} if self._cookie else {})

    def _keep(self, text: str) -> None:
        for morsel in SimpleCookie(text).values():
            self._cookie = f"{morsel.key}={morsel.value}"


async def visit_on(origin: str, seed: int) -> None:
    """Let visitors come, one after the other, until cancelled. Some ask for a demo. Raises `ProgramFailed`."""
    rnd = random.Random(f"{seed}/browsers")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        number = 0
        while True:
            number += 1
            await _visit(Browser(session, origin, rnd), rnd, number)
            await asyncio.sleep(_EVERY_S)


async def _visit(browser: Browser, rnd: random.Random, number: int) -> None:
    for path in rnd.sample(_PAGES, rnd.randint(2, len(_PAGES))):
        await browser.load(path)
        await browser.view(path, round(rnd.uniform(5, 200), 1))
    if number == 1 or rnd.random() < _ASKS:
        await browser.load("/demo")
        await browser.ask(f"{rnd.choice(_NAMES)}.{number}@{rnd.choice(_HOSTS)}.example")
