"""Points from outcomes: the properties that make them explainable, on leads whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tests.kit.outcomes import Leads, leads
from worker.errors import LearningError
from worker.learning.accuracy import auc, calibration_line
from worker.learning.bins import Attribute
from worker.learning.fields import Encoded, Field, encoded, fields_of_columns
from worker.learning.intervals import Bools
from worker.learning.points import Bounds, FieldPoints, Fitted, Method, fit
from worker.learning.rates import rates
from worker.learning.sample import Sample, in_order_of_content, texts_of
from worker.learning.scale import Goal
from worker.learning.shares import shares, told

TRAIN, TEST = leads(6000, 1, level=-2.5), leads(20_000, 2, level=-2.5)


def fitted(made: Leads, method: Method = Method()) -> Fitted:  # noqa: B008 — frozen
    """Fit fields of columns."""
    sample = made.sample()
    return fit(fields_of_columns(sample)[0], sample, method)


def points_of(found: Fitted, field: str) -> dict[str, float]:
    """Return the points of a field by the names of its attributes."""
    (one,) = [one for one in found.fields if one.field.name == field]
    return {attribute.name: points for attribute, points in zip(one.field.attributes, one.points.tolist(), strict=True)}


def test_points_follow_the_truth() -> None:
    """Order near that of the log-odds that made the outcomes, and P near the rates seen, on leads that were not fitted."""
    found, test = fitted(TRAIN), TEST.sample()
    best = auc(TEST.truth, TEST.won)
    assert auc(found.score(test), test.won) > best - 0.015
    p = found.p(test)
    assert calibration_line(special.logit(p), test.won).slope == pytest.approx(1, abs=0.08)
    sources = points_of(found, "Lead Source")
    assert sources["Google"] == 0, "the commonest value"
    assert sources["Olark Chat"] < 0 < sources["Reference"]
    assert points_of(found, "City") == dict.fromkeys(("(blank)", "Mumbai", "Pune", "Delhi", "Other Cities"), 0)
    times = points_of(found, "Time on Website")
    assert times["0"] == 0 > min(times.values()), "0 means unknown, and stands alone"


def test_limits_hold_single_signals_below_the_ladder() -> None:
    """No attribute reaches MQL alone, and none is worth less than 0.08 of SQL."""
    found = fitted(TRAIN)
    points = np.abs(np.concatenate([one.points for one in found.fields]))
    assert points.max() <= 49
    assert points[points > 0].min() >= 6
    assert np.array_equal(points, points.round())


@pytest.mark.parametrize("copies", [1, 3, 6])
def test_copies_of_a_signal_change_nothing(copies: int) -> None:
    """What four columns tell is counted once: order within 0.005, slope within 0.05."""
    plain, copied = fitted(TRAIN), fitted(leads(6000, 1, level=-2.5, copies=copies))
    test, with_copies = TEST.sample(), leads(20_000, 2, level=-2.5, copies=copies).sample()
    assert auc(copied.score(with_copies), with_copies.won) == pytest.approx(auc(plain.score(test), test.won), abs=0.005)
    slopes = [
        calibration_line(special.logit(found.p(sample)), sample.won).slope
        for found, sample in ((plain, test), (copied, with_copies))
    ]
    assert slopes[1] == pytest.approx(slopes[0], abs=0.05)


def test_a_permuted_table_gives_the_same_points_to_the_last_bit() -> None:
    """Rows are sorted by their content first."""
    order = np.random.default_rng(3).permutation(TRAIN.won.size)
    columns = {name: [column[i] for i in order] for name, column in TRAIN.columns.items()}
    permuted = fitted(Leads(columns, TRAIN.won[order], TRAIN.truth[order]))
    first = fitted(TRAIN)
    assert permuted.scale == first.scale
    assert permuted.line == first.line
    for one, other in zip(first.fields, permuted.fields, strict=True):
        assert one.field == other.field
        assert np.array_equal(one.exact, other.exact)


COUNTS = st.lists(st.tuples(st.integers(5, 400), st.floats(0, 1)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.booleans())
def test_a_better_closing_attribute_never_has_fewer_points(
    made: list[list[tuple[int, float]]], seed: int, with_grid: bool
) -> None:
    """In its field, whatever the counts, and whatever the human's grid said."""
    sample = rows_of(made, seed)
    fields, _ = fields_of_columns(sample)
    random = np.random.default_rng(seed)

    def now(field: Field) -> Sequence[Bounds]:
        return [Bounds(float(random.integers(-40, 40))) for _ in field.attributes]

    try:
        found = fit(fields, sample, Method(now=now if with_grid else None))
    except LearningError:
        return
    for one in found.fields:
        assert_in_order(one, sample)


def assert_in_order(one: FieldPoints, sample: Sample) -> None:
    """Points rise with the rates seen."""
    part = encoded(one.field, sample)
    counts, winners = part.counts()[:-1], part.counts(sample.won.astype(float))[:-1]
    known = [i for i in range(len(counts)) if counts[i] >= 5 and i != one.field.zero]
    for i in known:
        for j in known:
            if winners[i] / counts[i] > winners[j] / counts[j]:
                assert one.points[i] >= one.points[j], (one.field, counts, winners, one.points)


def rows_of(made: list[list[tuple[int, float]]], seed: int) -> Sample:
    """Rows in which the values of each field close at given rates, as far as chance lets them."""
    random = np.random.default_rng(seed)
    rows = max(sum(n for n, _ in field) for field in made)
    won = np.zeros(rows, bool)
    columns = {}
    for f, field in enumerate(made):
        values = [f"v{i}" for i, (n, _) in enumerate(field) for _ in range(n)]
        values += ["v0"] * (rows - len(values))
        rate = np.array([field[int(value[1:])][1] for value in values])
        won |= random.random(rows) < rate / len(made)
        columns[f"f{f}"] = texts_of(values)
    return in_order_of_content(Sample(won, np.arange(rows), columns))


def test_shuffled_outcomes_make_no_rule_solid() -> None:
    """In at least 95 of 100 shuffles; the outcomes themselves make several."""
    sample = TRAIN.sample()
    parts = [encoded(field, sample) for field in fields_of_columns(sample)[0]]
    assert sum(row.word == "solid" for row in rates(parts, sample.won, 1.0)) > 8
    random = np.random.default_rng(4)
    shuffled = [any(row.word == "solid" for row in rates(parts, random.permutation(sample.won), 1.0)) for _ in range(200)]
    assert sum(shuffled) <= 0.03 * 200


def test_a_handover_is_no_merit_of_the_lead() -> None:
    """The old grid called by one signal alone, and a call multiplies the odds by 4: the fit does not confirm that grid."""
    random = np.random.default_rng(5)
    x = random.random((40_000, 3)) < 0.3
    called = (x[:, 0] & (random.random(40_000) < 0.9)) | (random.random(40_000) < 0.05)
    won = random.random(40_000) < special.expit(-3 + x @ [0.8, 0.8, 0.4] + np.log(4) * called)
    naive, fair = (weights(x, won, column) for column in (None, called))
    assert naive[0] > 1.3
    assert fair[0] == pytest.approx(0.8, abs=0.15)
    assert fair[1:] == pytest.approx([0.8, 0.4], abs=0.15)


def weights(x: Bools, won: Bools, called: Bools | None) -> list[float]:
    """Return what the shares leave of the log-odds of three signals."""
    parts = [
        Encoded(Field(f"s{i}", (Attribute("signal", f"s{i}"),), signals=True), numbers=x[:, i : i + 1].astype(float))
        for i in range(3)
    ]
    alone = [told(part, won, 2.0, 1.0) for part in parts]
    found = shares(np.column_stack([part.times(one.each) for part, one in zip(parts, alone, strict=True)]), won, called)
    return [float(share * one.each[0]) for share, one in zip(found.of, alone, strict=True)]


def test_a_humans_points_move_as_far_as_the_data_pull() -> None:
    """Much data overrule a guess, few hold it, and a rule without data keeps it."""
    random = np.random.default_rng(6)
    rows = 4000
    numbers = {
        "often": (np.arange(rows) % 2).astype(float),
        "rare": (np.arange(rows) % 400 == 0).astype(float),
        "never": np.zeros(rows),
    }
    won = random.random(rows) < special.expit(-2 + 1.5 * numbers["often"])
    sample = Sample(won, np.arange(rows), {}, numbers)
    fields = [Field(name, (Attribute("signal", name),), signals=True) for name in numbers]
    now = {"often": -20.0, "rare": 12.0, "never": 7.0}
    found = fit(fields, sample, Method(goal=Goal("rate", 0.6), now=lambda field: [Bounds(now[field.name])]))
    often, rare, never = (float(one.points[0]) for one in found.fields)
    assert often == pytest.approx(1.5 * found.scale.per_log_odds, rel=0.15)
    assert 3 <= rare <= 16
    assert never == 7


def test_a_threshold_that_says_nothing_is_refused() -> None:
    """SQL as likely as the ordinary lead, too few points for whole numbers, and nothing to tell leads apart."""
    sample = TRAIN.sample()
    fields, _ = fields_of_columns(sample)
    with pytest.raises(LearningError, match="the ordinary lead closes at"):
        fit(fields, sample, Method(goal=Goal("rate", 0.05)))
    with pytest.raises(LearningError, match="enter SQL at 11 points or more"):
        fit(fields, sample, Method(goal=Goal("rate", 0.7), sql=8, mql=5))
    with pytest.raises(LearningError, match="3 won of 10 rows"):
        fit(fields, _few(sample), Method())
    column = texts_of(["x", "x", "y", "y"] * (sample.rows // 4))
    even = replace(sample, won=np.arange(sample.rows) % 2 == 0, texts={"a": column})
    with pytest.raises(LearningError, match="no attribute closes clearly more"):
        fit(fields_of_columns(even)[0], even, Method())


def _few(sample: Sample) -> Sample:
    rows = np.concatenate((np.flatnonzero(sample.won)[:3], np.flatnonzero(~sample.won)[:7]))
    return sample.take(rows)


def test_the_lasso_keeps_fewer_rules_and_the_same_order() -> None:
    """The alternative method."""
    default, few = fitted(TRAIN), fitted(TRAIN, Method(lasso=True))
    test = TEST.sample()
    counts = [sum(int((one.points != 0).sum()) for one in found.fields) for found in (default, few)]
    assert counts[1] <= counts[0]
    assert auc(few.score(test), test.won) == pytest.approx(auc(default.score(test), test.won), abs=0.01)
