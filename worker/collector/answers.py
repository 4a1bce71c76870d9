"""Requests read and answered: the body in bytes and with a limit, and the answers that all endpoints share."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import StreamReader, web

from worker.collector.collector import RETRY_AFTER_S
from worker.collector.promise import Full, Room
from worker.intake.inbound import MAX_BODY_BYTES

READ_S: Final = 20.0
"""Time in which a sender must have sent its body."""

Handler = Any
"""aiohttp's handler: a coroutine function of a request."""


class Answer(Exception):
    """Ends a request with a status, in a few words."""

    def __init__(self, status: int, words: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = headers or {}

    def response(self) -> web.Response:
        """Return the response."""
        return web.Response(status=self.status, text=self.words, headers=self.headers)


def come_again(status: int = 429) -> Answer:
    """Return the answer while Kafka is away or too much waits for it: 429, or 503 for Segment."""
    return Answer(status, "come again\n", {"Retry-After": RETRY_AFTER_S})


async def read_body(request: web.Request, room: Room, most: int = MAX_BODY_BYTES, again: int = 429, broken: int = 400) -> bytes:
    """Return the body in bytes.

    Raises `Answer`: 413 past *most* bytes, 408 for a slow sender, *again* without room, *broken* for a body that breaks off.
    """
    if (request.content_length or 0) > most:
        raise _too_large(most)
    try:
        body = _come(request.content, room) if request.content.is_eof() else await _coming(request.content, room, most)
    except Full:
        raise come_again(again) from None
    except TimeoutError:
        raise Answer(408, "the body did not come\n") from None
    except Exception as error:
        if not isinstance(error, (OSError, ValueError)) and not type(error).__module__.startswith("aiohttp"):
            raise
        # Broken chunks, a broken gzip, a sender that is gone: aiohttp's errors for these have no common class.
        raise Answer(broken, f"the body cannot be read: {type(error).__name__}\n") from None
    if len(body) > most:
        raise _too_large(most)
    return body


def _come(content: StreamReader, room: Room) -> bytes:
    """Return a body that came with its head, as small ones do. A timer for each of these would cost a tenth of the whole."""
    body: bytes = content.read_nowait(-1)
    room.take(len(body))
    return body


async def _coming(content: StreamReader, room: Room, most: int) -> bytes:
    """Return a body that is still on its way, or more than *most* bytes of it. Raises `TimeoutError` and `Full`."""
    parts: list[bytes] = []
    read = 0
    async with asyncio.timeout(READ_S):
        while read <= most and (part := await content.readany()):
            read += len(part)
            room.take(len(part))
            parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> Answer:
    return Answer(413, f"at most {most:,} bytes\n")


def problem(
    status: int, title: str, errors: list[dict[str, Any]] | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """Return what our own endpoints answer for a mistake (RFC 9457)."""
    held: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if errors is not None:
        held["errors"] = errors
    return web.Response(
        status=status,
        body=msgspec.json.encode(held),
        content_type="application/problem+json",
        headers=headers,
    )
