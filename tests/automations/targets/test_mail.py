"""Mails, through a real mail server on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import icalendar
import pytest
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kit.services import free_port
from tests.kit.vendors.driving import act_of
from worker.adapters.smtp_out import SmtpOut
from worker.automations.requests import Again, Answer, Final, Mail, Misconfigured, Run, Unknown
from worker.automations.targets.mail import UNSUBSCRIBE_URL, Send, letter, message, message_id
from worker.automations.targets.smtp import KIND, judge, send
from worker.connections.secret import Secret
from worker.connections.targets import SmtpTarget

NOW_MS = 1_772_713_900_000
OUT = "https://in.example.com/lp/unsubscribe/TOKEN"
FIELDS = {"to": "ada@acme.example", "subject": "Ein Termin für Ada", "html": "<p>Grüße</p>", "text": "Grüße"}
TARGET = SmtpTarget.model_validate({"kind": "smtp", "url": Secret("${URL}"), "from": "Acme, Inc. <hello@example.com>"})


@dataclass
class Inbox:
    """The handler of a mail server: keeps what comes."""

    reply: str = "250 OK"
    held: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Take a mail."""
        if self.reply.startswith("2"):
            self.held.append(envelope)
        return self.reply


@pytest.fixture
async def server() -> AsyncIterator[tuple[Inbox, str]]:
    """A mail server, and its address."""
    inbox, port = Inbox(), free_port()
    controller = UnthreadedController(inbox, hostname="127.0.0.1", port=port, loop=asyncio.get_running_loop())
    running = await controller._create_server()
    yield inbox, f"smtp://127.0.0.1:{port}"
    running.close()
    await running.wait_closed()


def mail_of(fields: dict[str, Any], run: Run | None = None, **more: Any) -> Mail:
    """Return the mail that an act makes."""
    step = next(send(TARGET, act_of("mail", "send", fields, **more), run or Run(now_ms=NOW_MS, unsubscribe=OUT)))
    assert isinstance(step, Mail)
    return step


def read(raw: bytes) -> EmailMessage:
    """Return a mail as a mail program reads it."""
    return email.message_from_bytes(raw, policy=email.policy.default)


async def test_a_mail_arrives_as_it_was_written(server: tuple[Inbox, str]) -> None:
    """With text and HTML, umlauts, and a name of the sender that needs quotes."""
    inbox, url = server
    step = mail_of(FIELDS)
    answer = await SmtpOut().send(url, step.sender, step.to, step.message, within_s=10, insecure=False)
    judge(Answer(answer.status, answer.body))
    [envelope] = inbox.held
    assert (envelope.mail_from, envelope.rcpt_tos) == ("hello@example.com", ["ada@acme.example"])
    assert isinstance(envelope.original_content, bytes)
    got = read(envelope.original_content)
    assert (got["Subject"], got["To"]) == ("Ein Termin für Ada", "ada@acme.example")
    assert got["From"].addresses[0].display_name == "Acme, Inc."
    assert got["Message-ID"] == "<lead-42.7.call@example.com>"
    parts = {part.get_content_type(): part.get_content().strip() for part in got.walk() if not part.is_multipart()}
    assert parts == {"text/plain": "Grüße", "text/html": "<p>Grüße</p>"}
    assert got["List-Unsubscribe"] is None


@pytest.mark.parametrize(
    ("reply", "refusal"), [("451 try later", Again), ("554 no thanks", Final), ("530 log in first", Misconfigured)]
)
async def test_replies_are_told_apart(server: tuple[Inbox, str], reply: str, refusal: type[Exception]) -> None:
    """4yz may pass, 5yz is for good, and those of the log-in are the target's."""
    inbox, url = server
    inbox.reply = reply
    step = mail_of(FIELDS)
    answer = await SmtpOut().send(url, step.sender, step.to, step.message, within_s=10, insecure=False)
    with pytest.raises(refusal):
        judge(Answer(answer.status, answer.body))
    assert inbox.held == []


def test_a_lost_answer_is_left_to_a_person() -> None:
    """No mail server can be asked. The message names the mail."""
    with pytest.raises(Unknown, match=r"<lead-42\.7\.call@example\.com>"):
        next(send(TARGET, act_of("mail", "send", FIELDS), Run(unsure="send", now_ms=NOW_MS)))


def test_only_the_date_differs_between_attempts() -> None:
    """So that a mail server may know a repeat."""
    first, second = (mail_of(FIELDS, Run(now_ms=now, unsubscribe=OUT)).message for now in (NOW_MS, NOW_MS + 60_000))
    assert first != second
    assert re.sub(rb"Date: .*", b"", first) == re.sub(rb"Date: .*", b"", second)


def test_an_invitation_can_be_accepted() -> None:
    """It is a part of the mail that calendars read, in UTC."""
    invite = {"title": "Démo; 30 min, à deux", "start": "2026-03-06T14:00:00+01:00", "place": "https://meet.example.com/x"}
    parts = read(mail_of(FIELDS | {"invite": invite}).message).walk()
    [part] = [one for one in parts if one.get_content_type() == "text/calendar"]
    assert part.get_param("method") == "REQUEST"
    calendar = icalendar.Calendar.from_ical(part.get_content())
    [event] = calendar.walk("VEVENT")
    assert (calendar["method"], event["summary"], event["location"]) == ("REQUEST", invite["title"], invite["place"])
    assert event["dtstart"].to_ical() == b"20260306T130000Z"
    assert event["dtend"].to_ical() == b"20260306T133000Z"
    assert str(event["attendee"]) == "mailto:ada@acme.example"
    assert event["uid"] == "lead-42.7.call@example.com"


def test_a_nurturing_mail_unsubscribes_with_one_click() -> None:
    """RFC 8058. The link in the text is the same."""
    got = read(mail_of(FIELDS | {"text": f"No more: {UNSUBSCRIBE_URL}"}, rule="considering/webinar").message)
    assert got["List-Unsubscribe"] == f"<{OUT}>"
    assert got["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    text = got.get_body(("plain",))
    assert text is not None
    assert text.get_content().strip() == f"No more: {OUT}"


@pytest.mark.parametrize(
    ("fields", "run", "words"),
    [
        ({"text": "", "html": ""}, Run(), "the mail is empty"),
        ({"subject": ""}, Run(), "no subject"),
        ({"text": UNSUBSCRIBE_URL}, Run(), "needs a way out"),
        ({"to": "ada@acme.example, eve@acme.example"}, Run(), "exactly one"),
        ({"to": "ada@acme.example\r\nBcc: eve@acme.example"}, Run(), "exactly one"),
        ({"subject": "a\r\nBcc: eve@acme.example"}, Run(), ""),
    ],
)
def test_a_mail_that_cannot_go_out_says_why(fields: dict[str, str], run: Run, words: str) -> None:
    """Line ends add no header and no other address."""
    try:
        step = next(send(TARGET, act_of("mail", "send", FIELDS | fields), run))
    except Final as error:
        assert words in str(error)  # noqa: PT017 (either of the two may happen)
    else:
        assert isinstance(step, Mail)
        assert words == ""
        assert read(step.message)["Bcc"] is None


@given(
    output=st.text(min_size=1), rule=st.text(min_size=1), subject=st.text(min_size=1), text=st.text(min_size=1),
    name=st.text(st.characters(exclude_categories=["C"], exclude_characters='<>"')),
)  # fmt: skip
@example(output="o", rule="r", subject="s", text="t", name=". ")
def test_any_text_makes_a_mail_that_can_be_read(output: str, rule: str, subject: str, text: str, name: str) -> None:
    """Ids, subjects and names of many languages; the message has CRLF alone, and its id fits its header."""
    act = act_of("mail", "send", {}, output=output, rule=rule)
    assert re.fullmatch(r"<[A-Za-z0-9._+-]+@example\.com>", message_id(act, "hello@example.com"))
    line = " ".join(subject.split()) or "x"
    wanted = Send.model_construct(to="ada@acme.example", subject=line, text=text, html="", invite=None)
    sender = f"{name} <hello@example.com>" if name else "hello@example.com"
    raw = message(letter(act, wanted, sender, Run(unsubscribe=OUT)), NOW_MS)
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert read(raw)["To"] == "ada@acme.example"


def test_the_kind_says_what_it_can_do() -> None:
    """For the check of the rules."""
    assert (set(KIND.actions), KIND.write, KIND.forget) == ({"send"}, None, None)
