"""What a grid counts: the same under other points, another under anything that changes a signal."""

from __future__ import annotations

import pytest

from tests.kit.grids import WORDED, a_grid, changed, parsed
from worker.core.grid.counted import counted_hash, counted_parts, signals_of
from worker.core.grid.models import Grid

GRID = """\
grid: counted
version: 1
timezone: Europe/Paris
pages: {pricing: ["/pricing*"]}
groups: {doing: {cap: 30}}
fit:
  rules:
    - {id: work, points: 5, where: {email_kind: business}}
    - {id: size, points: {table: company.size, bands: [[1, -3], [50, 7]], else: -1}}
engagement:
  half_life: 14d
  rules:
    - {id: pricing, points: 8, on: page.viewed, where: {page_type: pricing}, once_per: [day, session_id], cap: 24}
    - {id: worth, points: 1, on: score.adjusted, weigh: {path: points, min: -5, max: 5}, decay: {linear: 30d}}
    - {id: open, points: 1, on: email.opened, expires_after: 30d, group: doing}
velocity:
  - {id: back, on: page.viewed, count: days, within: 7d, steps: {3: 5, 5: 10}}
inactivity: [{after: 14d, every: 7d, points: -5}, {after: 60d, points: -20}]
exclusions:
  - {id: rival, where: {company.domain: [rival.example]}}
stages: {mql: {enter: 15}, sql: {enter: 30, sla: 4h}}
"""
BASE = parsed(GRID)


def test_signals_stand_in_the_order_of_the_file() -> None:
    """With the rule, velocity or tier that each is counted for."""
    found = signals_of(BASE)
    assert list(found) == [
        "work", "size/1", "size/50", "size/else", "pricing", "worth", "open", "back", "inactivity", "inactivity/2", "idle_days",
    ]  # fmt: skip
    assert found["size/else"] == "size"
    assert found["inactivity/2"] == "inactivity/2"
    assert set(found.values()) == {*counted_parts(BASE), "idle_days"}


def test_words_of_ours_give_way_to_ids_of_rules() -> None:
    """A rule may have such an id."""
    rules = "{rules: [{id: idle_days, points: 1, on: page.viewed}, {id: inactivity, points: 1, on: form.submitted}]}"
    grid = parsed(a_grid(engagement=rules, inactivity="{after: 1d, points: -1}"))
    assert list(signals_of(grid)) == ["idle_days", "inactivity", "inactivity_", "idle_days_"]


SAME: list[dict[str, object]] = [
    {"version": 2, "grid": "other"},
    {"fit.rules.work.points": 9, "fit.max": 40, "score": {"max": 100}},
    {"fit.rules.size.points": {"table": "company.size", "bands": [[1, 1], [50, 2]], "else": 3}},
    {"engagement.rules.pricing.points": 1, "engagement.rules.pricing.cap": 9, "engagement.rules.pricing.intent": True},
    {"engagement.rules.pricing.label": "Pricing", "engagement.rules.pricing.once_per": ["session_id", "day"]},
    {"engagement.rules.open.group": None, "groups": None},
    {"velocity.back.steps": {3: 1, 5: 2}},
    {"inactivity": [{"after": "14d", "every": "7d", "points": -1, "min": -9}, {"after": "60d", "points": 5}]},
    {"exclusions.rival.where": {"country": ["FR"]}},
    {"stages": {"sql": {"enter": 99}}, "phases": {"one": 5}, "retention": "400d"},
]


@pytest.mark.parametrize("change", SAME, ids=str)
def test_other_points_are_the_same_counting(change: dict[str, object]) -> None:
    """Nor do thresholds, groups, labels and exclusions change a signal."""
    assert counted_hash(other(change)) == counted_hash(BASE)
    assert counted_parts(other(change)) == counted_parts(BASE)


OTHER: list[tuple[dict[str, object], set[str]]] = [
    ({"fit.rules.work.where": {"email_kind": "free"}}, {"work"}),
    ({"fit.rules.size.points": {"table": "company.size", "bands": [[2, -3], [50, 7]]}}, {"size"}),
    ({"engagement.rules.pricing.on": "form.submitted"}, {"pricing"}),
    ({"engagement.rules.pricing.where": {"page_type": "product"}}, {"pricing"}),
    ({"engagement.rules.pricing.once_per": "day"}, {"pricing"}),
    ({"engagement.rules.pricing.half_life": "7d"}, {"pricing"}),
    ({"engagement.half_life": "7d"}, {"pricing", "open"}),
    ({"engagement.rules.worth.weigh": {"path": "points", "min": -5, "max": 6}}, {"worth"}),
    ({"engagement.rules.worth.decay": {"linear": "31d"}}, {"worth"}),
    ({"engagement.rules.worth.decay": {"window": "30d"}}, {"worth"}),
    ({"engagement.rules.open.expires_after": "31d"}, {"open"}),
    ({"velocity.back.count": "events"}, {"back"}),
    ({"velocity.back.within": "8d"}, {"back"}),
    ({"velocity.back.steps": {2: 5, 5: 10}}, {"back"}),
    ({"inactivity": [{"after": "15d", "every": "7d", "points": -5}, {"after": "60d", "points": -20}]}, {"inactivity"}),
    ({"pages": {"pricing": ["/prices*"]}}, {"pricing"}),
    ({"hash_routes": True}, {"pricing"}),
    ({"timezone": "UTC"}, {"pricing", "back"}),
]


@pytest.mark.parametrize(("change", "rules"), OTHER, ids=lambda one: str(one) if isinstance(one, dict) else "")
def test_another_counting_is_known_by_its_rules(change: dict[str, object], rules: set[str]) -> None:
    """The hash of the whole differs, and the hashes of the rules that count otherwise."""
    before, after = counted_parts(BASE), counted_parts(other(change))
    assert counted_hash(other(change)) != counted_hash(BASE)
    assert {name for name in before if before[name] != after[name]} == rules


def test_a_rule_more_or_less_is_another_counting() -> None:
    """Its signal is new, or gone."""
    less = other({"engagement.rules.open": None})
    assert counted_hash(less) != counted_hash(BASE)
    assert set(counted_parts(BASE)) - set(counted_parts(less)) == {"open"}


def test_numbers_texts_and_booleans_are_told_apart() -> None:
    """JSON's 1 and true are other values, though Python takes them for one."""
    fits = [f"{{rules: [{{id: one, points: 1, where: {{x: {value}}}}}]}}" for value in ("1", "'1'", "true")]
    hashes = {counted_hash(parsed(a_grid(fit=fit))) for fit in fits}
    assert len(hashes) == 3


def test_a_grid_with_every_word_has_its_hashes() -> None:
    """Nothing of the language is forgotten so far that it fails."""
    grid = parsed(WORDED)
    assert {"business-email", "role", "worth", "depth", "inactivity/2"} <= set(signals_of(grid).values())
    assert len(counted_hash(grid)) == 64


def other(change: dict[str, object]) -> Grid:
    """Return the grid with *change*."""
    return parsed(changed(GRID, change))
