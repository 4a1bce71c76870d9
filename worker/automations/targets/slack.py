"""Slack: a message by an incoming webhook. Slack keeps no key of ours, and cannot be asked for a notice.

By Slack's page "Sending messages using incoming webhooks". Untested against a live workspace.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Misconfigured, Run, Steps, Unknown
from worker.automations.requests import Final as Refused
from worker.automations.targets.answers import raise_for, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import cut, read_with
from worker.automations.targets.fields import SlackText, With

_MOST_TEXT: Final = 3_000
"""Characters of a section (Block Kit)."""

_CHANNEL_GONE: Final = (
    "no_service",
    "no_team",
    "team_disabled",
    "channel_not_found",
    "channel_is_archived",
    "action_prohibited",
)


class Message(With):
    """A notice in the webhook's channel."""

    text: SlackText = Field(min_length=1)
    """The notice, in Slack's mrkdwn. Values of leads are escaped."""


def send(_target: object, act: Act, run: Run) -> Steps:
    """Post the notice. Raises `Unknown` after a lost answer: a second notice would be seen."""
    text = read_with(Message, act).text
    if run.unsure:
        raise Unknown("Slack may have the notice, and cannot be asked")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, _MOST_TEXT)}}
    yield Http.json("send", "POST", "", {"text": cut(text, _MOST_TEXT), "blocks": [section]}, safe=False)
    return ""


def judge(answer: Answer) -> None:
    """Raise what an answer means. Slack answers with a word, and with 403, 404 or 410 where the channel is gone."""
    words = answer.body[:300].decode("utf-8", "replace")
    if answer.status in (403, 404, 410) or any(one in words for one in _CHANNEL_GONE):
        raise Misconfigured(f"Slack answers {answer.status}: {scrubbed(words)}. Make a new webhook for the channel")
    if answer.status == 400:
        raise Refused(f"Slack answers 400: {scrubbed(words)}")
    raise_for(answer, "Slack", words, wait_s=2.0)


KIND: Final = Kind(name="slack", actions={"send": send}, fields={"send": Message}, judge=judge, rate=Rate(1, 1.0))
