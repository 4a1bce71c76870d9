"""One lead told in few words, for examples worked out by hand. The oracle answers, and the core must answer the same."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML

from tests.kit.comparison import assert_replay_is_right
from tests.kit.oracle import Oracle
from tests.kit.oracle_values import instant, rfc3339
from tests.kit.stories import Case, Line, an_event

START = instant("2026-03-02T00:00:00Z")
"""A Monday, midnight in UTC."""


def an_oracle(grid: str, kind: type[Oracle] = Oracle) -> Oracle:
    """Return an oracle for a grid in YAML."""
    return kind(YAML(typ="safe", pure=True).load(grid), "/leadpulse/test")


class Story:
    """One lead, told in few words: times are milliseconds after `START`. Every answer is the oracle's, and the core's too."""

    def __init__(self, grid: str) -> None:
        self.grid = grid
        self.oracle = an_oracle(self.grid)
        self.lines: list[Line] = []

    def event(self, at: int, type: str = "page.viewed", id: str | None = None, **data: Any) -> Story:
        """Let the lead do something: by default it views the page `/`. The event's id is its number unless *id* says."""
        if type == "page.viewed":
            data.setdefault("url", "/")
        if type.startswith("email."):
            data.setdefault("message_id", "m")
        line = an_event("ada", len(self.lines), START + at, type, data)
        self.lines.append(line | {"id": id or line["id"]})
        self.oracle.event(self.lines[-1])
        return self

    def traits(self, at: int, **traits: Any) -> Story:
        """Let the lead's profile be updated."""
        return self.event(at, "profile.updated", traits=traits)

    def tick(self, at: int) -> Story:
        """Let time pass."""
        self.lines.append({"tick": rfc3339(START + at)})
        self.oracle.tick(START + at)
        return self

    def outputs(self) -> list[tuple[int, str, str, str]]:
        """Return each output as (time after `START`, type, from, to)."""
        assert_replay_is_right(Case(self.grid, self.lines, START))
        return [
            (instant(o["time"]) - START, o["type"], o["data"].get("from", ""), o["data"].get("to", ""))
            for o in self.oracle.outputs
        ]

    def row(self, at: int) -> dict[str, Any]:
        """Return the lead as `replay --leads` writes it, after a tick at *at*."""
        self.tick(at)
        assert_replay_is_right(Case(self.grid, self.lines, START + at))
        return self.oracle.finish(START + at)[0][0]

    def score(self, at: int) -> float:
        """Return the lead's score after a tick at *at*."""
        score = self.row(at)["score"]
        assert isinstance(score, float | int)
        return score

    def reason(self, at: int, kind: str, id: str | None = None) -> dict[str, Any]:
        """Return one of the reasons of the score after a tick at *at*."""
        return next(r for r in self.row(at)["reasons"] if r["kind"] == kind and r.get("id") == id)
