"""The interfaces of servers that take requests and mails, for the program that acts. `adapters` implement them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias


class Answered(NamedTuple):
    """What a server answered."""

    status: int
    """Of HTTP, or the code of a mail server's last reply."""
    body: bytes
    """At most 1 MB of it. A mail server's reply in words."""
    headers: Mapping[str, str] = {}
    """Names in lower case."""


class NotSent(Exception):
    """Nothing was sent: the server cannot be reached, or the lease has ended. The message holds no secret."""


class LeaseEnded(NotSent):
    """The lease ended before the request was written, so another process may have the act."""


class AnswerLost(Exception):
    """A request was written, and its answer did not come. The message holds no secret."""


Before: TypeAlias = Callable[[], Awaitable[None]]
"""Called once, when the server is reached and nothing of the request is written yet. After an error of it nothing is sent."""


class HttpSender(Protocol):
    """Sends requests over HTTP."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Send one request, if it can be written within *within_s*, and return its answer within that time too.

        *alone*: over a connection of its own, which no server closes meanwhile. Raises `NotSent` and `AnswerLost`.
        """
        ...


class MailSender(Protocol):
    """Sends mails."""

    async def send(
        self, server: str, sender: str, to: str, message: bytes, *, within_s: float, insecure: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Hand one message to *server*, an address that may hold a password, and return its last reply.

        *insecure* lets the log-in and the mail pass unencrypted. Raises `NotSent` and `AnswerLost`.
        """
        ...
