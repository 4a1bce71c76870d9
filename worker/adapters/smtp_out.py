"""`worker.sending_ports.MailSender` through aiosmtplib: one connection a mail, and a lost answer told apart."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from worker.sending_ports import Answered, AnswerLost, Before, LeaseEnded, NotSent

_PORTS: Final = {"smtps": 465, "smtp": 587}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FIRST_CODE: Final = 200
_HALF: Final = 0.5
"""The message must be written within this part of its time, so that the other part is left for the reply."""


class SmtpOut:
    """Sends mails."""

    async def send(
        self, server: str, sender: str, to: str, message: bytes, *, within_s: float, insecure: bool,
        before: Before | None = None,
    ) -> Answered:  # fmt: skip
        """Hand one message to *server*; see the port."""
        until = time.monotonic() + within_s * _HALF
        client = _client(server, insecure=insecure, timeout_s=within_s * _HALF)
        writing = asking = False
        try:
            async with asyncio.timeout(within_s):
                await client.connect()
                await client.mail(sender)
                await client.rcpt(to)
                if before is not None:
                    asking = True
                    await before()
                    asking = False
                if time.monotonic() >= until:
                    raise LeaseEnded("the mail server took so long that another process may have the act")
                writing = True
                reply = await client.data(message)
                return Answered(reply.code, reply.message.encode())
        except aiosmtplib.SMTPResponseException as error:
            if error.code < _FIRST_CODE:  # aiosmtplib has no code where a reply cannot be read
                raise (AnswerLost if writing else NotSent)("a reply of the mail server cannot be read") from None
            return Answered(error.code, error.message.encode())
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            if asking and not isinstance(error, TimeoutError):
                raise
            if writing:
                raise AnswerLost(f"no reply to the mail: {type(error).__name__}") from None
            words = str(error) if isinstance(error, aiosmtplib.SMTPException) else type(error).__name__
            raise NotSent(f"the mail server cannot be used: {words}") from None
        finally:
            # the reply was read, so what QUIT brings changes nothing
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await client.quit()
            client.close()


def _client(server: str, *, insecure: bool, timeout_s: float) -> aiosmtplib.SMTP:
    """Return a client for *server*: `smtps://USER:PASSWORD@HOST:PORT`, or `smtp://…` with STARTTLS.

    Raises `NotSent` for another address. A server on this machine needs no TLS.
    """
    try:
        parts = urlsplit(server)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise NotSent("the mail server's address cannot be read: write smtps://USER:PASSWORD@HOST, or smtp://…") from None
    plain = insecure or parts.hostname in _LOOPBACK
    return aiosmtplib.SMTP(
        hostname=parts.hostname,
        port=port,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        use_tls=parts.scheme == "smtps",
        start_tls=None if plain or parts.scheme == "smtps" else True,
        timeout=timeout_s,
    )
