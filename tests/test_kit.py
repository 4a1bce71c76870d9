"""The helpers that build grids: a change that reaches nothing must not go unseen."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from tests.kit.grids import GRID, a_grid, changed, compiled, parsed
from worker.core.grid.messages import GridError

read = YAML(typ="safe", pure=True).load
FIT = a_grid(fit="{rules: [{id: size, points: 10, where: {company.size: {gte: 50}, country: [FR, NO]}}]}")


def test_a_grid_is_what_its_sections_say() -> None:
    """As text in one line or in several, or as plain values."""
    ladder = {"mql": {"enter": 8, "leave": 8}}
    rules = "rules:\n  - {id: page, points: 8, on: page.viewed}\n"
    assert read(a_grid(stages=ladder, engagement=rules)) == read(
        "grid: g\nversion: 1\nstages: {mql: {enter: 8, leave: 8}}\n"
        "engagement: {rules: [{id: page, points: 8, on: page.viewed}]}\n"
    )
    assert a_grid(grid="mine", version=3) == "grid: mine\nversion: 3\n"
    assert compiled(a_grid(version=3)).grid.version == 3


def test_an_indented_section_is_read_as_it_stands() -> None:
    """Texts in tests are indented as the code around them."""
    grid = a_grid(
        engagement="""
            half_life: 7d
            rules:
              - {id: page, points: 8, on: page.viewed}
        """
    )
    assert grid == (
        "grid: g\nversion: 1\nengagement:\n  half_life: 7d\n  rules:\n    - {id: page, points: 8, on: page.viewed}\n"
    )


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("version", 2, "version: 1", "version: 2"),
        ("stages.sql.enter", 31, "enter: 30", "enter: 31"),
        ("stages.sql", None, "  sql: {enter: 30, leave: 20, intent_within: 30d, sla: 3s}\n", ""),
        ("stages.mql", "{enter: 4}", "{enter: 15, leave: 10}", "{enter: 4}"),
        ("engagement.rules.form.cap", None, ", cap: 30", ""),
        ("engagement.rules.form.cap", "7", "cap: 30", "cap: 7"),
        ("engagement.rules.1.points", 16, "points: 15", "points: 16"),
        ("engagement.rules.form.once_per", "day", "cap: 30", "cap: 30, once_per: day"),
        ("velocity.comes-back.steps.2", 6, "steps: {2: 5}", "steps: {2: 6}"),
        ("exclusions.unsubscribed.on", '"email.bounced"', "[email.unsubscribed]", '"email.bounced"'),
        (
            "exclusions.+",
            "{id: bounced, on: email.bounced}",
            "[email.unsubscribed]}\n",
            "[email.unsubscribed]}\n  - {id: bounced, on: email.bounced}\n",
        ),
        ("pages", None, 'pages: {pricing: ["/pricing*"]}\n', ""),
    ],
)
def test_a_change_leaves_all_else_as_it_was_written(path: str, value: object, old: str, new: str) -> None:
    """Else a test of messages by line, or of hashes of texts, would see two changes."""
    assert GRID.count(old) == 1
    assert read(changed(GRID, {path: value})) == read(GRID.replace(old, new))
    assert changed(GRID, {}) == GRID


@pytest.mark.parametrize("path", ["fit.rules.size.where.company.size.gte", "fit.rules.size.where.country.1"])
def test_a_path_ends_below_a_trait_whose_name_has_dots(path: str) -> None:
    """Traits are named as in `where`."""
    assert parsed(changed(FIT, {path: 60 if path.endswith("gte") else "BE"})) != parsed(FIT)


def test_a_trait_whose_name_has_dots_is_changed_and_taken_away() -> None:
    """It is one key, not a path."""
    assert "company.size: 5" in changed(FIT, {"fit.rules.size.where.company.size": 5})
    assert "company.size" not in changed(FIT, {"fit.rules.size.where.company.size": None})


def test_a_list_that_is_not_there_begins_with_what_is_added() -> None:
    """A grid without velocity gets some."""
    grid = changed(FIT, {"velocity.+": "{id: v, on: page.viewed, count: days, within: 7d, steps: {2: 5}}"})
    assert [one.id for one in parsed(grid).velocity] == ["v"]


@pytest.mark.parametrize("path", ["stages.mqls.enter", "engagement.rules.forms.cap", "inactivity", "stages.mql.min_fit"])
def test_a_change_that_reaches_nothing_is_a_mistake_of_the_test(path: str) -> None:
    """The test would go on with the grid as it was."""
    with pytest.raises(KeyError, match=r"the grid has no|nothing there has"):
        changed(GRID, {path: None})


def test_a_grid_with_a_mistake_is_not_parsed() -> None:
    """By the worker's own reader."""
    with pytest.raises(GridError, match=r"g\.yaml:3"):
        parsed(a_grid(engagement="{rules: many}"))
