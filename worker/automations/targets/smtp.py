"""Mails through a mail server. After a lost answer, one cannot know whether the server has the mail."""

from __future__ import annotations

from typing import Final

from worker.automations.acts import Act
from worker.automations.requests import Again, Answer, Mail, Misconfigured, Run, Steps, Unknown
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import read_with
from worker.automations.targets.mail import Send, letter, message
from worker.connections.targets import SmtpTarget

_LOGIN_CODES: Final = frozenset({432, 454, 530, 534, 535, 538})
"""Of authentication (RFC 4954) and of STARTTLS (RFC 3207)."""


def send(target: SmtpTarget, act: Act, run: Run) -> Steps:
    """Hand one mail to the server. Raises `Unknown` after a lost answer: a second mail would be seen."""
    wanted = read_with(Send, act)
    held = letter(act, wanted, target.sender, run)
    if run.unsure:
        raise Unknown(f"the mail server may have the mail {held.message_id}, and cannot be asked")
    yield Mail("send", held.sender, held.to, message(held, run.now_ms))
    return held.message_id


def judge(answer: Answer) -> None:
    """Raise what a reply means (RFC 5321): 4yz may pass, 5yz is for good, and log-in codes are the target's."""
    status = answer.status
    if 200 <= status < 300:
        return
    why = f"the mail server answers {status}: {scrubbed(answer.body.decode('utf-8', 'replace'))}"
    if status in _LOGIN_CODES:
        raise Misconfigured(f"{why}. Correct user and password in the target's `url`")
    if 400 <= status < 500:
        raise Again(why)
    raise Refused(why)


KIND: Final = Kind(
    name="smtp",
    actions={"send": send},
    fields={"send": Send},
    judge=judge,
    rate=Rate(10, 1.0),
    personal={"send": "to"},
)
