"""Buying phases: when they change, when they stand still, and what a new grid makes of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.by_hand import START, Story
from tests.kit.comparison import Partition, text
from tests.kit.examples import examples
from tests.kit.grids import a_grid, changed
from tests.kit.oracle_values import instant
from tests.kit.stories import DAY, HOUR, an_event, fading, selling, time_of
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import replay_lines
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.phases import next_phase, phase_name
from worker.core.scoring.score import read
from worker.core.scoring.state import SQL, unpack

GRID = a_grid(
    engagement="""
        half_life: 7d
        rules:
          - {id: demo, points: 60, on: demo.requested, intent: true}
          - {id: page, points: 20, on: page.viewed}
          - {id: cold, points: -30, on: email.bounced, half_life: none}
    """,
    exclusions="[{id: rival, where: {company: rival}}]",
    stages="{mql: {enter: 50, leave: 40}, sql: {enter: 75, leave: 60, sla: 4h}, quiet: 7d}",
    phases="{consideration: {enter: 20, leave: 15}, decision: {enter: 50, leave: 5}}",
)
TAKES_LONG = changed(GRID, {"stages": None})


def moves(story: Story) -> list[tuple[int, str | None, str | None]]:
    """Return each change of phase as (time, from, to)."""
    return [(at, one or None, to or None) for at, type_, one, to in story.outputs() if type_ == "lead.phase"]


def test_a_lead_goes_up_to_the_highest_phase_at_once() -> None:
    """A demo is worth 60: one output from none to decision, after both stages."""
    story = Story(GRID).event(0, "demo.requested").event(1, "demo.requested")
    assert [(type_, one, to) for _, type_, one, to in story.outputs()] == [
        ("lead.mql", "contact", "mql"),
        ("lead.phase", None, "decision"),
        ("lead.sql", "mql", "sql"),
    ]
    mql, phase, _ = story.oracle.outputs
    assert (mql["data"]["phase"], phase["data"]["phase"], phase["data"]["stage"]) == (None, "decision", "mql")


def test_a_lead_falls_to_the_highest_lower_phase_whose_leave_it_reaches() -> None:
    """60 · 2^(−t/7d) is 15 after 14 days, yet decision holds down to 5. By then consideration is left as well."""
    story = Story(TAKES_LONG).event(0, "demo.requested").tick(60 * DAY)
    (_, _, _), (left, one, to) = moves(story)
    assert (one, to) == ("decision", None)
    assert 60 * 2 ** (-left / (7 * DAY)) == pytest.approx(5, abs=1e-6)
    story = Story(changed(TAKES_LONG, {"phases.decision.leave": 30})).event(0, "demo.requested").tick(60 * DAY)
    assert moves(story)[1:] == [(7 * DAY + 1, "decision", "consideration"), (14 * DAY + 1, "consideration", None)]


def test_a_phase_at_zero_is_published_for_a_new_lead_and_left_out_it_is_not() -> None:
    """Whoever wants no such output leaves that phase out."""
    story = Story(changed(TAKES_LONG, {"phases": "{discovery: 0, decision: 50}"})).event(0, "email.delivered")
    assert moves(story) == [(0, None, "discovery")]
    assert moves(Story(TAKES_LONG).event(0, "email.delivered")) == []


def test_in_one_instant_the_phase_comes_after_the_last_rung_and_before_the_sla() -> None:
    """A velocity step that ends at midnight cools a lead, changes its phase, and its SLA is over in that same millisecond."""
    grid = a_grid(
        velocity="[{id: v, on: page.viewed, count: days, within: 1d, steps: {1: 50}}]",
        stages="{mql: {enter: 20}, sql: {enter: 40, sla: 24h}}",
        phases="{interest: 30}",
    )
    story = Story(grid).event(0).tick(2 * DAY)
    assert [output[1:] for output in story.outputs()] == [
        ("lead.mql", "contact", "mql"),
        ("lead.sql", "mql", "sql"),
        ("lead.phase", None, "interest"),
        ("lead.cooled", "sql", "mql"),
        ("lead.cooled", "mql", "contact"),
        ("lead.phase", "interest", None),
        ("lead.sla_breached", "contact", "contact"),
    ]


def test_a_phase_stands_still_while_the_lead_is_excluded() -> None:
    """It is judged again when that ends, at the end's own instant."""
    story = Story(TAKES_LONG).event(0).traits(HOUR, company="rival").event(2 * HOUR, "demo.requested").tick(DAY)
    assert moves(story) == [(0, None, "consideration")]
    story.traits(2 * DAY, company=None)
    assert moves(story)[1:] == [(2 * DAY, "consideration", "decision")]


@pytest.mark.parametrize(("sold", "over"), [("crm.opportunity", "crm.lost"), ("crm.won", "crm.rejected")])
def test_a_phase_stands_still_while_sales_have_the_lead(sold: str, over: str) -> None:
    """Opportunities and clients are not nurtured. A loss ends that, and neither closes nor opens phases."""
    story = Story(TAKES_LONG).event(0).event(HOUR, sold).event(2 * HOUR, "demo.requested").tick(30 * DAY)
    assert moves(story) == [(0, None, "consideration")]
    story.event(31 * DAY, over)
    assert moves(story)[1:] == [(31 * DAY, "consideration", None)]


def test_quiet_and_rejections_do_not_touch_phases() -> None:
    """The ladder is closed to a rejected lead, while its phases go on."""
    story = Story(GRID).event(0, "demo.requested").event(HOUR, "crm.rejected").event(2 * HOUR, "email.bounced")
    story.event(3 * HOUR, "email.bounced").event(4 * HOUR, "demo.requested")
    assert [to for _, _, to in moves(story)] == ["decision", None, "decision"]


def test_an_erasure_ends_the_phase_without_an_output() -> None:
    """A lead that comes back is a new one, and publishes its first phase again."""
    story = Story(TAKES_LONG).event(0).event(HOUR, "lead.erased").event(2 * HOUR)
    assert [(type_, to) for _, type_, _, to in story.outputs()] == [
        ("lead.phase", "consideration"),
        ("lead.erased", ""),
        ("lead.phase", "consideration"),
    ]


def test_a_lead_that_is_identified_keeps_its_phase_and_the_visitors_ends_silently() -> None:
    """What the visitor did counts from then on, and the lead is judged by it."""
    lines = [
        an_event("visitor", 1, START, "demo.requested", {}),
        an_event("ada", 2, START + HOUR, "page.viewed", {"url": "/"}),
        an_event("ada", 3, START + 2 * HOUR, "lead.identified", {"anonymous_id": "visitor"}),
    ]
    result = replay_lines(text(lines), parse_grid(TAKES_LONG, "phases.yaml"), START + DAY)
    told = [
        (event["subject"], event["type"], event["data"]["from"], event["data"]["to"], event["data"]["phase"])
        for event in result.events
    ]
    assert told == [
        ("visitor", "lead.phase", None, "decision", "decision"),
        ("ada", "lead.phase", None, "consideration", "consideration"),
        ("visitor", "lead.stage", "contact", "contact", "decision"),
        ("ada", "lead.phase", "consideration", "decision", "decision"),
    ]
    assert [(lead["lead_id"], lead["phase"]) for lead in result.leads] == [("ada", "decision")]


# --- Another grid ------------------------------------------------------------------------------------------------------------


def under(partition: Partition, grid: str) -> list[tuple[str, Any, Any]]:
    """Judge all leads of *partition* by another grid from now on, and return what that publishes."""
    known = len(partition.outputs)
    partition.scorer = CompiledGrid(parse_grid(grid, "new.yaml"), "/leadpulse/replay")
    partition.tick((partition.clock or START) + HOUR, everyone=True)
    return [(one["type"], one["data"]["from"], one["data"]["to"]) for one in partition.outputs[known:]]


def phase_of(partition: Partition) -> str | None:
    """Return the phase of the lead."""
    return phase_name(partition.scorer, unpack(partition.states["ada"] or b""))


@pytest.mark.parametrize(
    ("before", "phases", "expected"),
    [
        (None, "{early: 10, late: 50}", "early"),  # the grid brings phases
        ("{early: 10}", "{early: {enter: 19, leave: 1}, late: 50}", "early"),  # other thresholds
        ("{early: 10}", "{young: 10, old: 90}", "young"),  # the phase is gone
        ("{late: 10}", "{early: 10, late: {enter: 50, leave: 15}}", "late"),  # it is held by its `leave`
        ("{early: 10}", None, None),  # phases are gone
    ],
)
def test_a_grid_that_brings_other_phases_puts_each_lead_into_its_own_silently(
    before: str | None, phases: str | None, expected: str | None
) -> None:
    """No list of nurturing mails goes out because somebody changed a file. Changes after that are published."""
    lines = [an_event("ada", 1, START, "page.viewed", {"url": "/"})]
    partition = Partition(changed(TAKES_LONG, {"phases": before})).feed(lines)
    partition.tick(START + HOUR, everyone=True)
    assert under(partition, changed(TAKES_LONG, {"version": 2, "phases": phases})) == []
    assert phase_of(partition) == expected
    assert (partition.writes["ada"].phase or None) == expected
    assert (partition.writes["ada"].phase is None) == (phases is None)
    known = len(partition.outputs)
    partition.events([an_event("ada", 2, START + DAY, "demo.requested", {})])
    changes = [one["data"]["to"] for one in partition.outputs[known:] if one["type"] == "lead.phase"]
    assert changes == ([] if phases is None or expected in ("late", "young") else ["late"])


def test_a_grid_with_the_same_phases_publishes_their_changes() -> None:
    """Other points are in force at once, and what they change is told."""
    lines = [an_event("ada", 1, START, "page.viewed", {"url": "/"})]
    partition = Partition(TAKES_LONG).feed(lines)
    partition.tick(START + HOUR, everyone=True)
    dearer = changed(TAKES_LONG, {"version": 2, "engagement.rules.page.points": 55})
    assert under(partition, dearer) == [("lead.phase", "consideration", "decision")]


def test_phases_that_come_back_put_leads_into_theirs_silently() -> None:
    """Under a grid without phases a lead has none, so nothing is compared with what was long ago."""
    partition = Partition(TAKES_LONG).feed([an_event("ada", 1, START, "page.viewed", {"url": "/"})])
    partition.tick(START + HOUR, everyone=True)
    assert under(partition, changed(TAKES_LONG, {"version": 2, "phases": None})) == []
    partition.events([an_event("ada", 2, START + DAY, "demo.requested", {})])
    assert under(partition, changed(TAKES_LONG, {"version": 3})) == []
    assert phase_of(partition) == "decision"


# --- Whatever happens --------------------------------------------------------------------------------------------------------


@examples(100)
@given(st.one_of(fading(), selling()), st.lists(st.integers(0, 3 * DAY), max_size=6))
def test_each_change_is_told_at_its_first_millisecond_and_none_is_missed(case: Any, waits: list[int]) -> None:
    """By the score alone: a change by time has a neighbour a millisecond before that still holds the phase left.

    At any other instant the phase is the one that its score keeps.
    """
    partition = Partition(case.grid)
    for line in case.lines:
        partition.feed([line])
    if not partition.scorer.phases or "ada" not in partition.states:
        return
    now = max(map(time_of, case.lines))
    for wait in sorted(waits):
        known = len(partition.outputs)
        before = partition.states["ada"] or b""
        partition.tick(now + wait)
        for output in partition.outputs[known:]:
            if output["type"] == "lead.phase":
                assert _held_before(partition, before, output)
        partition.tick(now + wait + 1, everyone=True)
        state = unpack(partition.states["ada"] or b"")
        if state.alive and state.stage <= SQL:
            name = phase_name(partition.scorer, state)
            held = -1 if name is None else partition.scorer.phase_places[name]
            assert next_phase(partition.scorer, held, read(partition.scorer, state, now + wait + 1).score) == held
        now += wait + 1


def _held_before(partition: Partition, packed: bytes, output: dict[str, Any]) -> bool:
    """Return whether a millisecond before *output*, which time alone caused, the score still kept the phase left."""
    scorer, left = partition.scorer, output["data"]["from"]
    held = -1 if left is None else scorer.phase_places[left]
    at = instant(output["time"])
    return next_phase(scorer, held, read(scorer, unpack(packed), at - 1).score) == held


def test_the_phase_is_no_byte_of_a_lead_without_phases() -> None:
    """A grid without the word costs nothing."""
    without = Partition(changed(GRID, {"phases": None})).feed([an_event("ada", 1, START, "page.viewed", {"url": "/"})])
    assert b"consideration" not in (without.states["ada"] or b"")
    assert "phase" not in json.dumps(without.outputs)


SWITCHES = a_grid(
    groups="{g: {best: true}}",
    engagement="""
        half_life: none
        rules:
          - {id: page, points: 20, on: page.viewed}
          - {id: cold, points: -5, on: email.bounced, group: g}
          - {id: demo, points: 15, on: demo.requested, half_life: 1d, group: g}
          - {id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -9, max: 9}, decay: {linear: 2d}}
    """,
    phases="{interest: {enter: 20, leave: 14}}",
)


def test_a_phase_that_a_group_takes_away_is_found_though_the_score_rises_again() -> None:
    """The demo falls to 5 after log2(3) days. Then the group gives −5, and a penalty that fades lifts the score again.

    At the end of the stretch the score is above `leave`. So a look at both ends alone misses the change.
    """
    lines = [
        an_event("ada", 1, START, "page.viewed", {"url": "/"}),
        an_event("ada", 2, START, "email.bounced", {"message_id": "m"}),
        an_event("ada", 3, START, "demo.requested", {}),
        an_event("ada", 4, START, "score.adjusted", {"points": -9}),
    ]
    (first, second) = replay_lines(text(lines), parse_grid(SWITCHES, "switches.yaml"), START + 3 * DAY).events
    assert (first["data"]["to"], second["data"]["from"], second["data"]["to"]) == ("interest", "interest", None)
    assert instant(second["time"]) - START == pytest.approx(DAY * math.log2(3), abs=1)
