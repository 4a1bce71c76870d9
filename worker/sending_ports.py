"""The interfaces of servers that take requests and mails, for the program that acts. `adapters` implement them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


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


class HttpSender(Protocol):
    """Sends requests over HTTP."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float, alone: bool
    ) -> Answered:
        """Send one request, if it can be written within *within_s*, and return its answer within that time too.

        *alone*: over a connection of its own, which no server closes meanwhile. Raises `NotSent` and `AnswerLost`.
        """
        ...


class MailSender(Protocol):
    """Sends mails."""

    async def send(self, server: str, sender: str, to: str, message: bytes, *, within_s: float, insecure: bool) -> Answered:
        """Hand one message to *server*, an address that may hold a password, and return its last reply.

        *insecure* lets the log-in and the mail pass unencrypted. Raises `NotSent` and `AnswerLost`.
        """
        ...
