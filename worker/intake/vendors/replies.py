"""Mails that people write to you, as mail tools hand them on (inbound parse): an answer to a mail is an `email.replied`.

Only a mail that names the one it answers (`In-Reply-To`, or the last of `References`) is a reply. An automatic answer is a
machine's (RFC 3834). A mail's own date is the sender's clock, so it counts only if it lies within the week before the webhook.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from worker.intake.vendors.common import Mapped, email_id, text
from worker.intake.vendors.mail_events import add, machine

_WEEK_MS: Final = 7 * 86_400_000
_MESSAGE_ID: Final = re.compile(r"<\s*([^<>\s]+)\s*>")
_AUTOMATIC: Final = ("x-autoreply", "x-autorespond")
_BULK: Final = frozenset({"auto_reply", "bulk", "junk", "list"})
KIND: Final = "inbound mail"


def add_mail(
    made: Mapped,
    headers: Iterable[tuple[Any, Any]],
    id_: Any,
    sender: Any,
    received_ms: int,
    *,
    date: Any = None,
    answers: Any = None,
) -> None:
    """Add a mail of *sender* to *made*. *headers* are (name, value); *date* and *answers* are what stands beside them.

    A mail that answers none is passed over.
    """
    held = {name.strip().lower(): value for name, value in headers if isinstance(name, str) and isinstance(value, str)}
    answered = _last_id(answers) or _last_id(held.get("in-reply-to")) or _last_id(held.get("references"))
    name = text(id_) or _last_id(held.get("message-id"))
    if answered is None or name is None:
        made.passed_over[f"{KIND} that is no reply"] += 1
        return
    at_ms = _date_ms(date if isinstance(date, str) else held.get("date"))
    if at_ms is None or not received_ms - _WEEK_MS <= at_ms <= received_ms:
        at_ms = received_ms
    subject = email_id(sender)
    add(made, KIND, "email.replied", subject, at_ms, name, message_id=answered, machine=machine(_automatic(held)))


def _last_id(value: Any) -> str | None:
    """Return the last message id in a header; `None` for none."""
    found = _MESSAGE_ID.findall(value) if isinstance(value, str) else []
    return found[-1] if found else None


def _date_ms(value: str | None) -> int | None:
    """Return a mail's date in ms; `None` for a text that is none."""
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value)
        return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()) * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _automatic(headers: dict[str, str]) -> bool:
    submitted = headers.get("auto-submitted", "no").partition(";")[0].strip().lower()
    precedence = headers.get("precedence", "").strip().lower()
    return submitted not in ("", "no") or precedence in _BULK or any(name in headers for name in _AUTOMATIC)
