"""A TCP proxy before Redis that can lose one reply, as a network does: the call took effect, and the caller cannot know."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


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
