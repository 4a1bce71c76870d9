"""Rows that were not followed for the whole horizon: the level of the hazard is right where “not yet won” is not “lost”."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.kit.censored import cut_short, early
from tests.kit.weekly_rows import weekly_rows
from worker.errors import LearningError
from worker.learning.bins import Attribute
from worker.learning.fields import Field, encoded
from worker.learning.fitting import Choice, fit_table
from worker.learning.hazard import chances, line_of, spans_of
from worker.learning.intervals import jeffreys
from worker.learning.points import Method, fit
from worker.learning.rates import rates
from worker.learning.rows import sample_of
from worker.learning.sample import DAY_MS, Sample
from worker.learning.scale import Goal
from worker.learning.tables import read_table, write_table

SEEDS = range(20)


def a_sample(followed: list[float], won: list[float], horizon: float = 90) -> Sample:
    """Return rows of so many days, won on a day or never (`nan`)."""
    n, days = len(followed), np.array(won)
    return Sample(
        won=~np.isnan(days), leads=np.arange(n), at_ms=np.arange(n), followed=np.array(followed, float), days_to_won=days,
        days_to_handover=np.full(n, np.nan), horizon_ms=round(horizon * DAY_MS),
    )  # fmt: skip


def test_an_interval_counts_only_for_rows_that_were_followed_to_its_end() -> None:
    """A win on day 9 counts after 14 days, and not after 10: the losers of these days are not known then either."""
    never = np.nan
    spans = spans_of(a_sample([10, 14, 14, 90, 90], [9, 9, never, 40, never]))
    assert np.bincount(spans.interval).tolist() == [5, 4, 2, 2, 1]
    assert spans.hazard.tolist() == [0, 1 / 4, 0, 1 / 2, 0]
    assert spans.rate == pytest.approx(1 - 3 / 4 * 1 / 2)
    assert spans.rows[spans.interval == 1].tolist() == [1, 2, 3, 4]


def test_a_horizon_that_no_row_reached_is_refused() -> None:
    """So is a sample without a win in a whole interval."""
    with pytest.raises(LearningError, match=r"no row was followed for 90 days, so wins of days 60 to 90 are not known yet"):
        spans_of(a_sample([70, 70], [3, np.nan]))
    with pytest.raises(LearningError, match="no row was won"):
        spans_of(a_sample([90, 10], [np.nan, 9]))


def test_the_level_is_right_where_not_yet_won_as_lost_is_too_low() -> None:
    """Over twenty logs, the naive rate is a tenth too low, and “drop the undecided” too high; the hazard is neither."""
    naive, decided, hazard, within = [], [], [], []
    for seed in SEEDS:
        sample, truth = early(seed=seed)
        rate = float(truth.mean())
        found = spans_of(sample).rate
        naive.append(float(sample.won.mean()) / rate)
        known = sample.mature | sample.won
        decided.append(float(sample.won[known].mean()) / rate)
        hazard.append(found / rate)
        rows = int(sample.mature.sum())
        low, high = jeffreys(found * rows, rows)
        within.append(low <= rate <= high)
    assert np.mean(naive) < 0.9
    assert np.mean(decided) > 1.1
    assert abs(np.mean(hazard) - 1) < 0.02
    assert sum(within) >= 18


def test_chances_and_their_line_are_those_of_the_whole_horizon() -> None:
    """In each third by score, as many are won in the end as were expected."""
    sample, truth = early(leads=20_000, seed=3)
    x = sample.numbers["x"]
    expected, line = chances(x, sample), line_of(x, sample)
    assert line.slope == pytest.approx(0.8, abs=0.12)
    for part in np.array_split(np.argsort(x), 3):
        assert expected[part].mean() == pytest.approx(truth[part].mean(), rel=0.12)
        assert line.p(x)[part].mean() == pytest.approx(truth[part].mean(), rel=0.12)


def test_rates_and_points_of_new_attributes_are_not_those_of_their_first_days() -> None:
    """A signal that tells nothing, and that only new leads have: early intervals would make it look good."""
    sample, _ = early(leads=20_000, seed=5, pace=0.3)
    assert sample.followed is not None
    new = (sample.followed < 30).astype(np.float64)
    keen = (sample.numbers["x"] > 0.5).astype(np.float64)
    sample = sample.__class__(**{**vars(sample), "numbers": {"new": new, "keen": keen}})
    fields = [Field(name, (Attribute("signal", name),), signals=True) for name in ("new", "keen")]
    spans = spans_of(sample)
    parts = [encoded(field, spans.sample) for field in fields]
    new_rate, keen_rate = rates(parts, spans.sample.won, spans.sample.design_effect, (), spans.weight(spans.rate))
    assert new_rate.times == pytest.approx(1, abs=0.12)
    assert new_rate.word == "open"
    assert keen_rate.word == "solid"
    found = fit(fields, sample, Method(goal=Goal("rate", 0.4)))
    assert found.overall == pytest.approx(spans.rate)
    assert [one.points.tolist() == [0.0] for one in found.fields] == [True, False]


def test_a_fit_of_a_short_log_publishes_chances_of_the_whole_horizon(tmp_path: Path) -> None:
    """The mean chance is the rate that the rows have in the end, and rows of other consumers are the mature ones."""
    table, truth = cut_short(weekly_rows(12_000), days=85)
    path = str(tmp_path / "t.parquet")
    write_table(path, table.arrow, table.facts)
    mature, whole = read_table(path), read_table(path, immature=True)
    assert mature.facts.rows == mature.arrow.num_rows < whole.arrow.num_rows == whole.facts.rows
    assert (mature.role("followed_days") == 30).all()
    sample = sample_of(whole)
    assert sample.judged().rows == mature.facts.rows
    done = fit_table(path, None, Choice(Goal("tenth")))
    assert done.proposal is not None
    assert done.proposal.sample.rows == mature.facts.rows
    model = json.loads(done.files["model.json"])
    assert sample.place is not None
    a, b = model["calibration"]
    logit = model["intercept"] + sum(
        weight * (sample.numbers[name] - mean) for name, (weight, mean) in model["features"].items()
    )
    p = 1 / (1 + np.exp(-(a + b * logit)))
    assert p.mean() == pytest.approx(truth.mean(), rel=0.08)
    assert sample.won.mean() < 0.93 * truth.mean()
