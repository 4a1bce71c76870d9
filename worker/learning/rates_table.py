"""The article's table for a whole learning table: every answer with its outcomes, a word, and points now and proposed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from worker.core.grid.models import Grid
from worker.errors import LearningError
from worker.learning.bins import LeftOut
from worker.learning.fields import Field, encoded, fields_of_columns
from worker.learning.fit_report import as_json, table_of
from worker.learning.fit_words import percent, points_of
from worker.learning.fitting import grid_of
from worker.learning.grid_fields import GridFields, fields_of_grid, with_signals
from worker.learning.leak_gate import bare
from worker.learning.leaks import find_leaks
from worker.learning.pages import page, table_of_cells
from worker.learning.pictures import Bar, bars
from worker.learning.points import Method, fit
from worker.learning.rates import MEANING, Rate, in_words, rates
from worker.learning.rows import sample_of
from worker.learning.sample import Sample
from worker.learning.scale import DEFAULT_MQL, DEFAULT_SQL
from worker.learning.tables import Table

_MOST_BARS = 40


class Line(NamedTuple):
    """One answer."""

    rate: Rate
    now: float | None
    """Its points in the grid; `None` without a grid."""
    proposed: float | None
    """What a fit would give it; `None` where it is suspect, or nothing can be fitted."""


class Rates(NamedTuple):
    """The whole table."""

    lines: tuple[Line, ...]
    overall: float
    rows: int
    won: int
    design_effect: float
    left_out: tuple[LeftOut, ...]
    note: str
    """Why there are no proposed points; empty where there are."""


def rates_of(table: Table, grid: Grid | None) -> Rates:
    """Return the rates of *table*: of the grid's rules, or of the columns where there is no grid.

    Raises `LearningError` where the table has no won or no lost rows, or was made by a grid that counts otherwise.
    """
    grid = grid_of(table, grid)
    sample = sample_of(table, texts_too=grid is None)
    won = int(sample.won.sum())
    if not 0 < won < sample.rows:
        raise LearningError(f"{won} won of {sample.rows} rows: rates need won and lost ones")
    suspects = {name for leak in find_leaks(table) if leak.verdict == "refuse" for name in (leak.name, bare(leak.name))}
    own = None if grid is None else fields_of_grid(grid)
    left_out: list[LeftOut] = []
    if grid is None or own is None:
        fields, left_out = fields_of_columns(sample)
    else:
        sample, fields = with_signals(grid, sample), list(own.fields)
    fields, points, note = _fitted(fields, sample, grid, own, suspects)
    found = iter(rates([encoded(field, sample) for field in fields], sample.won, sample.design_effect, suspects))
    lines: list[Line] = []
    for field in fields:
        now = None if own is None else [bounds.now for bounds in own.now(field)]
        for i, _ in enumerate(field.attributes):
            proposed = None if field.name not in points else points[field.name][i]
            lines.append(Line(next(found), None if now is None else now[i], proposed))
    overall = float(sample.won.mean())
    return Rates(tuple(lines), overall, sample.rows, won, sample.design_effect, tuple(left_out), note)


def _fitted(
    fields: list[Field], sample: Sample, grid: Grid | None, own: GridFields | None, suspects: set[str]
) -> tuple[list[Field], dict[str, list[float]], str]:
    """Return the fields, ranges merged, with the points that a fit would give; suspects are left out of it."""
    method = Method()
    if grid is not None and own is not None:
        sql = DEFAULT_SQL if grid.stages.sql is None else grid.stages.sql.enter
        mql = min(DEFAULT_MQL, 2 / 3 * sql) if grid.stages.mql is None else grid.stages.mql.enter
        method = Method(sql=sql, mql=mql, now=own.now)
    clean = [field for field in fields if field.name not in suspects]
    try:
        found = fit(clean, sample, method)
    except LearningError as err:
        return fields, {}, str(err)
    merged = {one.field.name: one.field for one in found.fields}
    points = {one.field.name: one.points.tolist() for one in found.fields}
    return [merged.get(field.name, field) for field in fields], points, ""


def rates_json(found: Rates, table: Table) -> bytes:
    """Return the table as JSON with sorted keys."""
    return as_json(
        {
            "rates": 1,
            "table": table_of(table.facts),
            "overall": {"n": found.rows, "won": found.won, "rate": found.overall, "design_effect": found.design_effect},
            "attributes": [_line(line, found.design_effect) for line in found.lines],
            "left_out": [one._asdict() for one in found.left_out],
            "note": found.note or None,
        }
    )


def _line(line: Line, design_effect: float) -> dict[str, Any]:
    rate = line.rate
    return {
        "field": rate.field, "name": rate.name, "n": rate.rows, "won": rate.won, "n_effective": rate.rows / design_effect,
        "rate": rate.rate, "likely": list(rate.likely), "times": rate.times, "word": rate.word, "now": line.now,
        "proposed": line.proposed,
    }  # fmt: skip


HEAD = ("field", "answer", "n", "won", "closed", "likely", "as often", "word", "now", "proposed")


def cells(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """Return the table's cells, as people read them."""
    return [
        (
            one.rate.field, one.rate.name, f"{one.rate.rows:,}", f"{one.rate.won:,}", percent(one.rate.rate),
            f"{one.rate.likely.low:.0%}–{one.rate.likely.high:.0%}", f"×{one.rate.times:.1f}" if one.rate.rows else "–",
            one.rate.word, "–" if one.now is None else points_of(one.now),
            "–" if one.proposed is None else points_of(one.proposed),
        )
        for one in lines
    ]  # fmt: skip


def opening(found: Rates) -> str:
    """Return the sentence above the table."""
    words = f"{found.rows:,} rows, {found.won:,} won: everyone closes {percent(found.overall)}."
    if found.design_effect > 1.05:
        words += f" A lead has several rows: ranges count {found.design_effect:.1f} of them as one."
    return words


def rates_html(found: Rates, table: Table) -> str:
    """Return the table as a page."""
    told = [line for line in found.lines if line.rate.rows >= 5][:_MOST_BARS]
    rows = [
        Bar(f"{one.rate.field}: {one.rate.name}", one.rate.rate, *one.rate.likely, f"{in_words(one.rate)}, {one.rate.word}")
        for one in told
    ]
    body = [
        f"<p>{html.escape(opening(found))}</p>",
        f"<p>{html.escape(found.note)}</p>" if found.note else "",
        bars("Closing rates by answer", rows, found.overall),
        table_of_cells(HEAD, cells(found.lines)),
        "<ul>" + "".join(f"<li><b>{word}</b>: {html.escape(meaning)}</li>" for word, meaning in MEANING.items()) + "</ul>",
        *(f"<p>{html.escape(f'{one.name} is left out: {one.why}.')}</p>" for one in found.left_out),
    ]
    return page(f"Closing rates: {table.facts.source}", "\n".join(body))
