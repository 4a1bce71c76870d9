"""Mails out: refusals by their code, a lost reply told apart, log-in and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.kit.services import free_port
from worker.adapters.smtp_out import SmtpOut
from worker.errors import StoreUnavailable
from worker.sending_ports import AnswerLost, NotSent

MESSAGE = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\n\r\n.dots\r\nend\r\n"


class Handler:
    """Keeps messages, and answers as a test says."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.replies: dict[str, str] = {}
        self.during_data: Callable[[Any], Any] | None = None

    async def handle_MAIL(self, _s: Any, _x: Any, envelope: Any, address: str, _o: Any) -> str:
        """Answer MAIL FROM."""
        envelope.mail_from = address
        return self.replies.get("mail", "250 OK")

    async def handle_RCPT(self, _s: Any, _x: Any, envelope: Any, address: str, _o: Any) -> str:
        """Answer RCPT TO."""
        if "rcpt" in self.replies:
            return self.replies["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _x: Any, envelope: Any) -> str:
        """Answer the message."""
        self.messages.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        if self.during_data is not None:
            await self.during_data(server)
        return self.replies.get("data", "250 2.0.0 queued as 17")


def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    """Take one user."""
    return AuthResult(success=isinstance(data, LoginPassword) and data.password == b"p@ss", handled=False)


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[int]:
    """Serve on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, loop=loop, **options), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def send(port: int, user: str = "", **more: Any) -> Any:
    """Send the message."""
    arguments = {"within_s": 20.0, "insecure": False} | more
    return await SmtpOut().send(f"smtp://{user}127.0.0.1:{port}", "a@example.com", "b@example.com", MESSAGE, **arguments)


async def test_a_message_arrives_as_it_is() -> None:
    """Lines that begin with a dot too."""
    handler = Handler()
    async with serving(handler) as port:
        answer = await send(port)
    assert (answer.status, answer.body) == (250, b"2.0.0 queued as 17")
    assert handler.messages == [("a@example.com", ["b@example.com"], MESSAGE)]


@pytest.mark.parametrize("at", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("reply", ["451 later", "550 no such user"])
async def test_a_refusal_has_its_code(at: str, reply: str) -> None:
    """Whichever command it answers."""
    handler = Handler()
    handler.replies[at] = reply
    async with serving(handler) as port:
        answer = await send(port)
    assert (answer.status, answer.body.decode()) == (int(reply[:3]), reply[4:])


@pytest.mark.parametrize("at", ["", "mail", "rcpt"])
async def test_a_mail_is_noted_once_the_server_takes_its_sender_and_recipient(at: str) -> None:
    """A death before that loses no reply. Where the note fails, no message is written, and its own error is raised."""
    handler, noted = Handler(), []
    handler.replies |= {at: "550 no"} if at else {}

    async def note() -> None:
        noted.append(len(handler.messages))

    async with serving(handler) as port:
        await send(port, before=note)
        assert noted == ([] if at else [0])
        if at:
            return
        for error in (StoreUnavailable("away"), OSError("away"), ValueError("no")):

            async def fails(error: Exception = error) -> None:
                raise error

            with pytest.raises(type(error)) as raised:
                await send(port, before=fails)
            assert raised.value is error
    assert len(handler.messages) == 1


async def test_a_lost_reply_to_the_message_is_lost() -> None:
    """The server may have taken it."""
    handler = Handler()

    async def cut(server: Any) -> None:
        server.transport.abort()
        await asyncio.sleep(0.1)

    handler.during_data = cut
    async with serving(handler) as port:
        with pytest.raises(AnswerLost):
            await send(port)
    assert len(handler.messages) == 1


async def test_a_reply_that_does_not_come_in_time_is_lost() -> None:
    """It is not asked for ever."""
    handler = Handler()
    handler.during_data = lambda _: asyncio.sleep(30)
    async with serving(handler) as port:
        with pytest.raises(AnswerLost):
            await send(port, within_s=1.0)


async def test_nothing_is_sent_where_nobody_listens() -> None:
    """The mail may be tried again."""
    with pytest.raises(NotSent):
        await send(free_port())


async def test_the_log_in() -> None:
    """By the address; a wrong password is a refusal, not a lost mail."""
    handler = Handler()
    async with serving(handler, authenticator=login, auth_require_tls=False, auth_required=True) as port:
        assert (await send(port, "u:p%40ss@")).status == 250
        assert (await send(port, "u:wrong@")).status == 535
        assert (await send(port)).status == 530


@pytest.mark.parametrize("server", ["http://x", "smtp://", "smtp://host:port", "mail"])
async def test_an_address_that_cannot_be_read(server: str) -> None:
    """It is told without the address, which may hold a password."""
    with pytest.raises(NotSent):
        await SmtpOut().send(server, "a@example.com", "b@example.com", MESSAGE, within_s=1, insecure=False)


async def test_another_host_without_tls_gets_nothing() -> None:
    """A password never goes out in the clear, unless the target says so."""
    handler = Handler()
    async with serving(handler) as port:
        url = f"smtp://u:p@127.0.0.2:{port}"
        loop = asyncio.get_running_loop()
        other = await loop.create_server(lambda: SMTP(handler, loop=loop), "127.0.0.2", port)
        with pytest.raises(NotSent, match="STARTTLS"):
            await SmtpOut().send(url, "a@example.com", "b@example.com", MESSAGE, within_s=5, insecure=False)
        other.close()
    assert handler.messages == []
