"""The chance to be won: what the oracle says, in published numbers that multiply, and the same on every machine."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.comparison import assert_replay_is_right
from tests.kit.examples import examples
from tests.kit.grids import a_grid, changed, parsed
from tests.kit.models import METRICS, TRAINED, a_model, with_a_model
from tests.kit.oracle_prediction import assert_factors_multiply
from tests.kit.stories import DAY, START, Case, an_event
from tests.kit.strategies import cases
from tests.kit.word_strategies import worded_cases
from worker.core.grid.counted import signals_of
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay, ReplayResult, replay_lines
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.halving import exp
from worker.core.scoring.prediction import model_of
from worker.core.scoring.signals import signal_ids, signals
from worker.core.scoring.state import EXCLUDED, LeadState, unpack

NUMBERS = st.floats(-3, 3).map(lambda number: round(number, 3))


@st.composite
def predicting(draw: st.DrawFn, of: st.SearchStrategy[Case]) -> Case:
    """Return a case whose grid has a model: of some of its signals, some of them capped."""
    case = draw(of)
    names = list(signals_of(parsed(case.grid)))
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=30))
    grid = with_a_model(
        case.grid,
        {name: [draw(NUMBERS), draw(NUMBERS)] for name in chosen},
        caps={name: draw(st.sampled_from([0.5, 1, 3])) for name in chosen if draw(st.booleans())},
        intercept=draw(st.floats(-8, 8)),
        calibration=[draw(NUMBERS), draw(NUMBERS)],
        trained=TRAINED | draw(st.sampled_from([{}, {}, {}, {"won": 43}, {"won": 1_950}, {"leads": 999, "won": 500}])),
        metrics=draw(st.sampled_from([METRICS] * 4 + [{}, METRICS | {"slope": [0.4, 0.3, 0.6]}])),
    )
    return case._replace(grid=grid)


@examples(120)
@given(predicting(st.one_of(cases(), worded_cases())))
def test_a_chance_is_what_the_oracle_says(case: Case) -> None:
    """In every output and at the end, with its factors, and nothing else is another than without a model."""
    assert_replay_is_right(case)


@examples(60)
@given(predicting(cases()))
def test_a_model_changes_nothing_but_the_chance(case: Case) -> None:
    """Outputs are the same to the last byte but for `prediction` and the grid's hash."""
    plain = replayed(case._replace(grid="".join(case.grid.partition("prediction:")[:1])))
    chances = replayed(case)
    for one in (*chances.events, *plain.events):
        one["data"].get("grid", {}).pop("sha256", None)
        one["data"].pop("prediction", None)
    assert json.dumps(chances.events) == json.dumps(plain.events)
    assert [lead | {"prediction": None} for lead in chances.leads] == [lead | {"prediction": None} for lead in plain.leads]


def replayed(case: Case) -> ReplayResult:
    """Return what a replay of a case gives."""
    return replay_lines([json.dumps(line) for line in case.lines], parse_grid(case.grid, "g.yaml"), case.at_ms)


@examples(300)
@given(
    st.lists(st.tuples(st.floats(-20, 20), st.floats(-50, 50)), max_size=30),
    st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20), st.integers(0, 400 * DAY),
)  # fmt: skip
def test_published_factors_multiply_to_the_published_chance(
    features: list[tuple[float, float]], intercept: float, a: float, b: float, later_ms: int
) -> None:
    """Whatever the model: a chance is from 0.1 to 95 %, and no factor is lost, infinite or nothing."""
    rules = ", ".join(f"{{id: r{n}, points: 1, on: page.viewed}}" for n in range(len(features)))
    grid = a_grid(engagement=f"{{rules: [{rules}]}}")
    weights = {f"r{n}": list(feature) for n, feature in enumerate(features)}
    run, state = one_lead(with_a_model(grid, weights, intercept=intercept, calibration=[a, b]), page(0), page(1), page(2))
    found = chance_of(run.scorer, state, START + 2 + later_ms)
    assert 0.001 <= found["p"] <= 0.95
    assert all(0 < one["times"] < math.inf for one in found["factors"])
    assert_factors_multiply(found)


GRID = a_grid(
    fit="{rules: [{id: size, points: {table: company.size, bands: [[10, -3], [50, 4]], else: 2}}]}",
    engagement="{half_life: 7d, rules: [{id: pricing, points: 8, cap: 24, on: page.viewed, where: {page_type: pricing}}]}",
    velocity="[{id: back, on: page.viewed, count: days, within: 7d, steps: {2: 5, 3: 9}}]",
    inactivity="{after: 7d, every: 7d, points: -5, min: -10}",
    exclusions="[{id: rival, where: {company.domain: rival.example}}]",
    stages="{sql: {enter: 10}}",
)
MODEL: dict[str, Any] = {
    "weights": {"size/50": [0.5, 0.2], "pricing": [0.4, 0.5], "back": [0.3, 0.1], "inactivity": [-0.6, 0.5]},
    "caps": {"pricing": 3, "inactivity": 2},
    "intercept": -3.2,
    "calibration": [0, 1],
}


def page(at: int) -> tuple[int, str, dict[str, Any]]:
    """Return a view of the pricing page."""
    return at, "page.viewed", {"url": "/", "page_type": "pricing"}


def one_lead(grid: str, *events: tuple[int, str, dict[str, Any]]) -> tuple[Replay, LeadState]:
    """Return a run over the events (time after `START`, type, data) of one lead, and its state."""
    run = Replay(parse_grid(grid, "g.yaml"))
    for number, (at, type_, data) in enumerate(events):
        run.line(json.dumps(an_event("ada", number, START + at, type_, data)).encode())
    run.finish()
    return run, unpack(run.state_of("ada") or b"")


def chance_of(scorer: CompiledGrid, state: LeadState, at_ms: int, stage: int | None = None) -> dict[str, Any]:
    """Return a lead's chance as outputs carry it."""
    model = model_of(scorer)
    assert model is not None
    found: dict[str, Any] = msgspec.to_builtins(model.predicted(state, state.stage if stage is None else stage, at_ms))
    assert model.p(state, at_ms) == found["p"] or stage is not None
    return found


def test_a_chance_by_hand() -> None:
    """Two views at once, of a firm of 80, three weeks silent: each part written out."""
    profile = (0, "profile.updated", {"traits": {"company.size": 80}})
    run, state = one_lead(
        with_a_model(GRID, MODEL["weights"], **{k: MODEL[k] for k in MODEL if k != "weights"}), profile, page(0), page(0)
    )
    found = chance_of(run.scorer, state, START + 21 * DAY)
    parts = {"size/50": 0.5 * 0.8, "pricing": 0.4 * (2 / 8 - 0.5), "inactivity": -0.6 * 1.5}
    absent = 0.3 * -0.1
    logit = -3.2 + sum(parts.values()) + absent
    assert found["p"] == round(1 / (1 + math.exp(-logit)), 3) == 0.021
    assert found["base"] == round(1 / (1 + math.exp(3.2)), 3) == 0.039
    assert [one["id"] for one in found["factors"]] == ["inactivity", "size/50", "pricing", "others"]
    assert [one["times"] for one in found["factors"][:3]] == pytest.approx(
        [math.exp(-0.9), math.exp(0.4), math.exp(-0.1)], rel=5e-4
    )
    assert found["horizon"] == "90d"


def test_other_points_and_caps_leave_a_chance_as_it_is() -> None:
    """The model bounds signals by the caps that it was trained with."""
    model = {key: MODEL[key] for key in MODEL if key != "weights"}
    events = [page(n) for n in range(5)]
    run, state = one_lead(with_a_model(GRID, MODEL["weights"], **model), *events)
    other = changed(GRID, {
        "engagement.rules.pricing.points": -1, "engagement.rules.pricing.cap": 1, "velocity.back.steps": {2: 1, 3: -1},
        "inactivity": {"after": "7d", "every": "7d", "points": 3},
    })  # fmt: skip
    again, same = one_lead(with_a_model(other, MODEL["weights"], **model), *events)
    for days in (0, 1, 20, 100):
        at_ms = START + 4 + days * DAY
        assert chance_of(run.scorer, state, at_ms) == chance_of(again.scorer, same, at_ms)


def test_signals_of_the_table_are_those_of_the_model() -> None:
    """What a model is trained on is what it later reads: under the grid's own caps, weight by weight."""
    names = signal_ids(CompiledGrid(parsed(GRID), "x"))
    assert names == tuple(signals_of(parsed(GRID)))
    events = [*(page(n * DAY) for n in range(5)), (0, "profile.updated", {"traits": {"company.size": 12}})]
    for name in names:
        run, state = one_lead(
            with_a_model(GRID, {name: [1.0, 0]}, caps={"pricing": 3, "inactivity": 2}, intercept=0, calibration=[0, 1]), *events
        )
        for days in (4, 5, 30, 400):
            found = signals(run.scorer, state, START + days * DAY).get(name, 0.0)
            ((*_, part),) = [
                [one["times"] for one in chance_of(run.scorer, state, START + days * DAY)["factors"] if one["id"] == name]
                or [1.0]
            ]
            assert part == pytest.approx(min(math.exp(found), 1_000), rel=1e-3)


@pytest.mark.parametrize(("more", "says"), [
    ({"trained": TRAINED | {"won": 99}}, "too_few_wins: 99 of 100"),
    ({"trained": TRAINED | {"won": 100}}, None),
    ({"trained": TRAINED | {"won": 1_901}}, "too_few_losses: 99 of 100"),
    ({"trained": TRAINED | {"leads": 999}}, "too_few_leads: 999 of 1000"),
    ({"trained": TRAINED | {"leads": 1_000}}, None),
    ({"metrics": {"slope": [1, 1, 1]}}, "not_tested: no auc and slope, measured forward in time"),
    ({"metrics": METRICS | {"auc": [0.6, 0.55, 0.7]}}, "too_weak: auc from 0.55, above 0.55 is needed"),
    ({"metrics": METRICS | {"auc": [0.6, 0.551, 0.7]}}, None),
    ({"metrics": METRICS | {"slope": [0.5, 0.4, 0.69]}}, "not_calibrated: slope 0.4 to 0.69, 0.7 to 1.3 is needed"),
    ({"metrics": METRICS | {"slope": [0.5, 0.4, 0.7]}}, None),
    ({"metrics": METRICS | {"slope": [1.5, 1.3, 1.7]}}, None),
    ({"metrics": METRICS | {"slope": [1.5, 1.31, 1.7]}}, "not_calibrated: slope 1.31 to 1.7, 0.7 to 1.3 is needed"),
], ids=str)  # fmt: skip
def test_below_the_gate_there_is_no_chance_and_a_reason(more: dict[str, Any], says: str | None) -> None:
    """The grid works as always, and no foreign model fills in."""
    run, state = one_lead(with_a_model(GRID, **more), page(0))
    found = chance_of(run.scorer, state, START)
    assert found.get("reason") == says
    assert (found["p"] is None) == (says is not None)
    if says is not None:
        assert found == {"p": None, "horizon": "90d", "base": None, "factors": [], "reason": says}


def test_who_was_won_or_is_excluded_has_no_chance() -> None:
    """The chance is of what has not happened, for leads that may be called."""
    won: tuple[int, str, dict[str, Any]] = (1, "crm.won", {})
    run, state = one_lead(with_a_model(GRID), page(0), won)
    assert chance_of(run.scorer, state, START + 1)["reason"] == "won"
    assert chance_of(run.scorer, state, START + 1, EXCLUDED)["reason"] == "excluded"
    (output,) = [json.loads(one.value or b"") for one in run.take_outputs()]
    assert output["data"]["to"] == "client"
    assert output["data"]["prediction"]["reason"] == "won"


def test_a_grid_without_a_model_says_nothing_of_chances() -> None:
    """Neither in outputs nor in lists."""
    run, _ = one_lead(GRID, page(0), page(1))
    assert model_of(run.scorer) is None
    (output,) = [json.loads(one.value or b"") for one in run.take_outputs()]
    assert "prediction" not in output["data"]
    (line,) = run.leads()
    assert "prediction" not in msgspec.to_builtins(line)


def test_exponentials_are_made_of_exact_arithmetic() -> None:
    """They agree with the C library's to the last digits that matter, and do not depend on it."""
    for tenths in range(-7_000, 7_001, 7):
        assert exp(tenths / 10) == pytest.approx(math.exp(tenths / 10), rel=1e-12)
    assert exp(0.0) == 1.0


def test_a_model_is_the_same_whatever_its_order() -> None:
    """The sum is exact before it is rounded."""
    grid = parsed(GRID)
    weights = a_model(grid)["features"]
    texts = {with_a_model(GRID, dict(order)) for order in (weights.items(), reversed(weights.items()))}
    assert len(texts) == 1
