"""How well a grid does on a table, and what has shifted, of tables made by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from worker.core.grid.models import parse_grid
from worker.learning.grid_quality import grid_quality
from worker.learning.tables import Feature, GridFacts, Table, TableFacts

DAY = 86_400_000
GRID = parse_grid("{grid: g, version: 1}", "g.yaml")
ROLES = ("id", "at_ms", "won", "why", "score", "days_to_won")


def table(days: int = 300, *, change: float = 0.0, louder: float = 0.0, seed: int = 5) -> Table:
    """Return a table of ten new leads a day. In its last fifth leads win *change* more often, and act *louder*."""
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), 10)
    late = day >= days * 0.8
    acts = random.normal(size=day.size) + louder * late
    score = 50 + 10 * acts
    won = random.random(day.size) < 1 / (1 + np.exp(-(-2 + acts - louder * late))) * (1 + change * late)
    columns = {
        "id": [f"l{place:05}" for place in range(day.size)],
        "at_ms": (day * DAY).tolist(),
        "won": won.tolist(),
        "why": ["sql" if one > 65 else "every" for one in score],
        "score": score.tolist(),
        "days_to_won": [9.0 if one else None for one in won],
        "signal:act": acts.tolist(),
        "age_days": [1.0] * day.size,
    }
    facts = TableFacts(
        kind="events",
        source="events.jsonl",
        grid=GridFacts("g", 1, "0" * 64, ""),
        horizon_ms=30 * DAY,
        leads=day.size,
        rows=day.size,
        won_leads=int(won.sum()),
        features=[Feature("signal:act", "signal", "act"), Feature("age_days", "age_days", "age_days")],
        roles={role: role for role in ROLES},
    )
    return Table(pa.table(columns), facts)


def test_an_unchanged_history_shows_order_and_no_change() -> None:
    """Leads that reached SQL closed more often than all."""
    found = grid_quality(table(), GRID)
    assert found is not None
    assert 0.65 < found.low < found.auc < found.high < 0.85
    assert found.months
    assert not any(month.changed for month in found.months)
    assert found.shifted == []
    (sql,) = found.handed
    assert sql.rate > 1.5 * found.won / found.leads
    assert sql.days_to_won == (9.0, 9.0, 9.0)


def test_another_rate_of_wins_is_seen_in_its_months() -> None:
    """Not as a shift: leads are the same."""
    found = grid_quality(table(change=1.2), GRID)
    assert found is not None
    assert found.months[-1].changed
    assert found.months[-1].seen > 1.5 * found.months[-1].expected
    assert found.shifted == []


def test_other_leads_are_seen_as_a_shift() -> None:
    """In the score, and in the signal behind it."""
    found = grid_quality(table(louder=1.0), GRID)
    assert found is not None
    assert {one.name for one in found.shifted} == {"score", "act"}
    assert all(one.psi > one.limit for one in found.shifted)


@pytest.mark.parametrize("wins", [0, 9])
def test_too_few_wins_tell_nothing(wins: int) -> None:
    """No figure is better than a wild one."""
    made = table(60)
    won = np.zeros(made.facts.rows, dtype=bool)
    won[:wins] = True
    columns = {name: made.arrow.column(name) for name in made.arrow.column_names} | {"won": pa.array(won)}
    assert grid_quality(Table(pa.table(columns), made.facts), GRID) is None
