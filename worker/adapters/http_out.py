"""`worker.sending_ports.HttpSender` through aiohttp: requests that are written within a lease, or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from yarl import URL

from worker.sending_ports import Answered, AnswerLost, Before, LeaseEnded, NotSent

MOST_BYTES: Final = 1_000_000
"""So much of an answer is read."""

_CONNECT_S: Final = 5.0
_HALF: Final = 0.5
"""A request must be written within this part of its time, so that the other part is left for the answer."""


class _Lease:
    """When a request must be written, and whether it was."""

    def __init__(self, until: float, before: Before | None, *, once: bool) -> None:
        self.until = until
        self.before = before
        self.once = once
        self.written = False
        self.error: Exception | None = None
        """What `before` raised."""

    async def begin(self) -> None:
        """Return if the request may be written now. Raises what `before` raises, and `LeaseEnded`."""
        if self.before is not None and not self.ended:
            try:
                await self.before()
            except Exception as error:
                self.error = error
                raise
        if self.ended:
            raise LeaseEnded("the connection took so long that another process may have the act")
        self.written = True

    @property
    def ended(self) -> bool:
        """Whether another process may have the act by now."""
        return time.monotonic() >= self.until


_lease: ContextVar[_Lease] = ContextVar("lease")


class _Leased(ClientRequest):
    """A request that looks at its lease when the connection stands, immediately before its first byte is written."""

    async def send(self, conn: Connection) -> ClientResponse:
        lease = _lease.get()
        if lease.written and lease.once:  # aiohttp sends idempotent methods again by itself
            raise AnswerLost("no answer: the connection was closed")
        await lease.begin()
        return await super().send(conn)


class HttpOut:
    """Sends requests. Redirects are never followed, cookies never kept, and proxies are those of the environment."""

    def __init__(self) -> None:
        self._shared: aiohttp.ClientSession | None = None
        self._alone: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._shared, self._alone = (_session(force_close=alone) for alone in (False, True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._shared, self._alone):
            if session is not None:
                await session.close()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Send one request; see the port."""
        session = self._alone if alone else self._shared
        assert session is not None, "not opened"
        lease = _Lease(time.monotonic() + within_s * _HALF, before, once=alone)
        token = _lease.set(lease)
        limit = aiohttp.ClientTimeout(total=within_s, sock_connect=_CONNECT_S)
        try:
            async with session.request(
                method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False, timeout=limit
            ) as answer:
                return Answered(answer.status, await _read(answer), {k.lower(): v for k, v in answer.headers.items()})
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if lease.error is not None:  # aiohttp wraps some
                raise lease.error from None
            # the words of these errors may hold the address, which may be a secret
            if lease.written:
                raise AnswerLost(f"no answer: {_named(error)}") from None
            raise NotSent(f"cannot be reached: {_named(error)}") from None
        finally:
            _lease.reset(token)


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=force_close, enable_cleanup_closed=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_Leased,
        trust_env=True,
        auto_decompress=True,
        headers={"User-Agent": "LeadPulse"},
    )


async def _read(answer: ClientResponse) -> bytes:
    held = bytearray()
    async for part in answer.content.iter_any():
        held += part
        if len(held) > MOST_BYTES:
            break
    return bytes(held[:MOST_BYTES])


def _named(error: BaseException) -> str:
    """Return what happened, without the address."""
    known = {
        "ClientConnectorDNSError": "its name has no address",
        "ClientConnectorCertificateError": "its certificate does not fit",
        "ClientConnectorSSLError": "TLS fails",
        "ServerDisconnectedError": "it closed the connection",
        "InvalidURL": "its address cannot be read",
    }
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError) and name not in known:
        return error.os_error.strerror or "the connection is refused"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return known.get(name, name)
