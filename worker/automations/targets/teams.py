"""Teams: a card by a workflow of Power Automate. An answer of 202 does not mean that the card was shown.

By Microsoft's pages "Create incoming webhooks with Workflows" and "Adaptive Cards". Untested against a live team.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from worker.automations.acts import Act
from worker.automations.requests import Answer, Http, Misconfigured, Run, Steps, Unknown
from worker.automations.targets.answers import raise_for, scrubbed
from worker.automations.targets.common import Kind, Rate
from worker.automations.targets.crm import cut, read_with
from worker.automations.targets.fields import Line, Text, With

_MOST_TITLE: Final = 500
_MOST_BYTES: Final = 20_000
"""A message has some 28 kB at most, with all that is around the text."""

_VERSION: Final = "1.4"


class Card(With):
    """A card in the workflow's channel."""

    title: Line = Field(default="")
    """Its first line, in bold."""
    text: Text = Field(min_length=1)
    """The notice. Line ends are kept."""


def send(_target: object, act: Act, run: Run) -> Steps:
    """Post the card. Raises `Unknown` after a lost answer: a second card would be seen."""
    wanted = read_with(Card, act)
    if run.unsure:
        raise Unknown("Teams may have the card, and cannot be asked")
    blocks: list[dict[str, Any]] = []
    if wanted.title:
        title = _plain(cut(wanted.title, _MOST_TITLE))
        blocks.append({"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": True})
    text = _plain(_shortened(wanted.text))
    blocks.append({"type": "TextBlock", "text": text.replace("\n", "\n\n"), "wrap": True})
    schema = "http://adaptivecards.io/schemas/adaptive-card.json"
    card = {"$schema": schema, "type": "AdaptiveCard", "version": _VERSION, "body": blocks}
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    yield Http.json("send", "POST", "", {"type": "message", "attachments": [attachment]}, safe=False)
    return ""


def _shortened(text: str) -> str:
    held = text.encode()
    return text if len(held) <= _MOST_BYTES else held[:_MOST_BYTES].decode("utf-8", "ignore") + "…"


def _plain(text: str) -> str:
    """Return *text* with what a card would take for a link or for emphasis escaped."""
    return "".join(f"\\{each}" if each in "\\[]*_~`" else each for each in text)


def judge(answer: Answer) -> None:
    """Raise what an answer means. A workflow that is off or gone answers with 4xx."""
    words = answer.body[:300].decode("utf-8", "replace")
    if answer.status in (401, 403, 404, 405, 410):
        raise Misconfigured(
            f"Teams answers {answer.status}: {scrubbed(words)}. Look whether the workflow is on, and its address"
        )
    raise_for(answer, "Teams", words, wait_s=10.0)


KIND: Final = Kind(name="teams", actions={"send": send}, fields={"send": Card}, judge=judge, rate=Rate(4, 1.0))
