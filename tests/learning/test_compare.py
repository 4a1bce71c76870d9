"""Two grids on one history, of tables made by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from worker.errors import LearningError
from worker.learning.compare import compare
from worker.learning.tables import GridFacts, Table, TableFacts

WEEK = 7 * 86_400_000
ROLES = ("id", "at_ms", "won", "why", "handed_over", "score", "days_to_won")


class Line(NamedTuple):
    """A row of a table."""

    id: str
    week: float
    score: float
    won: bool = False
    why: str = "every"
    given: bool = True


def table(name: str, *lines: Line) -> Table:
    """Return a table of *lines* under the grid *name*."""
    ordered = sorted(lines, key=lambda line: (line.id, line.week))
    columns: dict[str, Any] = {
        "id": [line.id for line in ordered],
        "at_ms": [round(line.week * WEEK) for line in ordered],
        "won": [line.won for line in ordered],
        "why": [line.why for line in ordered],
        "handed_over": [line.given for line in ordered],
        "score": [float(line.score) for line in ordered],
        "days_to_won": [30.0 if line.won else None for line in ordered],
    }
    facts = TableFacts(
        kind="events",
        source="events.jsonl",
        grid=GridFacts(name, 1, "0" * 64, ""),
        horizon_ms=90 * 86_400_000,
        leads=len({line.id for line in lines}),
        rows=len(lines),
        won_leads=0,
        features=[],
        roles={role: role for role in ROLES},
    )
    return Table(pa.table(columns), facts)


def both(scores: dict[str, tuple[float, float]], won: set[str], given: set[str] | None = None) -> tuple[Table, Table]:
    """Return two tables with one row a lead, and a handover half a week later for each score from 75 on."""

    def of(place: int) -> Table:
        lines = []
        for number, (lead, pair) in enumerate(scores.items()):
            line = Line(lead, number % 10, pair[place], lead in won, "every", given is None or lead in given)
            lines.append(line)
            if pair[place] >= 75:
                lines.append(line._replace(week=line.week + 0.5 + 0.1 * place, why="sql"))
        return table("ab"[place], *lines)

    return of(0), of(1)


def test_leads_are_told_apart_by_which_grid_hands_them_over() -> None:
    """With their outcomes, and wins that moved."""
    scores = {"x": (80.0, 80.0), "y": (80.0, 10.0), "z": (10.0, 80.0), "w": (10.0, 90.0), "n": (0.0, 0.0), "m": (90.0, 90.0)}
    found = compare(*both(scores, {"x", "z", "w"})).as_written
    assert (found.a.leads, found.b.leads) == (3, 4)
    assert (found.both.leads, found.both.won) == (2, 1)
    assert (found.only_a.leads, found.only_a.won) == (1, 0)
    assert (found.only_b.leads, found.only_b.won, found.only_b.rate) == (2, 2, 1.0)
    assert (found.wins.value, found.wins_only_a, found.wins_only_b) == (2.0, 0, 2)
    assert found.chance == 0.5
    assert found.b.wins_found == 1.0
    assert found.later_days is not None
    assert found.later_days.value == pytest.approx(0.7)


def test_leads_that_sales_were_never_given_are_counted_apart() -> None:
    """In each of the groups."""
    scores = {"x": (80.0, 80.0), "y": (10.0, 80.0), "z": (10.0, 80.0), "n": (0.0, 0.0)}
    found = compare(*both(scores, {"x"}, {"x", "y"})).as_written
    assert (found.only_b.leads, found.only_b.never_given, found.only_b.never_given_won) == (2, 1, 0)
    assert found.both.never_given == 0


def test_a_better_order_shows_and_a_grid_against_itself_differs_in_nothing() -> None:
    """By the AUC with its range, and at the same number of handovers."""
    random = np.random.default_rng(7)
    won = {f"l{number}" for number in range(400) if random.random() < 0.3}
    scores = {
        f"l{number}": (float(random.normal(50, 20)), float(random.normal(80 if f"l{number}" in won else 40, 20)))
        for number in range(400)
    }
    a, b = both(scores, won)
    found = compare(a, b)
    assert found.auc.low > 0.3
    assert found.auc.shown
    assert found.auc_b > 0.85
    near = found.at_capacity
    assert near.handovers.wins.low > 0
    assert near.handovers.b.leads == pytest.approx(near.handovers.a.leads, abs=12)
    same = compare(a, a)
    assert (same.auc.value, same.auc.low, same.auc.high) == (0, 0, 0)
    assert not same.auc.shown
    assert (same.as_written.only_a.leads, same.as_written.wins.value) == (0, 0)


def test_capacity_is_what_was_asked_for() -> None:
    """Leads a week, on average, under both grids."""
    scores = {f"l{number}": (float(number % 97), float(number % 89)) for number in range(1000)}
    found = compare(*both(scores, {"l3", "l50"}), a_week=20).at_capacity
    assert 150 < found.handovers.a.leads <= 200
    assert 150 < found.handovers.b.leads <= 200


def test_both_grids_call_as_many_where_one_gives_many_leads_its_highest_score() -> None:
    """A grid cannot call fewer than reach its `max`; with the other at less, it would win by calls alone."""
    scores = {f"l{number}": (float(number % 97), 100.0 if number % 3 else 0.0) for number in range(900)}
    near = compare(*both(scores, {"l3", "l50"}), a_week=20).at_capacity
    assert near.handovers.b.leads == 600
    assert near.handovers.a.leads == pytest.approx(600, abs=12)
    assert near.a_week == pytest.approx(60, abs=1)


def test_tables_of_different_histories_are_refused() -> None:
    """Also one without a win."""
    a, _ = both({"x": (1.0, 1.0), "n": (2.0, 2.0)}, {"x"})
    other, _ = both({"y": (1.0, 1.0), "n2": (2.0, 2.0)}, {"y"})
    with pytest.raises(LearningError, match="no instant of a lead in common"):
        compare(a, other)
    with pytest.raises(LearningError, match="no lead that was won"):
        compare(*both({"x": (1.0, 1.0)}, set()))
