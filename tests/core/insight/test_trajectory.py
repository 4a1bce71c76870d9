"""The course of a score is what a replay gives, whenever one looks."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.oracle_values import instant
from tests.kit.stories import DAY, HOUR, START, Case, an_event, selling
from tests.kit.strategies import cases
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay
from worker.core.insight.trajectory import Sample, future, past, sample, until_flat
from worker.core.scoring.state import STAGES, unpack


def replayed(case: Case, at_ms: int, lines: int | None = None) -> Replay:
    """Return the replay of the case's first *lines*, with Ada watched."""
    run = Replay(parse_grid(case.grid, "grid.yaml"), watched="ada")
    for line in case.lines[:lines]:
        run.line(json.dumps(line).encode())
    run.finish(at_ms)
    return run


@examples(150)
@given(case=st.one_of(cases(), selling()), every_ms=st.sampled_from([HOUR, DAY, 40 * DAY]))
def test_the_past_shows_every_move_at_its_instant(case: Case, every_ms: int) -> None:
    """Those of the outputs since the last erasure, whether an event, a tick or time alone brought them."""
    run = replayed(case, case.at_ms)
    if not run.turns:
        return
    end_ms = max(run.turns[-1].at_ms, case.at_ms)
    samples = list(past(run.scorer, run.turns, end_ms, every_ms))
    assert [one.at_ms for one in samples] == sorted(one.at_ms for one in samples)
    outputs = [json.loads(output.value or b"") for output in run.take_outputs()]
    outputs = [one for one in outputs if one["subject"] == "ada"]
    while any(one["type"] == "lead.erased" for one in outputs):
        outputs = outputs[1:]
    moved = {(instant(one["time"]), one["data"]["to"]) for one in outputs if one["data"]["from"] != one["data"]["to"]}
    drawn = {(b.at_ms, STAGES[b.stage]) for a, b in pairwise(samples) if a.stage != b.stage}
    if run.turns[0].at_ms == samples[0].at_ms and samples[0].stage:
        drawn.add((samples[0].at_ms, STAGES[samples[0].stage]))
    # Two moves at one instant are one upright line in the picture: it ends where the later one does.
    assert drawn <= moved
    assert {at for at, _ in drawn} == {at for at, _ in moved if _ends_elsewhere(samples, at)}
    last = next(line for line in run.leads() if line.lead_id == "ada")
    assert samples[-1][1:4] == pytest.approx((last.score, last.fit, last.engagement), abs=1e-9)
    assert STAGES[samples[-1].stage] == last.stage


def _ends_elsewhere(samples: list[Sample], at_ms: int) -> bool:
    """Return whether the stage right after *at_ms* is another than right before it."""
    before = [one.stage for one in samples if one.at_ms < at_ms]
    after = [one.stage for one in samples if one.at_ms == at_ms]
    return len({*before[-1:], *after, *([] if before else [0])}) > 1


@examples(100)
@given(case=st.one_of(cases(), selling()), data=st.data())
def test_every_sample_is_what_a_replay_judged_at_that_instant_says(case: Case, data: st.DataObject) -> None:
    """Ahead: a tick at the sample's instant gives its score and its stage."""
    run = replayed(case, case.at_ms)
    packed = run.state_of("ada")
    state = None if packed is None else unpack(packed)
    if state is None or not state.alive:
        return
    now_ms = max(state.clock_ms, case.at_ms)
    samples = list(future(run.scorer, state, now_ms, now_ms + 60 * DAY, 7 * DAY))
    one = data.draw(st.sampled_from(samples))
    told = next(line for line in replayed(case, one.at_ms).leads() if line.lead_id == "ada")
    stages = {STAGES[other.stage] for other in samples if other.at_ms == one.at_ms}
    assert one[1:4] == pytest.approx((told.score, told.fit, told.engagement), abs=1e-9)
    assert told.stage in stages


GRID = """
grid: drawn
version: 1
engagement: {half_life: 1d, rules: [{id: visit, points: 10, on: page.viewed}]}
inactivity: {after: 12h, points: -4}
stages: {mql: {enter: 15, leave: 3}}
"""


def test_curves_bend_and_jumps_stand_upright() -> None:
    """Two visits half a day apart: between them decay, at the second a jump within a millisecond, then silence costs."""
    lines = [an_event("ada", n, START + n * HOUR * 8, "page.viewed", {"url": "/"}) for n in range(2)]
    run = replayed(Case(GRID, lines, 0), START + DAY)
    samples = list(past(run.scorer, run.turns, START + DAY, HOUR))
    at = {one.at_ms - START: one for one in samples}
    assert at[0].score == 10
    assert at[4 * HOUR].score == pytest.approx(10 * 2 ** (-4 / 24))
    jump = at[8 * HOUR].score - at[8 * HOUR - 1].score
    assert jump == pytest.approx(10, abs=1e-5)
    assert (at[8 * HOUR - 1].stage, at[8 * HOUR].stage) == (0, 1)
    silence = at[20 * HOUR].score - at[20 * HOUR - 1].score
    assert silence == pytest.approx(-4, abs=1e-5)


def test_an_erased_lead_has_no_past() -> None:
    """What was erased is not drawn."""
    lines = [
        an_event("ada", 1, START, "page.viewed", {"url": "/"}),
        an_event("ada", 2, START + HOUR, "lead.erased", {}),
        an_event("ada", 3, START + DAY, "page.viewed", {"url": "/"}),
    ]
    run = replayed(Case(GRID, lines, 0), START + DAY)
    assert [turn.at_ms for turn in run.turns] == [START + DAY]


def test_a_course_ends_where_nothing_changes_any_more() -> None:
    """The last visible change ends the picture; a lead that never changes is one instant."""
    flat = [Sample(n, 5.0, 5.0, 0.0, 0) for n in range(5)]
    falling = [Sample(-n, 5.0 + n, 5.0, float(n), 0) for n in range(4, 0, -1)]
    assert until_flat([*falling, *flat]) == [*falling, flat[0]]
    assert until_flat(flat) == flat[:1]


def test_a_sample_is_the_lead_at_that_instant() -> None:
    """Score, fit and engagement as `read` says them."""
    run = replayed(Case(GRID, [an_event("ada", 1, START, "page.viewed", {"url": "/"})], 0), START)
    assert sample(run.scorer, unpack(run.turns[0].state), START + DAY) == Sample(START + DAY, 1.0, 0.0, 1.0, 0)
