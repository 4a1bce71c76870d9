"""A table of events as `leadpulse learn table SOURCE --grid G` writes it: weekly rows of leads whose truth is known."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from worker.core.grid.counted import signals_of
from worker.core.grid.models import parse_grid
from worker.learning.intervals import design_effect
from worker.learning.tables import Feature, GridFacts, Table, TableFacts

DAY_MS: Final = 86_400_000
START_MS: Final = 1_735_689_600_000
HORIZON_DAYS: Final = 30
GRID: Final = """\
grid: weekly
version: 2
pages: {pricing: "/pricing*"}
score: {min: 0, max: 100}
fit:
  min: -20
  max: 40
  rules:
    - {id: boss, points: 15, where: {role: boss}}  # they sign
    - {id: student, points: 10, where: {role: student}}
engagement:
  half_life: 14d
  max: 90
  rules:
    - {id: demo, points: 5, on: demo.requested, once_per: lead, cap: 40, intent: true}
    - {id: pricing, points: 20, on: page.viewed, where: {page_type: pricing}, cap: 60}
    - {id: download, points: 4, on: content.downloaded, cap: 12}
    - {id: by-hand, points: 1, on: score.adjusted, weigh: {path: points, min: -50, max: 50}, half_life: none}
velocity:
  - {id: back, on: page.viewed, count: days, within: 7d, steps: {2: 3, 4: 6}}
inactivity: {after: 14d, every: 7d, points: -5, min: -20}
stages:
  mql: {enter: 50, leave: 40}
  sql: {enter: 75, leave: 60, min_fit: 0}
"""
TRUTH: Final = {"boss": 1.0, "student": -1.2, "demo": 1.6, "pricing": 0.25, "download": 0.0, "back": 0.5, "inactivity": -0.4}
"""Log-odds of a win within the horizon, for one unit of each signal."""


def weekly_rows(leads: int = 2500, seed: int = 1, grid: str = GRID) -> Table:
    """Return a table in which each lead has up to six rows, a week apart, until it is won or handed over."""
    random = np.random.default_rng(seed)
    parsed = parse_grid(grid, "weekly")
    names = list(signals_of(parsed))
    rows: dict[str, list[object]] = {"id": [], "won": [], "at_ms": [], "handed_over": [], "trait:role": []}
    signals: dict[str, list[float]] = {name: [] for name in names}
    for i in range(leads):
        role = str(random.choice(["boss", "student", "other"], p=[0.15, 0.25, 0.6]))
        keen = random.random()
        begin = START_MS + int(random.integers(0, 300 * DAY_MS))
        for week in range(6):
            found = {
                "boss": float(role == "boss"),
                "student": float(role == "student"),
                "demo": float(random.random() < 0.12 * keen),
                "pricing": min(3.0, float(random.poisson(0.8 * keen)) * 0.8),
                "download": min(3.0, float(random.poisson(0.4))),
                "back": float(random.integers(0, 3)) if random.random() < keen else 0.0,
                "inactivity": min(4.0, float(random.poisson(0.5))),
            }
            odds = -3.2 + sum(TRUTH[name] * value for name, value in found.items())
            won = random.random() < 1 / (1 + np.exp(-odds))
            rows["id"].append(f"lead-{i:05d}")
            rows["won"].append(bool(won))
            rows["at_ms"].append(begin + week * 7 * DAY_MS)
            rows["handed_over"].append(bool(won or random.random() < 0.1))
            rows["trait:role"].append(None if role == "other" else f'"{role}"')
            for name in names:
                signals[name].append(found.get(name, 0.0))
            if won:
                break
    won_rows = np.array(rows["won"], bool)
    _, numbers = np.unique(np.array(rows["id"]), return_inverse=True)
    features = [Feature(f"signal:{name}", "signal", name) for name in names] + [Feature("trait:role", "trait", "role")]
    facts = TableFacts(
        kind="events", source="log", grid=GridFacts(parsed.grid, parsed.version, parsed.sha256, grid), leads=leads,
        rows=won_rows.size, won_leads=int(np.unique(numbers[won_rows]).size), horizon_ms=HORIZON_DAYS * DAY_MS,
        every_ms=7 * DAY_MS, design_effect=design_effect(numbers, won_rows), features=features,
        roles={name: name for name in ("id", "won", "at_ms", "handed_over")},
    )  # fmt: skip
    columns = {**rows, **{f"signal:{name}": values for name, values in signals.items()}}
    return Table(pa.table(columns), facts)
