"""Notices in Slack and in Teams."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kit.vendors.channels import Channels
from tests.kit.vendors.driving import Driver, act_of
from worker.automations.requests import Again, Answer, Final, Lost, Misconfigured, Unknown
from worker.automations.targets import slack, teams
from worker.connections.secret import Secret
from worker.connections.targets import SlackTarget, TeamsTarget


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


async def test_a_lost_answer_is_for_a_person(channels: Channels) -> None:
    """Neither can be asked whether it has the notice, and a second one would be seen."""
    for driver in (at_slack(channels), at_teams(channels)):
        channels.lose_answer("POST", "/")
        act = act_of("tell", "send", {"text": "Ada is hot"})
        ended = await driver.act(act)
        assert isinstance(ended.error, Lost)
        assert isinstance((await driver.again(act, ended)).error, Unknown)
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
