"""TCP proxies before Redis and Kafka, which do to connections what networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ops.dev.kafka_broker import Kafka
from ops.dev.services import HOST, free_port


class LosesReplies:
    """Forwards everything; when armed, cuts the connection after the next request with *needle* has reached the server."""

    def __init__(self, host: str, port: int, needle: bytes) -> None:
        self._target = host, port
        self._needle = needle
        self.left = 0
        """How many more replies to lose."""
        self.lost = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(*self._target)
        answers = asyncio.create_task(self._pass_on(server, to_client))
        with contextlib.suppress(ConnectionError):
            while data := await client.read(1 << 20):
                lose = self.left > 0 and self._needle in data
                if lose:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                to_server.write(data)
                await to_server.drain()
                if lose:
                    self.left -= 1
                    self.lost += 1
                    await server.read(1 << 16)  # the server has done it, and says so to nobody
                    break
        answers.cancel()
        to_server.close()
        to_client.close()

    async def _pass_on(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await server.read(1 << 20):
                to_client.write(data)
                await to_client.drain()
        to_client.close()


class Network:
    """Forwards everything until a test makes it a bad network. Connections are then cut, held, or closed by half."""

    def __init__(self, host: str, port: int, listen: int = 0) -> None:
        self._target = host, port
        self._listen = listen
        self._to_clients: set[asyncio.StreamWriter] = set()
        self._whole = True
        self._flows = asyncio.Event()
        self._flows.set()
        self.delay_s = 0.0
        """What each piece of data waits, in both directions."""
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on the loopback interface, on the port given or on a free one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listen)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening, and end what is open."""
        self._server.close()
        self.cut()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._to_clients)

    def cut(self) -> None:
        """Reset every connection, and each new one, until mended."""
        self._whole = False
        for writer in self._to_clients:
            writer.transport.abort()

    def lead_to(self, host: str, port: int) -> None:
        """Take new connections to another server from now on."""
        self._target = host, port

    def hang(self) -> None:
        """Hold all data back until mended: connections stay open, and nothing comes or goes."""
        self._flows.clear()

    def half_close(self) -> None:
        """Tell every client that the other side has ended; what they still send arrives there."""
        for writer in self._to_clients:
            with contextlib.suppress(OSError):
                writer.write_eof()

    def mend(self) -> None:
        """Be a good network again."""
        self._whole = True
        self.delay_s = 0.0
        self._flows.set()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            to_client.transport.abort()
            return
        if not self._whole:
            to_client.transport.abort()
            to_server.transport.abort()
            return
        self._to_clients.add(to_client)
        await asyncio.gather(self._pass_on(client, to_server), self._pass_on(server, to_client))
        self._to_clients.discard(to_client)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Pass data on until *source* ends, then close *target*: nobody here goes on with half a connection for long."""
        with contextlib.suppress(OSError, RuntimeError):
            while data := await source.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                target.write(data)
                await target.drain()
        target.close()


def proxied(settings: Mapping[str, str] | None = None, *, heap: str = "384m", lasting: bool = False) -> tuple[Kafka, Network]:
    """Return a broker, not started, and a network before it for clients that come that way."""
    kafka, listener, port = Kafka(settings, heap=heap, lasting=lasting), free_port(), free_port()
    # A client goes where the broker says it is: for those that come by the proxy, that is the proxy.
    kafka.settings["listeners"] += f",PROXIED://{HOST}:{listener}"
    kafka.settings["advertised.listeners"] += f",PROXIED://{HOST}:{port}"
    kafka.settings["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
    return kafka, Network(HOST, listener, port)
