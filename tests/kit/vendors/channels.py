"""Slack's incoming webhook, and a workflow of Teams."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.kit.vendors.base import Refused, Reply, Request, Vendor, route


@dataclass
class Channels(Vendor):
    """Slack's webhook and a workflow of Teams."""

    name: ClassVar[str] = "channels"
    slack: list[dict[str, Any]] = field(default_factory=list)
    teams: list[dict[str, Any]] = field(default_factory=list)

    @route("POST", r"/services/T/B/[\w-]+")
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

    @route("POST", r"/workflows/[\w-]+")
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
