"""Proposals from tables of events: a human's grid with other numbers, thresholds by the week, and a model."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import special

from tests.kit.weekly_rows import GRID, TRUTH, weekly_rows
from worker.core.grid.counted import counted_hash
from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.prediction import read_model_file
from worker.learning.accuracy import auc, calibration_line
from worker.learning.fitting import grid_of
from worker.learning.goals import goal_of
from worker.learning.proposal import Proposal, Wish, propose
from worker.learning.rows import sample_of
from worker.learning.scale import Goal
from worker.learning.scores import Scores, probabilities, score_rows
from worker.learning.tables import Table
from worker.learning.thresholds import bands, crossings_by_week

TABLE = weekly_rows()


def proposed(table: Table, goal: Goal = Goal("tenth"), **more: object) -> Proposal:  # noqa: B008 — a tuple
    """Propose other numbers for the table's own grid."""
    sample = sample_of(table)

    def scores(grid: Grid) -> Scores:
        return Scores(*(column[sample.place] for column in score_rows(table, grid)))

    wish = Wish(scores=scores, goal=goal, won_leads=table.facts.won_leads, horizon_ms=table.facts.horizon_ms, **more)  # type: ignore[arg-type]
    return propose(sample, grid_of(table, None), wish)


@pytest.fixture(scope="module")
def found() -> Proposal:
    """The proposal for forty leads a week."""
    return proposed(TABLE, goal_of("12/week", None, None, None, None))


def test_points_follow_the_truth_and_not_the_old_grid(found: Proposal) -> None:
    """Signs and ratios are those of the log-odds that made the outcomes, and the old order of demo and pricing is turned."""
    points = {row.attribute.name: row.points for row in found.rows}
    log_odds = 1 / found.fitted.scale.per_log_odds
    for name in ("boss", "student", "demo", "inactivity"):
        assert points[name] * log_odds == pytest.approx(TRUTH[name], abs=0.45), name
    assert points["demo"] > points["pricing"] > 0
    assert points["student"] < 0
    assert "by-hand" not in points


def test_only_numbers_change(found: Proposal) -> None:
    """What is counted stays, and so does the text around the numbers."""
    before = parse_grid(GRID, "g")
    assert counted_hash(found.grid) == counted_hash(before)
    assert found.grid.version == before.version

    def shape(text: str) -> str:
        return re.sub(r"(?<=[ \[])-?[0-9]+(\.[0-9]+)?(?=[,}\n])", "N", re.sub(r" +#.*", "", text))

    assert shape(found.text.decode()) == shape(GRID)
    text = found.text.decode()
    assert "# they sign  # was 15; solid: " in text
    assert "- {id: by-hand, points: 1, on: score.adjusted" in text
    assert text.count("\n") == GRID.count("\n")


def test_a_capacity_holds_in_four_weeks_of_five(found: Proposal) -> None:
    """The threshold is the lowest with so few new leads, and the bands and rungs show them."""
    sql = found.rungs["sql"]
    weeks = crossings_by_week(found.scores.score, found.sample, sql.enter)
    assert np.quantile(weeks, 0.8) <= 12
    assert sql.enter == found.grid.stages.sql.enter if found.grid.stages.sql else False
    assert sql.crossings is not None
    assert sql.crossings[0] <= sql.crossings[1] <= sql.crossings[2]
    assert np.quantile(crossings_by_week(found.scores.score, found.sample, sql.enter - 8), 0.8) > 12
    assert sum(band.rows for band in found.bands) == found.sample.rows
    rates = [band.rate for band in found.bands]
    assert rates == sorted(rates, reverse=True)
    assert found.bands[-1].wins_from_here == 1


def test_the_model_passes_the_reader_and_says_the_truth(found: Proposal) -> None:
    """Forward in time; its probabilities are calibrated on leads of another draw, as the reader computes them."""
    assert found.model.text is not None, found.model.reason
    model, _ = read_model_file(found.model.text, "model.json")
    assert model.counted == counted_hash(found.grid)
    assert model.horizon == "30d"
    assert model.trained.cut is not None
    other = weekly_rows(seed=2)
    p = probabilities(other, found.grid, model)
    won = other.role("won").astype(bool)
    assert calibration_line(special.logit(p), won).slope == pytest.approx(1, abs=0.15)
    assert p.mean() == pytest.approx(won.mean(), abs=0.01)
    assert auc(p, won) > 0.7
    assert model.features["download"][0] == pytest.approx(0, abs=0.15)


def test_splits_go_forward_by_a_horizon(found: Proposal) -> None:
    """At several cuts, and intervals are by lead."""
    assert found.judged is not None
    assert found.judged.forward
    assert len(found.judged.earlier) >= 2
    assert found.judged.headline.auc > 0.65
    assert found.judged.headline.leads < found.judged.headline.rows


def test_dropped_rules_keep_their_points() -> None:
    """By the rule's id, its trait, or its type of event."""
    without = proposed(TABLE, dropped=("role", "event:demo.requested"))
    assert {"boss", "student", "demo"} & {row.attribute.name for row in without.rows} == set()
    assert "points: 15, where: {role: boss}}  # they sign\n" in without.text.decode()


def test_few_outcomes_leave_the_humans_points() -> None:
    """A rule that the outcomes cannot tell of is `open` or without data, and stays by hand."""
    few = proposed(weekly_rows(leads=60, seed=5), Goal("rate", 0.5))
    kept = [row for row in few.rows if row.rate.word in ("open", "no data") and row.rate.field not in ("role", "back")]
    assert kept
    assert all(row.points == row.now for row in kept)
    assert few.model.reason.startswith("too_few_wins")


def test_bands_do_not_fall_as_scores_rise() -> None:
    """Neighbours out of order are one band."""
    sample = sample_of(TABLE)
    noise = np.random.default_rng(1).integers(0, 100, sample.rows).astype(float)
    rates = [band.rate for band in bands(noise, sample)]
    assert rates == sorted(rates, reverse=True)
