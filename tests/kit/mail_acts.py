"""Stages of acts with a mail server, and leads who get mails."""

from __future__ import annotations

from typing import Any

from tests.kit.acting import HOOKS, Acting
from tests.kit.waits import until
from worker.automations.acts import Act
from worker.automations.requests import Again, Answer, Final, Mail, Run, Steps, Unknown
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.fields import Html, Line, With
from worker.automations.targets.registry import KINDS

MAILS = HOOKS + b"  mail: {kind: smtp, url: 'smtps://u:${PW}@mx.example', from: 'sales@example.com'}\n"
INVITE = """
acts:
  - {id: invite, on: lead.sql, to: mail, do: send, consent: marketing_consent,
     with: {to: "{{ traits.email }}", subject: "Hello", html: "<p>Hi</p>"}}
"""
NURTURE = """
nurture:
  - {id: considering, phase: consideration, every: 4d, to: mail, stop: [lead.sql, lead.excluded], with: {html: "<p>x</p>"},
     contents: [{id: case-study, with: {subject: Case}}, {id: webinar, with: {subject: Webinar}}]}
"""
DAY_MS = 24 * 3_600_000


class Send(With):
    """A mail."""

    to: Line
    subject: Line
    html: Html


def _send(_target: Any, act: Act, run: Run) -> Steps:
    if run.unsure:
        raise Unknown("a mail server cannot be asked")
    fields = act.fields
    yield Mail("send", "sales@example.com", fields["to"], f"Subject: {fields['subject']}\r\n\r\n".encode())
    return f"<{act.output}@example.com>"


def _judge(answer: Answer) -> None:
    if answer.status >= 500:
        raise Final(f"{answer.status}")
    if answer.status >= 400:
        raise Again(f"{answer.status}")


MAILING = {**KINDS, "smtp": Kind("smtp", {"send": _send}, {"send": Send}, _judge, Rate(1000, 1.0))}


def mail_stage(rules: str = INVITE) -> Acting:
    """Return a stage with a mail server."""
    return Acting(rules, MAILS, MAILING)


def person(address: str = "ada@example.com", **traits: Any) -> dict[str, Any]:
    """Return the traits of a lead who consents."""
    return {"traits": {"email": address, "marketing_consent": True, **traits}}


async def over(made: Acting, number: int) -> None:
    """Wait until so many acts have ended."""
    await until(lambda: len(made.acks.records) >= number, f"{number} ends")
