"""Notices in Slack and in Teams."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route
from tests.kit.vendors.driving import Driver, act_of
from worker.automations.requests import Again, Answer, Final, Misconfigured
from worker.automations.targets import slack, teams
from worker.connections.secret import Secret
from worker.connections.targets import SlackTarget, TeamsTarget


@dataclass
class Channels(Vendor):
    """Slack's webhook and a workflow of Teams."""

    name: ClassVar[str] = "channels"
    slack: list[dict[str, Any]] = field(default_factory=list)
    teams: list[dict[str, Any]] = field(default_factory=list)

    @route("POST", "/services/T/B/x")
    def notice(self, request: Request) -> Reply:
        """Take a notice (page "Sending messages using incoming webhooks"; Block Kit, section)."""
        body = request.json()
        if set(body) - {"text", "blocks"} or not body.get("text"):
            raise Refused("incoming webhooks: text", Reply(400, b"no_text"))
        for block in body["blocks"]:
            if block["type"] != "section" or block["text"]["type"] != "mrkdwn" or not 1 <= len(block["text"]["text"]) <= 3000:
                raise Refused("section: text of 1 to 3000 characters", Reply(400, b"invalid_blocks"))
        self.slack.append(body)
        return Reply(200, b"ok")

    @route("POST", "/workflows/x")
    def card(self, request: Request) -> Reply:
        """Take a card (page "Create incoming webhooks with Workflows": type, attachments; 28 kB)."""
        body = request.json()
        [attachment] = body["attachments"]
        if body["type"] != "message" or attachment["contentType"] != "application/vnd.microsoft.card.adaptive":
            raise Refused("Workflows: type message, contentType", Reply(400))
        card = attachment["content"]
        if card["type"] != "AdaptiveCard" or not re.fullmatch(r"1\.[0-5]", card["version"]) or len(request.body) > 28_000:
            raise Refused("Adaptive Cards: type, version; at most 28 kB", Reply(413))
        if any(block["type"] != "TextBlock" or not block["text"] for block in card["body"]):
            raise Refused("TextBlock: required text", Reply(400))
        self.teams.append(card)
        return Reply(202)


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    """Both."""
    async with Channels() as vendor:
        yield vendor


def at_slack(channels: Channels) -> Driver:
    """Return a driver of Slack."""
    return Driver(slack.KIND, SlackTarget(kind="slack", url=Secret("${U}")), f"{channels.url}/services/T/B/x", {})


def at_teams(channels: Channels) -> Driver:
    """Return a driver of Teams."""
    return Driver(teams.KIND, TeamsTarget(kind="teams", url=Secret("${U}")), f"{channels.url}/workflows/x", {})


@pytest.mark.parametrize("text", ["Ada is *hot*", "x" * 9_000, "é" * 3_500, "\ud7ff<&>"])
async def test_a_notice_is_posted(channels: Channels, text: str) -> None:
    """However long it is."""
    assert (await at_slack(channels).act(act_of("tell", "send", {"text": text}))).error is None
    fields = {"text": f"{text}\nand more", "title": "A lead"}
    assert (await at_teams(channels).act(act_of("tell", "send", fields))).error is None
    assert channels.refusals == []
    assert (len(channels.slack), len(channels.teams)) == (1, 1)


async def test_a_card_shows_what_a_lead_wrote_as_text(channels: Channels) -> None:
    """No link, no emphasis, and the line ends stay."""
    fields = {"text": "[free](https://evil.example) *now*\nline", "title": "_x_"}
    assert (await at_teams(channels).act(act_of("tell", "send", fields))).error is None
    [card] = channels.teams
    assert [block["text"] for block in card["body"]] == [r"\_x\_", r"\[free\](https://evil.example) \*now\*" + "\n\nline"]


@pytest.mark.parametrize(
    ("status", "words", "refusal"),
    [
        (404, b"no_service", Misconfigured), (410, b"channel_is_archived", Misconfigured),
        (403, b"action_prohibited", Misconfigured), (400, b"channel_not_found", Misconfigured),
        (400, b"invalid_blocks", Final), (429, b"rate_limited", Again),
    ],
)  # fmt: skip
def test_slacks_refusals_are_told_apart(status: int, words: bytes, refusal: type[Exception]) -> None:
    """A channel that is gone needs a person."""
    with pytest.raises(refusal):
        slack.judge(Answer(status, words))


@pytest.mark.parametrize(
    ("status", "refusal"), [(404, Misconfigured), (401, Misconfigured), (429, Again), (400, Final), (503, Again)]
)
def test_teams_refusals_are_told_apart(status: int, refusal: type[Exception]) -> None:
    """A workflow that is off needs a person. 202 is the usual success."""
    with pytest.raises(refusal):
        teams.judge(Answer(status))
    teams.judge(Answer(202))
