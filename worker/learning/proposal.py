"""From a table to a proposed grid: fields, points, thresholds, a forward test, and a model where the gate opens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from worker.core.grid.models import Grid, parse_grid
from worker.errors import LearningError
from worker.learning.bins import Attribute, LeftOut
from worker.learning.edit_grid import Edit, edited, written
from worker.learning.evaluate import Judged, judge
from worker.learning.fields import Field, encoded, fields_of_columns
from worker.learning.fresh_grid import can_be_named, fresh_grid
from worker.learning.grid_fields import GridFields, Slot, fields_of_grid, signals_of_columns, with_signals, without
from worker.learning.hazard import line_of, spans_of
from worker.learning.intervals import Bools, Floats
from worker.learning.model import Model, duration_text, instant, model_of
from worker.learning.points import Fitted, Method, fit
from worker.learning.rates import Rate, in_words, rates
from worker.learning.sample import Sample
from worker.learning.scale import DEFAULT_MQL, DEFAULT_SQL, Goal
from worker.learning.scores import Scores
from worker.learning.spread import spreads
from worker.learning.thresholds import Band, Threshold, bands, least_fit, lowest_within, sql_enter, threshold

_TOP_FIT: Final = 0.99
"""`fit.max` is what one row in a hundred reaches."""


class Row(NamedTuple):
    """One attribute in the proposal."""

    rate: Rate
    attribute: Attribute
    share: float
    """Of what it tells, so much is not told by other fields."""
    now: float | None
    """Points in the human's grid."""
    points: float
    low: int
    """Points at the ends of the likely range of what it tells."""
    high: int
    zero: bool
    """It is the ordinary answer, which all others are compared with."""


@dataclass(frozen=True)
class Proposal:
    """What `leadpulse learn fit` writes."""

    text: bytes
    """Of the proposed grid."""
    grid: Grid
    goal: Goal
    fitted: Fitted
    sample: Sample
    scores: Scores
    rows: tuple[Row, ...]
    rungs: dict[str, Threshold]
    bands: tuple[Band, ...]
    judged: Judged | None
    model: Model
    left_out: tuple[LeftOut, ...]
    changes: tuple[Edit, ...]
    least_fit: float | None


@dataclass(frozen=True)
class Wish:
    """The goal and the options of a command, and what is known of the table."""

    scores: Callable[[Grid], Scores]
    """Of the rows under a grid."""
    goal: Goal = Goal("tenth")  # noqa: RUF009 — a tuple
    lasso: bool = False
    name: str = "leads"
    """Of a grid from scratch."""
    suspects: Collection[str] = ()
    won_leads: int = 0
    horizon_ms: int | None = None
    dropped: Collection[str] = ()
    """Traits, events and rules whose points are left as they are."""


def propose(sample: Sample, grid: Grid | None, wish: Wish) -> Proposal:
    """Return a proposal from the rows of a table. Without *grid*, its rules are made of the table's columns.

    Raises `LearningError` where nothing can be proposed.
    """
    return _from_scratch(sample, wish) if grid is None else _from_grid(sample, grid, wish)


def _method(sample: Sample, wish: Wish) -> Method:
    if wish.goal.kind != "week":
        return Method(goal=wish.goal, lasso=wish.lasso)
    if sample.at_ms is None:
        raise LearningError("the table has no times, so weeks cannot be counted: write a share, as in --capacity 20%")
    seen = sample.judged()
    return Method(goal=wish.goal, lasso=wish.lasso, threshold=lambda log_odds: lowest_within(log_odds, seen, wish.goal.value))


def _judged(
    sample: Sample, method: Method, scores: Floats, sql: float, fields: Callable[[Sample], Sequence[Field]]
) -> Judged | None:
    """Judge the method on rows that it has not seen. A goal by the week becomes the share of rows that it reached."""
    if method.goal.kind == "week":
        share = min(max(float((scores >= sql).mean()), 1e-3), 0.5)
        method = replace(method, goal=Goal("share", share), threshold=None)
    return judge(sample, lambda part: fit(fields(part), part, method))


# --- from scratch ----------------------------------------------------------------------------------------------------


def _from_scratch(sample: Sample, wish: Wish) -> Proposal:
    unnamed = [name for name in sample.texts if not can_be_named(name)]
    sample = sample.without(unnamed)
    fields, left_out = fields_of_columns(sample)
    left_out += [
        LeftOut(name, "a grid cannot name it: rename the column, without dots and quotes at its ends") for name in unnamed
    ]
    method = _method(sample, wish)
    fitted = _with_negatives(fit(fields, sample, method), sample, method)
    score = fitted.score(sample)
    enter = sql_enter(fitted, score, sample, wish.goal)
    rungs = {
        "mql": threshold(fitted, score, sample, fitted.scale.mql),
        "sql": threshold(fitted, score, sample, enter),
    }
    rows = _rows(fitted, sample, wish.suspects, None)
    by_name = {(row.rate.field, row.attribute): row.rate for row in rows}

    def comment(field: str, attribute: Attribute) -> str:
        rate = by_name[field, attribute]
        return f"{rate.word}: {in_words(rate)}"

    heading = [
        "Proposed by `leadpulse learn fit`. A person puts it in force.",
        f"SQL was asked for as: {wish.goal.words}. {rungs['sql'].rows / sample.rows:.1%} reach it.",
        f"Everyone: {sample.won.mean():.1%} closed.",
    ]
    text = fresh_grid(wish.name, fitted.fields, rungs, comment, heading)
    grid = parse_grid(text, "proposed.yaml")
    ready = replace(sample, numbers={**sample.numbers, **signals_of_columns(grid, sample.texts, sample.rows)})
    judged = _judged(sample, method, score, enter, lambda part: fields_of_columns(part)[0])
    scores = wish.scores(grid)
    model = _model(grid, ready, wish, judged)
    return Proposal(
        text, grid, wish.goal, fitted, ready, scores, rows, rungs, tuple(bands(score, sample)), judged, model,
        tuple(left_out), (), None,
    )  # fmt: skip


def _with_negatives(fitted: Fitted, sample: Sample, method: Method) -> Fitted:
    """Return a fit that takes points off for something, as a grid should, where the ordinary answers are the worst ones.

    In one field the commonest better answer becomes the ordinary one. The field with the smallest step is taken.
    """
    if not any(one.points.max(initial=0) > 0 for one in fitted.fields) or min(one.points.min() for one in fitted.fields) < 0:
        return fitted
    steps: list[tuple[float, int, int]] = []
    for i, one in enumerate(fitted.fields):
        better = np.where(one.points > 0, one.told.rows, -1.0)
        if better.max() >= 0:
            steps.append((float(one.points[int(better.argmax())]), i, int(better.argmax())))
    _, chosen, zero = min(steps)
    fields = [replace(one.field, zero=zero) if i == chosen else one.field for i, one in enumerate(fitted.fields)]
    try:
        return fit(fields, sample, method)
    except LearningError:  # that answer already closes as SQL should
        return fitted


def _model(grid: Grid, sample: Sample, wish: Wish, judged: Judged | None) -> Model:
    cut = None
    if judged is not None and judged.cut is not None and sample.at_ms is not None:
        cut = instant(int(judged.cut))
    won_leads = wish.won_leads or int(np.unique(sample.leads[sample.won]).size)
    return model_of(grid, sample, won_leads, duration_text(wish.horizon_ms), cut)


def _rows(fitted: Fitted, sample: Sample, suspects: Collection[str], own: GridFields | None) -> tuple[Row, ...]:
    told_by, weight, p = sample, None, fitted.p(sample)
    if sample.followed is not None:
        spans = spans_of(sample)
        told_by, weight = spans.sample, spans.weight(spans.rate)
        p = spans.hazards(p)
    parts = [encoded(one.field, told_by) for one in fitted.fields]
    found = iter(rates(parts, told_by.won, told_by.design_effect, suspects, weight))
    errors = spreads(parts, p, told_by.handed_over, told_by.design_effect)
    rows: list[Row] = []
    for one, error in zip(fitted.fields, errors, strict=True):
        now = None if own is None else own.now(one.field)
        for i, attribute in enumerate(one.field.attributes):
            half = 1.96 * fitted.scale.per_log_odds * float(error[i])
            points, exact = float(one.points[i]), float(one.exact[i])
            likely = (round(min(points, exact - half)), round(max(points, exact + half)))
            before = None if now is None else now[i].now
            rows.append(Row(next(found), attribute, one.share, before, points, *likely, i == one.field.zero))
    return tuple(rows)


# --- from a human's grid ---------------------------------------------------------------------------------------------


def _from_grid(sample: Sample, grid: Grid, wish: Wish) -> Proposal:
    sample = with_signals(grid, sample)
    own = without(fields_of_grid(grid), grid, wish.dropped)
    if not own.fields:
        raise LearningError(f"the grid {grid.grid} has no rule whose points could be fitted")
    stages = grid.stages
    sql = stages.sql.enter if stages.sql is not None else DEFAULT_SQL
    mql = stages.mql.enter if stages.mql is not None else min(DEFAULT_MQL, 2 / 3 * sql)
    method = replace(_method(sample, wish), sql=sql, mql=mql, now=own.now)
    fitted = fit(own.fields, sample, method)
    rows = _rows(fitted, sample, wish.suspects, own)
    fitted, rows = _kept(fitted, rows, own)
    changes = _point_edits(fitted, rows, own, grid.engagement.max)
    mature, seen = sample.mature, sample.judged()
    changes += _limit_edits(grid, fitted, seen, own)
    first = parse_grid(edited(grid, changes), "proposed.yaml")
    scores = wish.scores(first)
    fitted = replace(fitted, line=line_of(scores.score, sample))
    scores = _of_rows(scores, mature)
    enter = sql_enter(fitted, scores.score, seen, wish.goal)
    rungs: dict[str, Threshold] = {}
    if stages.mql is not None:
        rungs["mql"] = threshold(fitted, scores.score, seen, stages.mql.enter)
    if stages.sql is not None:
        rungs["sql"] = threshold(fitted, scores.score, seen, enter)
    least = least_fit(scores.score, scores.fit, seen, enter, float(fitted.line.p(np.array([enter]))[0]))
    changes += _threshold_edits(grid, rungs, least)
    text = edited(grid, changes)
    proposed = parse_grid(text, "proposed.yaml")
    scores = _of_rows(wish.scores(proposed), mature)
    judged = _judged(sample, method, scores.score, enter, lambda _: own.fields)
    model = _model(proposed, sample, wish, judged)
    return Proposal(
        text, proposed, wish.goal, fitted, seen, scores, rows, rungs, tuple(bands(scores.score, seen)), judged,
        model, (), tuple(changes), least,
    )  # fmt: skip


def _of_rows(scores: Scores, rows: Bools) -> Scores:
    return Scores(*(column[rows] for column in scores))


def _kept(fitted: Fitted, rows: Sequence[Row], own: GridFields) -> tuple[Fitted, tuple[Row, ...]]:
    """Keep the human's points where the outcomes cannot tell, and a field has no attribute that they can tell of."""
    fields = []
    kept: list[Row] = []
    place = 0
    for one in fitted.fields:
        part = rows[place : place + len(one.points)]
        place += len(one.points)
        if all(row.rate.word in ("open", "no data", "suspect") for row in part):
            now = np.array([row.now or 0.0 for row in part])
            one = replace(one, points=now)  # noqa: PLW2901 — the same field, with other points
            part = [row._replace(points=row.now or 0.0) for row in part]
        fields.append(one)
        kept += part
    return replace(fitted, fields=tuple(fields)), tuple(kept)


def _point_edits(fitted: Fitted, rows: Sequence[Row], own: GridFields, most: float | None) -> list[Edit]:
    edits: list[Edit] = []
    at = iter(rows)
    for one in fitted.fields:
        for slot, points in zip(own.slots[one.field.name], one.points.tolist(), strict=True):
            row = next(at)
            if slot is None:
                continue
            note = f"{row.rate.word}: {in_words(row.rate)}" if row.rate.rows else "no data: kept by hand"
            if points != slot.bounds.now:
                edits.append(Edit(slot.path, points, f"was {written(slot.bounds.now)}; {note}"))
                edits += _cap_edit(slot, points, fitted.scale.most, most)
    return edits


def _cap_edit(slot: Slot, points: float, alone: float, section: float | None) -> list[Edit]:
    """Let a cap follow its points, so that the rule counts as often as before; a cap is no signal that crosses alone."""
    if slot.cap_path is None or not points:
        return []
    cap = slot.bounds.most_units * points
    if slot.cap > 0:  # the cap of a rule has no sign, the `min` of inactivity has that of its points
        cap = abs(cap)
        cap = min(cap, alone if not slot.bounds.intent else np.inf if section is None else section)
    cap = float(round(cap)) if abs(cap) >= 1 else round(cap, 1)
    return [Edit(slot.cap_path, cap, f"{slot.cap_path[-1]} was {written(slot.cap)}")] if cap and cap != slot.cap else []


def _threshold_edits(grid: Grid, rungs: dict[str, Threshold], least: float | None) -> list[Edit]:
    edits: list[Edit] = []
    for name, rung in (("mql", grid.stages.mql), ("sql", grid.stages.sql)):
        if rung is None:
            continue
        found = rungs[name]
        if found.enter != rung.enter:
            edits.append(Edit(("stages", name, "enter"), found.enter, f"enter was {written(rung.enter)}"))
        if found.leave != rung.leave:
            edits.append(Edit(("stages", name, "leave"), found.leave, f"leave was {written(rung.leave)}", after="enter"))
        if name == "sql" and rung.min_fit is not None and least is not None and least != rung.min_fit:
            edits.append(Edit(("stages", name, "min_fit"), least, f"min_fit was {written(rung.min_fit)}"))
    return edits


def _limit_edits(grid: Grid, fitted: Fitted, sample: Sample, own: GridFields) -> list[Edit]:
    """Let the limits of fit follow its points: `max` is what one row in a hundred reaches, and `min` holds no points back."""
    total = np.zeros(sample.rows)
    for one in fitted.fields:
        if any(slot is not None and slot.path[0] == "fit" for slot in own.slots[one.field.name]):
            total += encoded(one.field, sample).times(one.points)
    edits: list[Edit] = []
    least, most = grid.fit.min, grid.fit.max
    low, high = (float(one) for one in np.quantile(total, [1 - _TOP_FIT, _TOP_FIT]))
    if most is not None and np.ceil(high) not in (most, 0.0) and high > 0:
        edits.append(Edit(("fit", "max"), float(np.ceil(high)), f"max was {written(most)}"))
    if least is not None and np.floor(low) < least:
        edits.append(Edit(("fit", "min"), float(np.floor(low)), f"min was {written(least)}"))
    return edits
