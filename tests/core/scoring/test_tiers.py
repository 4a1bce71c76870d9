"""Tiers of inactivity: each counts on its own, their points add up, and time alone moves a lead at the exact instant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.comparison import Partition, text
from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.oracle_values import duration, instant, rfc3339
from tests.kit.stories import DAY, HOUR, START, an_event
from worker.core.grid.diff import compare
from worker.core.grid.lint import lint
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.report import show_markdown
from worker.core.insight.replay import replay_lines

SHARE = "{rules: [{id: share, points: 40, on: social.shared}]}"
TIERS = [{"after": "30d", "points": -10}, {"after": "90d", "every": "30d", "points": -5, "min": -20}]


def scored(tiers: Any, at_ms: int, **sections: object) -> dict[str, Any]:
    """Return Ada, who shared once at the start, *at_ms* after it."""
    grid = parse_grid(a_grid(engagement=SHARE, inactivity=tiers, **sections), "g.yaml")
    return replay_lines(text([an_event("ada", 1, START, "social.shared", {})]), grid, START + at_ms).leads[0]


def taken(tier: dict[str, Any], silence_ms: int) -> float:
    """Formula 5, for one tier: the slow way."""
    due, every, points = duration(tier["after"]) or 0, duration(tier.get("every")), 0.0
    while due <= silence_ms:
        points += tier["points"]
        if every is None:
            break
        due += every
    return max(points, tier["min"]) if "min" in tier else points


tiers = st.lists(
    st.fixed_dictionaries(
        {"after": st.sampled_from(["0s", "1h", "1d", "36h", "3d"]), "points": st.sampled_from([-7, -3, -1, 2])},
        optional={"every": st.sampled_from(["12h", "1d", "1w"]), "min": st.sampled_from([-4, -9, -20])},
    ),
    min_size=1,
    max_size=4,
)


def test_each_tier_takes_its_own_points_and_stops_at_its_own_floor() -> None:
    """30 days: −10. From 90 days on: −5 more every 30 days, not below −20 in that tier."""
    at = {30 * DAY - 1: 40, 30 * DAY: 30, 90 * DAY - 1: 30, 90 * DAY: 25, 120 * DAY: 20, 180 * DAY: 10, 999 * DAY: 10}
    assert {ms: scored(TIERS, ms)["score"] for ms in at} == at


def test_each_tier_is_a_reason_with_its_place() -> None:
    """A tier that takes nothing yet has none; a lone tier needs no place."""
    silent = [one for one in scored(TIERS, 125 * DAY)["reasons"] if one["kind"] == "inactivity"]
    assert silent == [{"kind": "inactivity", "points": -10.0, "place": 1}, {"kind": "inactivity", "points": -10.0, "place": 2}]
    (first,) = [one for one in scored(TIERS, 30 * DAY)["reasons"] if one["kind"] == "inactivity"]
    assert first == {"kind": "inactivity", "points": -10.0, "place": 1}
    (alone,) = [one for one in scored(TIERS[0], 125 * DAY)["reasons"] if one["kind"] == "inactivity"]
    assert alone == {"kind": "inactivity", "points": -10.0}


@examples(100)
@given(
    tiers,
    st.lists(
        st.one_of(st.integers(0, 20 * DAY), st.sampled_from([HOUR, DAY, 36 * HOUR, 3 * DAY, 10 * DAY, 20 * DAY])),
        min_size=1,
        max_size=4,
    ),
)
def test_the_points_of_the_tiers_add_up(some: list[dict[str, Any]], waits: list[int]) -> None:
    """At any instant, and one millisecond to either side."""
    for ms in {at for wait in waits for at in (wait - 1, wait, wait + 1) if at >= 0}:
        lead = scored(some, ms)
        assert lead["score"] == pytest.approx(40 + sum(taken(tier, ms) for tier in some), abs=1e-9)
        assert sum(reason["points"] for reason in lead["reasons"]) == pytest.approx(lead["score"], abs=1e-9)


@examples(100)
@given(
    tiers.filter(lambda some: all(tier["after"] != "0s" for tier in some)),
    st.sampled_from([39.5, 36.5, 31.5, 20.5]),
    st.integers(0, 20 * DAY),
)
def test_a_lead_cools_at_the_instant_at_which_the_tiers_carry_it_below(
    some: list[dict[str, Any]], leave: float, step: int
) -> None:
    """And its due instant is not later, whether one tick or many ask, and wherever they fall."""
    grid = a_grid(engagement=SHARE, inactivity=some, stages={"mql": {"enter": 40, "leave": leave}})
    instants = sorted({at for tier in some for at in steps(tier, 40 * DAY)})
    below = next((at for at in instants if 40 + sum(taken(tier, at) for tier in some) < leave), None)
    partition = Partition(grid).feed([an_event("ada", 1, START, "social.shared", {})])
    due = partition.writes["ada"].due_ms
    assert below is None or (due is not None and due <= START + below)
    for at in (START + step, START + 40 * DAY):
        partition.tick(at)
    cooled = [instant(one["time"]) - START for one in partition.outputs if one["type"] == "lead.cooled"]
    assert cooled[:1] == [] if below is None else cooled[:1] == [below]


def steps(tier: dict[str, Any], until: int) -> list[int]:
    """Return the instants up to *until* at which a tier steps."""
    after, every = duration(tier["after"]) or 0, duration(tier.get("every"))
    return [after] if every is None else list(range(after, until + 1, every))


# --- the grid --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "path", "hint"),
    [
        ("[]", "inactivity", "empty"),
        ("3", "inactivity", "write a list"),
        ("[3]", "inactivity[0]", "write a mapping"),
        ("[{after: 1d, points: -1}, {points: -1}]", "inactivity[1].after", "missing"),
        ("[{after: 1d, points: -1, min: 3}]", "inactivity[0].min", "write min: -3"),
        ("[{after: 1d, points: -1, evry: 3d}]", "inactivity[0].evry", "did you mean 'every'"),
        ("{after: 1d, points: -1, evry: 3d}", "inactivity.evry", "did you mean 'every'"),
    ],
)
def test_a_mistake_in_a_tier_is_named_where_it_stands(written: str, path: str, hint: str) -> None:
    """A lone tier has no place in a list."""
    with pytest.raises(GridError) as caught:
        parse_grid(a_grid(inactivity=written), "g.yaml")
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.path) == (3, path)
    assert hint in mistake.message


def test_the_page_and_the_differences_name_each_tier() -> None:
    """Other tiers are in force at once: nothing is replayed."""
    old = parse_grid(a_grid(inactivity=TIERS), "old.yaml")
    new = parse_grid(a_grid(inactivity=[TIERS[0], {**TIERS[1], "points": -6}]), "new.yaml")
    page = show_markdown(old)
    assert "1. −10 once the lead has done nothing for 30 days." in page
    assert "2. −5 once the lead has done nothing for 90 days and −5 every 30 days after that, at least −20 in all." in page
    difference = compare(old, new)
    assert [one.path for one in difference.changes] == ["inactivity[1]"]
    assert difference.replay == []


def test_a_tier_that_rewards_silence_is_warned_of_at_its_place() -> None:
    """As a lone one is."""
    grid = parse_grid(a_grid(inactivity=[TIERS[0], {"after": "1d", "points": 4}]), "g.yaml")
    assert [one.path for one in lint(grid) if one.code == "inactivity-rewards"] == ["inactivity[1].points"]


def test_an_event_makes_all_tiers_begin_anew() -> None:
    """Silence counts from the latest activity, in each."""
    grid = parse_grid(a_grid(engagement=SHARE, inactivity=TIERS), "g.yaml")
    lines = [an_event("ada", 1, START, "social.shared", {}), an_event("ada", 2, START + 100 * DAY, "page.viewed", {"url": "/"})]
    assert replay_lines(text(lines), grid, START + 129 * DAY).leads[0]["score"] == 40
    assert rfc3339(START + 130 * DAY) == replay_lines(text(lines), grid, START + 130 * DAY).leads[0]["as_of"]
    assert replay_lines(text(lines), grid, START + 130 * DAY).leads[0]["score"] == 30
