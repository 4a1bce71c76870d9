"""Signals: a rule's points are its signal times the grid's points, whatever words the grid uses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.stories import DAY, HOUR, START, Case, an_event
from tests.kit.word_strategies import worded_cases
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.point_tables import PointsTable
from worker.core.insight.replay import Replay
from worker.core.scoring.score import reasons
from worker.core.scoring.signals import signal_ids, signals
from worker.core.scoring.state import LeadState, unpack


def states_of(run: Replay, lines: list[dict[str, Any]]) -> list[LeadState]:
    """Return the states of the leads of *lines* that are held after them."""
    for number, line in enumerate(lines):
        run.line(json.dumps(line).encode(), "made-up", number)
    run.finish()
    packed = [run.state_of(lead) for lead in sorted({line["subject"] for line in lines if "subject" in line})]
    return [state for state in map(unpack, filter(None, packed)) if state.alive]


def one_lead(grid: str, *events: tuple[int, str, dict[str, Any]]) -> tuple[Replay, LeadState]:
    """Return a run over the events (time after `START`, type, data) of one lead, and its state."""
    run = Replay(parse_grid(grid, "g.yaml"))
    lines = [an_event("ada", number, START + at, type_, data) for number, (at, type_, data) in enumerate(events)]
    (state,) = states_of(run, lines)
    return run, state


def points_of(grid: Grid, found: dict[str, float]) -> dict[tuple[str, str, str | None], float]:
    """Return the points that the signals *found* are worth, by (kind, id, row or place) as reasons name them."""
    worth: dict[tuple[str, str, str | None], float] = {}
    for fit in grid.fit.rules:
        if isinstance(fit.points, PointsTable):
            rows = [*((row.name, row.points) for row in fit.points.rows), ("else", fit.points.otherwise)]
            taken = [(name, points * found[f"{fit.id}/{name}"]) for name, points in rows if f"{fit.id}/{name}" in found]
            worth |= {("fit", fit.id, name): points for name, points in taken}
        elif fit.id in found:
            worth["fit", fit.id, None] = fit.points * found[fit.id]
    worth |= {("rule", one.id, None): one.points * found[one.id] for one in grid.engagement.rules if one.id in found}
    for pace in grid.velocity:
        if pace.id in found:
            worth["velocity", pace.id, None] = pace.steps[int(found[pace.id]) - 1][1]
    for place, tier in enumerate(grid.inactivity, start=1):
        name = "inactivity" if place == 1 else f"inactivity/{place}"
        if name in found:
            worth["inactivity", "", str(place) if len(grid.inactivity) > 1 else None] = tier.points * found[name]
    return {name: points for name, points in worth.items() if points}


@examples(150)
@given(worded_cases(), st.lists(st.one_of(st.integers(0, 20 * DAY), st.sampled_from([0, HOUR, DAY, 7 * DAY])), max_size=3))
def test_signals_times_points_are_the_points_of_each_rule(case: Case, waits: list[int]) -> None:
    """At the clock of each lead and later: the same rules, the same points, groups and clamps apart."""
    run = Replay(parse_grid(case.grid, "made-up.yaml"))
    scorer = run.scorer
    for state in states_of(run, case.lines):
        at_ms = max(state.clock_ms, run.clock_ms or 0)
        for wait in (0, *waits):
            at_ms += wait
            expected = {
                (reason.kind, reason.id or "", reason.row or (str(reason.place) if reason.place else None)): reason.points
                for reason in reasons(scorer, state, at_ms)
                if reason.kind not in ("clamp", "group")
            }
            found = signals(scorer, state, at_ms)
            assert points_of(scorer.grid, found) == pytest.approx(expected, abs=1e-9, rel=1e-9)
            ids = signal_ids(scorer)
            assert list(found) == [id_ for id_ in ids if id_ in found]
            assert all(found.values())


def test_signals_stand_in_the_order_of_the_file() -> None:
    """Rules that share what they count keep the place that each has in the file."""
    rules = "{id: a, points: 1, on: page.viewed}, {id: b, points: 1, on: email.clicked}, {id: c, points: 2, on: page.viewed}"
    run, state = one_lead(
        a_grid(engagement=f"{{rules: [{rules}]}}"),
        (0, "page.viewed", {"url": "/"}),
        (1, "email.clicked", {"message_id": "m"}),
    )
    assert list(signals(run.scorer, state, START + 1)) == ["a", "b", "c"]


def test_the_cap_and_the_floor_bound_a_signal() -> None:
    """Ten views under a cap of 12 count three times at 4 points; the floor of −5 ends the steps of −2 at two and a half."""
    grid = a_grid(
        engagement="{rules: [{id: views, points: -4, cap: 12, on: page.viewed}]}",
        inactivity="{after: 1d, every: 1d, points: -2, min: -5}",
    )
    run, state = one_lead(grid, *((n, "page.viewed", {"url": "/"}) for n in range(10)))
    found = signals(run.scorer, state, START + 9 + 10 * DAY)
    assert found == {"views": 3.0, "inactivity": 2.5, "idle_days": 10.0}
    assert signals(run.scorer, state, START + 9) == {"views": 3.0}
    assert signals(run.scorer, state, START + 9 + 500 * DAY)["idle_days"] == 365.0


def test_rules_without_points_have_signals_too() -> None:
    """A rule, a step and a tier that are worth nothing yet are counted all the same, so that a fit can see them."""
    grid = a_grid(
        fit="{rules: [{id: cto, points: 0, where: {role: cto}}]}",
        engagement="{rules: [{id: views, points: 0, cap: 5, on: page.viewed, half_life: 1d}]}",
        velocity="[{id: often, on: page.viewed, count: events, within: 3d, steps: {1: 0, 2: 0, 3: 5}}]",
        inactivity="[{after: 2h, every: 1h, points: 0}, {after: 1h, points: 0}]",
    )
    page = ("page.viewed", {"url": "/"})
    run, state = one_lead(grid, (0, *page), (0, *page), (0, "profile.updated", {"traits": {"role": "cto"}}))
    found = signals(run.scorer, state, START + 4 * HOUR)
    assert found == pytest.approx(
        {"cto": 1, "views": 2 * 2 ** (-4 / 24), "often": 2, "inactivity": 3, "inactivity/2": 1, "idle_days": 4 / 24}
    )


def test_a_rule_may_have_the_name_of_a_signal_of_ours() -> None:
    """Ours gets a `_` behind its name."""
    grid = a_grid(
        engagement="{rules: [{id: inactivity, points: 1, on: page.viewed}, {id: idle_days, points: 1, on: page.viewed}]}",
        inactivity="[{after: 1h, points: -1}, {after: 2h, points: -1}]",
    )
    run, state = one_lead(grid, (0, "page.viewed", {"url": "/"}))
    assert signal_ids(run.scorer) == ("inactivity", "idle_days", "inactivity_", "inactivity_/2", "idle_days_")
    found = signals(run.scorer, state, START + DAY)
    assert found == {"inactivity": 1, "idle_days": 1, "inactivity_": 1, "inactivity_/2": 1, "idle_days_": 1}


def test_a_table_has_a_signal_for_each_row() -> None:
    """A trait that meets no row has `else`, and a missing one has none."""
    table = "{table: company.size, bands: [[10, -3], [50, 4]], else: 2}"
    grid = a_grid(fit=f"{{rules: [{{id: size, points: {table}}}]}}", engagement="{rules: []}")
    for size, expected in ((80, {"size/50": 1}), (10, {"size/10": 1}), (9, {"size/else": 1}), (None, {})):
        run, state = one_lead(grid, (0, "profile.updated", {"traits": {"company.size": size, "role": "cto"}}))
        assert signals(run.scorer, state, START) == expected
        assert signal_ids(run.scorer) == ("size/10", "size/50", "size/else", "idle_days")
