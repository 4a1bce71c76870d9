"""The base of all mock vendors: routes, recorded requests, scripted behaviours.

A vendor's routes are methods marked by `route`. Each returns an answer, or raises `Refused` where the vendor would refuse.
The reason names its place in the vendor's specification. `script` makes the next matching requests go wrong. They get another
answer, or lose it after the request took effect, or before.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar
from urllib.parse import unquote

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    """Encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    status: int = 0
    """What it was answered; 0: nothing, for the answer was lost."""
    came_s: float = field(default_factory=time.time)
    """When it came."""

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: Any = None
    """JSON; bytes go as they are."""
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """The vendor would refuse the request."""

    def __init__(self, place: str, reply: Reply) -> None:
        super().__init__(place)
        self.place = place
        """Where the vendor's specification has it."""
        self.reply = reply


@dataclass
class Behaviour:
    """How the next requests that match go wrong."""

    method: str
    path: re.Pattern[str]
    reply: Reply | None = None
    """Answered in place of ours, without an effect."""
    effect: bool = False
    """The request takes effect first."""
    lost: bool = False
    """The connection ends without an answer."""
    wait: asyncio.Event | None = None
    """Nothing is answered before it is set."""
    times: int = 1


Handler = TypeVar("Handler", bound=Callable[..., Reply])


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Mark a method of a vendor as the handler of requests; groups of the regex *path* are its arguments, decoded."""

    def marked(handler: Handler) -> Handler:
        handler.__dict__["route"] = (method, re.compile(path))
        return handler

    return marked


@dataclass
class Vendor:
    """A vendor's API on loopback. Use it as an asynchronous context manager."""

    name: ClassVar[str] = "vendor"
    requests: list[Request] = field(default_factory=list)
    """All that came, in order."""
    refusals: list[str] = field(default_factory=list)
    """Places in the specification that requests did not meet. Tests hold it empty where they expect none."""
    behaviours: list[Behaviour] = field(default_factory=list)
    port: int = 0
    """0: any."""
    prefix: ClassVar[str] = ""
    """Of all paths, as in `/v3`."""

    async def __aenter__(self) -> Self:
        handlers = [getattr(self, name) for name in dir(type(self)) if hasattr(getattr(type(self), name), "route")]
        self._routes = [(*handler.__func__.route, handler) for handler in handlers]
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._server = TestServer(app, port=self.port or None)
        await self._server.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for behaviour in self.behaviours:
            if behaviour.wait is not None:
                behaviour.wait.set()
        await self._server.close()

    @property
    def url(self) -> str:
        """Return the base url of the vendor's API."""
        return str(self._server.make_url("")).rstrip("/") + self.prefix

    def script(
        self, method: str, path: str, reply: Reply | None = None, *, effect: bool = False, lost: bool = False,
        wait: asyncio.Event | None = None, times: int = 1,
    ) -> None:  # fmt: skip
        """Let the next *times* requests whose path matches the regex *path* behave so. The oldest script goes first."""
        self.behaviours.append(Behaviour(method, re.compile(path), reply, effect, lost, wait, times))

    def lose_answer(self, method: str, path: str, times: int = 1) -> None:
        """Let requests take effect and their answers be lost."""
        self.script(method, path, effect=True, lost=True, times=times)

    def asked(self, method: str, path: str = "") -> list[Request]:
        """Return the requests by *method* whose path matches the regex *path*."""
        return [one for one in self.requests if one.method == method and re.search(path, one.path)]

    def check_login(self, request: Request) -> None:
        """Raise `Refused` for a request that is not logged in."""

    def token_at(self) -> str | None:
        """Return the path at which OAuth gives tokens, where the vendor has it."""
        return None

    def headers(self) -> Mapping[str, str]:
        """Return headers that every answer has, such as those of limits."""
        return {}

    def behaviour_of(self, method: str, path: str) -> Behaviour | None:
        """Return how a request that has come goes wrong, if it does. Called once for each."""
        found = next((b for b in self.behaviours if b.method == method and b.path.search(path)), None)
        if found is not None:
            found.times -= 1
            if found.times <= 0:
                self.behaviours.remove(found)
        return found

    async def _serve(self, raw: web.Request) -> web.StreamResponse:
        path = raw.raw_path.partition("?")[0]
        headers = {name.lower(): value for name, value in raw.headers.items()}
        request = Request(raw.method, path, dict(raw.query), headers, await raw.read())
        behaviour = self.behaviour_of(raw.method, path)
        if behaviour is not None and behaviour.wait is not None:
            await behaviour.wait.wait()
        reply = self._reply(raw, request) if behaviour is None or behaviour.effect or _passes(behaviour) else Reply(500)
        if behaviour is not None and behaviour.reply is not None:
            reply = behaviour.reply
        if behaviour is not None and behaviour.lost:
            self.requests.append(request)
            assert raw.transport is not None
            raw.transport.abort()
            return web.Response(status=500)
        self.requests.append(Request(**{**request.__dict__, "status": reply.status}))
        body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()
        kind = {} if reply.body is None or isinstance(reply.body, bytes) else {"Content-Type": "application/json"}
        return web.Response(status=reply.status, body=body, headers={**kind, **self.headers(), **reply.headers})

    def _reply(self, raw: web.Request, request: Request) -> Reply:
        try:
            if request.path != self.token_at():
                self.check_login(request)
            for method, path, handler in self._routes:
                found = path.fullmatch(request.path.removeprefix(self.prefix)) if method == raw.method else None
                if found:
                    return handler(request, *map(unquote, found.groups()))  # type: ignore[no-any-return]
        except Refused as refused:
            self.refusals.append(refused.place)
            return refused.reply
        self.refusals.append(f"no such path: {request}")
        return Reply(404, {"message": "resource not found"})


@dataclass
class OAuthVendor(Vendor):
    """A vendor whose tokens end. `url` is also where it gives them."""

    tokens: list[str] = field(default_factory=list)
    """All that were given."""
    ended: set[str] = field(default_factory=set)

    def give_token(self) -> str:
        """Return a new token."""
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        return self.tokens[-1]

    def end_tokens(self) -> None:
        """End all tokens that were given."""
        self.ended |= set(self.tokens)

    def holds(self, token: str) -> bool:
        """Return whether *token* is good."""
        return token in self.tokens and token not in self.ended


def _passes(behaviour: Behaviour) -> bool:
    return behaviour.reply is None and not behaviour.lost
