"""What docs/scoring.md and the notes say of the grids is so."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

from tests.kit.presets import KNOWN, PRESETS, PRICING, WEBINAR, preset
from worker.core.grid.lint_codes import Code
from worker.core.grid.models import Grid
from worker.core.insight.replay import replay_lines

ROOT = Path(__file__).parents[2]
SCORING = (ROOT / "docs" / "scoring.md").read_text()


def section(title: str) -> str:
    """Return what stands below a heading of docs/scoring.md."""
    return SCORING.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, heads left out."""
    lines = [
        line.strip().removeprefix("|").removesuffix("|").split("|")
        for line in section(title).splitlines()
        if line.startswith("|")
    ]
    return [[cell.strip() for cell in line] for line in lines if not set("".join(line)) <= set("- ")]


def ids(grid: Grid) -> set[str]:
    """Return the ids of all rules."""
    parts = ((r.id for r in grid.fit.rules), (r.id for r in grid.engagement.rules), (r.id for r in grid.velocity))
    return {*chain.from_iterable(parts), *(r.id for r in grid.exclusions)}


def test_every_rule_of_the_preset_is_of_one_of_the_nine_kinds() -> None:
    """Each exactly once; so the table is the grid's own index."""
    named = re.findall(r"`([\w-]+)`", " ".join(row[-1] for row in rows("The nine kinds")[1:]))
    assert sorted(named) == sorted(ids(preset("saas-b2b")) | {"inactivity"})


def test_the_rules_that_show_intent_are_named() -> None:
    """It is what sales ask first."""
    (sentence,) = re.findall(r"open the way to SQL: (.*)\.", SCORING)
    assert set(re.findall(r"`([\w-]+)`", sentence)) == {r.id for r in preset("saas-b2b").engagement.rules if r.intent}


def test_the_story_of_one_lead_is_what_the_grid_gives() -> None:
    """Fit, engagement and score of every line that something was published at."""
    result = replay_lines([*KNOWN, *WEBINAR, *PRICING, '{"tick": "2026-05-08T10:00:00Z"}'], preset("saas-b2b"))
    happened = [(e["type"], *(round(e["data"][name], 1) for name in ("fit", "engagement", "score"))) for e in result.events]
    told = [
        (found[1], *(float(number.replace("−", "-")) for number in row[2:5]))
        for row in rows("One lead")
        if (found := re.search(r"`(lead\.\w+)`", row[5]))
    ]
    assert happened == told


def test_the_table_of_half_lives_is_computed() -> None:
    """A tenth of a point is the rounding."""
    _, *table = rows("The formulas")[-5:]
    for name, *cells in table:
        half = int(name.removesuffix("d"))
        assert [float(cell) for cell in cells] == [round(10 * 2 ** (-days / half), 1) for days in (7, 14, 30, 90)]


def test_every_warning_is_explained() -> None:
    """The code in brackets is what one looks up."""
    explained = [code for row in rows("What the check warns of")[1:] for code in re.findall(r"`([\w-]+)`", row[0])]
    assert sorted(explained) == sorted(get_args(Code)), "give each code one row in docs/scoring.md, What the check warns of"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_its_line_in_the_notes(name: str) -> None:
    """Who looks for a grid looks there."""
    assert f"| `{name}` |" in (ROOT / "grids" / "README.md").read_text()


def test_the_runbook_shows_the_hash_of_the_grid_as_it_is() -> None:
    """An operator compares the line of `doctor` with the grid that comes with this release."""
    shown = re.findall(r"saas-b2b version 3, sha256 (\w+)", (ROOT / "ops" / "runbook.md").read_text())
    assert shown == [preset("saas-b2b").sha256[:12]]
