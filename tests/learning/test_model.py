"""A model that learning writes is read by the worker: the same chances from the signals that it was trained on."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from tests.kit.grids import a_grid, parsed
from tests.kit.stories import DAY, START, an_event
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.prediction import model_of as compiled_model
from worker.core.scoring.signals import signal_ids, signals
from worker.core.scoring.state import LeadState, unpack
from worker.learning.model import model_of
from worker.learning.sample import Sample

LEADS = 400
TIMES = 4
"""Each lead stands for so many."""

GRID = a_grid(
    fit="""{rules: [
  {id: size, points: {table: size, bands: [[10, -3], [50, 4]], else: 2}}, {id: cto, points: 5, where: {role: cto}}]}""",
    engagement="""{half_life: 7d, rules: [
  {id: page, points: 8, cap: 12, on: page.viewed}, {id: form, points: -2, on: form.submitted}]}""",
    velocity="[{id: back, on: page.viewed, count: days, within: 7d, steps: {2: 5, 3: 9}}]",
    inactivity="[{after: 2d, every: 2d, points: -5, min: -8}, {after: 6d, points: -5}]",
)


@pytest.fixture(scope="module")
def states() -> list[LeadState]:
    """Leads who did one thing or another in ten days."""
    rnd, run = random.Random(4), Replay(parsed(GRID))
    for number in range(LEADS):
        lead = f"lead-{number}"
        traits = {"size": rnd.choice([None, 5, 20, 90]), "role": rnd.choice(["cto", "cfo"])}
        lines = [an_event(lead, 0, START, "profile.updated", {"traits": traits})]
        for place in range(rnd.randrange(7)):
            kind = rnd.choice(["page.viewed", "page.viewed", "form.submitted"])
            lines.append(an_event(lead, place + 1, START + rnd.randrange(10 * DAY), kind, {"url": "/"}))
        for line in lines:
            run.line(json.dumps(line).encode())
    run.finish()
    return [unpack(run.state_of(f"lead-{number}") or b"") for number in range(LEADS)]


def test_a_worker_gives_the_chances_that_learning_computed(states: list[LeadState]) -> None:
    """Under the grid of the table, and under one with other points and caps: the model's own caps count."""
    scorer, now = CompiledGrid(parsed(GRID), "x"), START + 12 * DAY
    read = [signals(scorer, state, now) for state in states]
    numbers = {name: np.tile([one.get(name, 0.0) for one in read], TIMES) for name in signal_ids(scorer)}
    rng = np.random.default_rng(1)
    true = -1.5 + 1.2 * numbers["page"] + 0.8 * numbers["cto"] - 0.5 * numbers["inactivity"]
    won = rng.random(LEADS * TIMES) < 1 / (1 + np.exp(-true))
    at_ms = rng.integers(0, 365, LEADS * TIMES) * DAY
    sample = Sample(won, np.arange(LEADS * TIMES), numbers=numbers, at_ms=at_ms, horizon_ms=10 * DAY)
    made = model_of(parsed(GRID), sample, int(won.sum()), "10d", None)
    assert made.text is not None, made.reason
    model = json.loads(made.text)
    assert set(model["caps"]) == {"page", "inactivity"}
    a, b = model["calibration"]
    expected = []
    for one in read:
        parts = (weight * (one.get(name, 0.0) - mean) for name, (weight, mean) in model["features"].items())
        expected.append(1 / (1 + math.exp(-(a + b * (model["intercept"] + math.fsum(parts))))))
    other = GRID.replace("points: 8, cap: 12", "points: 3, cap: 90").replace("points: -5, min: -8", "points: 1")
    for grid in (GRID, other):
        reader = compiled_model(CompiledGrid(parse_grid(f"{grid}prediction: {{file: m.json}}\n", "g.yaml", made.text), "x"))
        assert reader is not None
        found = [reader.p(state, now) for state in states]
        assert found == pytest.approx(expected, abs=0.000501)
    assert max(expected) - min(expected) > 0.3
