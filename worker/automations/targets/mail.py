"""Mails: the keys of a rule that sends one, and the message, made the same way at each attempt.

The message has text and HTML, and an invitation to an appointment where a rule asks for it (RFC 5545 and 5546). Its
`Message-ID` comes from the act. A nurturing mail unsubscribes with one click (RFC 2369 and 8058).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Annotated, Any, Final, NamedTuple

import icalendar
from pydantic import AwareDatetime, Field, field_validator

from worker.automations.acts import Act
from worker.automations.requests import Final as Refused
from worker.automations.requests import Run
from worker.automations.targets.fields import Address, Form, Html, Line, TemplateFile, Text, With
from worker.connections.targets import sender_of

UNSUBSCRIBE_URL: Final = "https://unsubscribe.leadpulse.invalid/"
"""Stands in texts for the address by which a lead unsubscribes, which is known when the mail is sent."""

_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")
_MOST_MINUTES: Final = 24 * 60
_HTML: Final = re.compile(r"<[a-z!/]", re.IGNORECASE)


class Invitation(With):
    """An appointment that the mail invites to."""

    title: Line
    """Its title in the calendar."""
    start: AwareDatetime
    """When it begins: an instant with a time zone."""
    minutes: int = Field(default=30, ge=1, le=_MOST_MINUTES)
    """How long it takes."""
    place: str = ""
    """A place, or the address of a video call."""


class Send(With):
    """A mail to one person."""

    to: Address
    """Exactly one address."""
    subject: Annotated[str, Form.LINE] = ""
    """Absent: the title of the HTML."""
    template: TemplateFile | None = None
    """A file of HTML, next to the rules. It makes subject, text and HTML."""
    html: Html = ""
    """The mail as HTML, in place of a file."""
    text: Text = ""
    """The mail as plain text. Absent: it is made of the HTML."""
    reply_to: str = ""
    """Where answers go; absent: the sender."""
    invite: Invitation | None = None
    """An appointment, which the reader can accept."""

    @field_validator("subject", mode="before")
    @classmethod
    def _nothing(cls, raw: Any) -> Any:
        return raw or ""


class Letter(NamedTuple):
    """A mail as it goes out, whatever carries it."""

    sender_name: str
    sender: str
    to: str
    subject: str
    text: str
    html: str
    reply_to: str
    message_id: str
    headers: dict[str, str]
    """Beside the usual ones."""
    calendar: bytes


def letter(act: Act, wanted: Send, sender: str, run: Run) -> Letter:
    """Return the mail of an act. Raises `Final` for an empty mail, and for a nurturing mail without a way out."""
    name, address = sender_of(sender)
    if not wanted.text and not wanted.html:
        raise Refused("the mail is empty: write `template`, `html` or `text`")
    subject, reply_to = " ".join(wanted.subject.split()), wanted.reply_to.strip()
    if reply_to:
        reply_address(reply_to)
    if not subject:
        raise Refused("the mail has no subject: write `subject`, or a `<title>` in the template")
    id_ = message_id(act, address)
    nurtures = "/" in act.rule or UNSUBSCRIBE_URL in wanted.text + wanted.html
    if nurtures and not run.unsubscribe:
        raise Refused("a nurturing mail needs a way out: write `unsubscribe` and `public_url` in the connections")
    headers = {"Auto-Submitted": "auto-generated"}
    if nurtures:
        headers |= {"List-Unsubscribe": f"<{run.unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    text, html = (written.replace(UNSUBSCRIBE_URL, run.unsubscribe) for written in (wanted.text, wanted.html))
    invitation = _calendar(act, wanted, address, id_)
    return Letter(name, address, wanted.to, subject, text, html, reply_to, id_, headers, invitation)


def reply_address(text: str) -> tuple[str, str]:
    """Return name and address of `reply_to`. Raises `Final` where it is none."""
    try:
        return sender_of(text)
    except ValueError as error:
        raise Refused(f"with.reply_to: {error}") from None


def message_id(act: Act, sender: str) -> str:
    """Return `<LEAD.SEQ.RULE@DOMAIN>`, the same at each attempt; a hash where these have other characters.

    Another namespace than the usual one stands behind the rule.
    """
    words = ".".join((act.output, act.rule, *([act.namespace] if act.namespace else [])))
    words = words.replace(":", ".").replace("/", ".")
    local = words if _PLAIN_ID.fullmatch(words) and ".." not in words else hashlib.sha256(act.id.encode()).hexdigest()[:40]
    return f"<{local}@{sender.rpartition('@')[2]}>"


def message(held: Letter, now_ms: int) -> bytes:
    """Return the mail as bytes for a mail server, with CRLF. Only `Date` differs between attempts."""
    policy = SMTP if all(part.isascii() for part in (held.to, held.sender, held.reply_to)) else SMTPUTF8
    made = EmailMessage(policy=policy)
    made["From"] = _named(held.sender_name, held.sender)
    made["To"] = held.to
    made["Subject"] = held.subject
    made["Date"] = format_datetime(datetime.fromtimestamp(now_ms // 1_000, UTC))
    made["Message-ID"] = held.message_id
    if held.reply_to:
        made["Reply-To"] = held.reply_to
    for name, value in held.headers.items():
        made[name] = value
    made.set_content(held.text or " ")
    if held.html:
        made.add_alternative(held.html, subtype="html")
    if held.calendar:
        text = held.calendar.decode()
        made.add_alternative(text, subtype="calendar", params={"method": "REQUEST"})
    for number, part in enumerate(_multiparts(made)):
        part.set_boundary(f"leadpulse-{hashlib.sha256(held.message_id.encode()).hexdigest()[:24]}-{number}")
    return made.as_bytes()


def _multiparts(made: Message) -> Iterator[Message]:
    return (part for part in made.walk() if part.is_multipart())


def _named(name: str, address: str) -> str:
    if not name:
        return address
    return f"{name} <{address}>" if re.fullmatch(r"[\w -]+", name) else f'"{name.translate(_QUOTED)}" <{address}>'


_QUOTED: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


def _calendar(act: Act, wanted: Send, organizer: str, id_: str) -> bytes:
    """Return an invitation as iCalendar, or nothing. Its `UID` is the mail's id, so that a calendar knows a repeat."""
    if wanted.invite is None:
        return b""
    start = wanted.invite.start.astimezone(UTC)
    event = icalendar.Event()
    event.add("uid", id_.strip("<>"))
    event.add("dtstamp", datetime.fromtimestamp(act.at_ms // 1_000, UTC))
    event.add("dtstart", start)
    event.add("dtend", start + timedelta(minutes=wanted.invite.minutes))
    event.add("summary", wanted.invite.title)
    if wanted.invite.place:
        event.add("location", wanted.invite.place)
    event.add("organizer", f"mailto:{organizer}")
    attendee = icalendar.vCalAddress(f"mailto:{wanted.to}")
    attendee.params.update({"ROLE": "REQ-PARTICIPANT", "PARTSTAT": "NEEDS-ACTION", "RSVP": "TRUE"})
    event.add("attendee", attendee, encode=False)
    event.add("status", "CONFIRMED")
    event.add("sequence", 0)
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//LeadPulse//Automations//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "REQUEST")
    calendar.add_component(event)
    return bytes(calendar.to_ical())
