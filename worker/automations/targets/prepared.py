"""Fields that a target must have before states can be written there: looked up, and made where the vendor's API can."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, NamedTuple, TypeAlias

from worker.automations.requests import Answer, Http


class Wanted(NamedTuple):
    """A field that our writes need."""

    name: str
    type: Literal["text", "long", "number"] = "text"
    """`long` is text of more than 255 characters."""
    unique: bool = False
    """It holds the lead's id, so no two records may have one value."""


class Prepared(NamedTuple):
    """What became of a field."""

    name: str
    state: Literal["there", "made", "missing", "by hand"]
    """`missing`: it can be made, and was not, for the command only looked."""
    what: str = ""
    """What to do, or what to know."""


Preparation: TypeAlias = Generator[Http, Answer, list[Prepared]]
"""Requests that look up fields and make them. Each is safe: a field that is there is not made again."""


def label_of(name: str) -> str:
    """Return a label for people: `leadpulse_score` is "Leadpulse score"."""
    words = name.removesuffix("__c").replace("_", " ").strip()
    return words[:1].upper() + words[1:]
