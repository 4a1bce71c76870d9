"""The simulated company's web site: a page with the pixel, served under the same host as the collector's `/lp/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

_HEADERS: Final = (
    "accept-encoding",
    "content-type",
    "cookie",
    "origin",
    "referer",
    "user-agent",
    "sec-gpc",
    "dnt",
    "if-none-match",
)
"""Headers of a browser that the collector reads."""
_ANSWERED: Final = ("cache-control", "content-encoding", "content-type", "etag", "set-cookie", "vary")
_ANSWER_S: Final = 5.0
COOKIE: Final = "lp_visitor"

Standing = Callable[[str], Awaitable[Any]]
"""A visitor's id → what the worker holds of the lead that the visitor is, as JSON; `None` for nothing."""


class Shop:
    """Serves the pages. A browser sees one site, as it does where a proxy passes `/lp/` on."""

    def __init__(self, collector: str, port: int, standing: Standing) -> None:
        """*collector* is the collector's address, such as `http://127.0.0.1:8090`."""
        self._collector = collector
        self._port = port
        self._standing = standing
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        """The origin of the pages."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Serve."""
        self._session = aiohttp.ClientSession(
            self._collector,
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        app = web.Application()
        app.add_routes(
            [web.route("*", "/lp/{rest:.*}", self._pixel), web.get("/you", self._you), web.get("/{page:.*}", self._page)]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def close(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pixel(self, request: web.Request) -> web.Response:
        """Pass a request of the pixel on to the collector, and the answer back."""
        assert self._session is not None, "not opened"
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        body = await request.read()
        try:
            async with self._session.request(request.method, request.raw_path, data=body, headers=headers) as answer:
                passed = web.Response(status=answer.status, body=await answer.read())
                for name, value in answer.headers.items():
                    if name.lower() in _ANSWERED:
                        passed.headers.add(name, value)
                return passed
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=503, text="the collector does not answer\n")

    async def _you(self, request: web.Request) -> web.Response:
        """Answer with what the visitor's own clicks have come to."""
        visitor = request.cookies.get(COOKIE, "").partition(".")[0]
        held = await self._standing(f"visitor:{visitor}") if visitor else None
        return web.Response(body=msgspec.json.encode(held), content_type="application/json")

    async def _page(self, request: web.Request) -> web.Response:
        """Answer with the page: one for all paths."""
        if request.path == "/favicon.ico":
            return web.Response(status=204)
        return web.Response(text=page_text(), content_type="text/html")


def page_text() -> str:
    """Return the page."""
    return (resources.files("worker.demo") / "static" / "shop.html").read_text(encoding="utf-8")
