"""Requests out: within a lease or not at all, and a lost answer told apart from a request that never went out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.kit.services import free_port
from worker.adapters.http_out import MOST_BYTES, HttpOut
from worker.errors import StoreUnavailable
from worker.sending_ports import AnswerLost, LeaseEnded, NotSent


class Server:
    """Counts requests, and answers as a test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200
        self.body = b"{}"
        self.headers: dict[str, str] = {}
        self.holds = asyncio.Event()
        self.holds.set()
        self.closes = False
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        await self.holds.wait()
        if self.closes and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Return a server that listens."""
    made = Server()
    app = web.Application(client_max_size=8 << 20)
    app.router.add_route("*", "/{tail:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    made.holds.set()
    await runner.cleanup()


@pytest.fixture
async def out() -> AsyncIterator[HttpOut]:
    """Return an open sender."""
    async with HttpOut() as made:
        yield made


@pytest.mark.parametrize("alone", [False, True])
async def test_a_request_goes_out_as_it_is(server: Server, out: HttpOut, alone: bool) -> None:
    """The path stays encoded as it was, and the body is not touched."""
    path = "/contacts/a%2Fb?term=x%2By"
    answer = await out.send("POST", server.url + path, {"X-Key": "k"}, b'{"a": 1}', within_s=20, alone=alone)
    assert (answer.status, answer.body) == (200, b"{}")
    ((method, asked, headers, body),) = server.requests
    assert (method, asked, headers["X-Key"], body) == ("POST", path, "k", b'{"a": 1}')


async def test_redirects_are_answers(server: Server, out: HttpOut) -> None:
    """Nobody is followed to another host with our secrets."""
    server.status, server.headers = 307, {"Location": "http://127.0.0.1:1/"}
    assert (await out.send("POST", server.url, {}, b"", within_s=20, alone=False)).status == 307
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(server: Server, out: HttpOut) -> None:
    """A session of one act is none of another's."""
    server.headers = {"Set-Cookie": "a=b"}
    for _ in range(2):
        await out.send("GET", server.url, {}, None, within_s=20, alone=False)
    assert "Cookie" not in server.requests[1][2]


async def test_a_long_answer_is_cut(server: Server, out: HttpOut) -> None:
    """1 MB is read, whatever the server sends."""
    server.body = b"x" * (MOST_BYTES + 5)
    assert len((await out.send("GET", server.url, {}, None, within_s=20, alone=False)).body) == MOST_BYTES


async def test_nothing_is_sent_where_nobody_listens(out: HttpOut) -> None:
    """The act may be tried again."""
    with pytest.raises(NotSent, match="cannot be reached"):
        await out.send("POST", f"http://127.0.0.1:{free_port()}/?sig=geheim", {}, b"", within_s=20, alone=True)


async def test_an_answer_that_does_not_come_is_lost(server: Server, out: HttpOut) -> None:
    """It was written, so it may have been done."""
    server.holds.clear()
    with pytest.raises(AnswerLost, match="too long"):
        await out.send("POST", server.url, {}, b"", within_s=0.5, alone=True)
    assert len(server.requests) == 1


async def test_a_connection_that_is_cut_in_mid_answer_is_lost(server: Server, out: HttpOut) -> None:
    """And an unsafe request is not repeated by the client."""
    server.closes = True
    with pytest.raises(AnswerLost):
        await out.send("POST", server.url + "/?sig=geheim", {}, b"", within_s=20, alone=True)
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_request_alone_is_never_sent_twice(server: Server, out: HttpOut, method: str) -> None:
    """Aiohttp repeats idempotent requests over a connection that was closed meanwhile. Ours has one of its own."""
    await out.send(method, server.url, {}, None, within_s=20, alone=True)
    server.closes = True
    with pytest.raises(AnswerLost):
        await out.send(method, server.url, {}, None, within_s=20, alone=True)
    assert len(server.requests) == 2


async def test_nothing_is_written_after_the_lease(out: HttpOut) -> None:
    """The connection stands only after the lease has ended: the server gets no request."""
    got: list[bytes] = []
    slow = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    real: Any = asyncio.get_running_loop().create_connection

    async def late(*given: object, **more: object) -> object:
        made = await real(*given, **more)
        time.sleep(0.3)  # noqa: ASYNC251 (the process is stopped meanwhile, as by SIGSTOP)
        slow.set()
        return made

    asyncio.get_running_loop().create_connection = late  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises((LeaseEnded, NotSent)):
            await out.send("POST", f"http://127.0.0.1:{port}/", {}, b"x", within_s=0.4, alone=True)
    finally:
        asyncio.get_running_loop().create_connection = real  # type: ignore[method-assign]
    assert slow.is_set()
    await asyncio.sleep(0.1)
    server.close()
    assert got in ([], [b""])


async def test_no_error_names_the_address(server: Server, out: HttpOut) -> None:
    """The addresses of Slack, Teams and Zapier are secrets."""
    server.closes = True
    for url in (
        f"{server.url}/?sig=geheim",
        "http://geheim.invalid/",
        f"http://127.0.0.1:{free_port()}/geheim",
        "http://[geheim",
    ):
        with pytest.raises((NotSent, AnswerLost)) as caught:
            await out.send("POST", url, {}, b"", within_s=5, alone=True)
        assert "geheim" not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_what_is_noted_before_a_request_is_noted_when_the_server_is_reached(server: Server, out: HttpOut) -> None:
    """A death before that loses no answer. Where the note fails, nothing is written, and its own error is raised."""
    noted: list[int] = []

    async def note() -> None:
        noted.append(len(server.requests))

    await out.send("POST", server.url, {}, b"x", within_s=5, alone=True, before=note)
    assert (noted, len(server.requests)) == ([0], 1)

    async def nobody() -> None:
        raise AssertionError("nothing is to be noted")

    with pytest.raises(NotSent):
        await out.send("POST", "http://127.0.0.1:9/", {}, b"x", within_s=5, alone=True, before=nobody)

    for error in (StoreUnavailable("away"), OSError("away"), ValueError("no")):

        async def fails(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            await out.send("POST", server.url, {}, b"x", within_s=5, alone=True, before=fails)
        assert raised.value is error
    assert len(server.requests) == 1
