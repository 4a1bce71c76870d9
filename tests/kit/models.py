"""Models for tests: a `model.json` that fits a grid, with what a test says otherwise."""

from __future__ import annotations

import json
from typing import Any

from worker.core.grid.counted import counted_hash, counted_parts, signals_of
from worker.core.grid.models import Grid, parse_grid

TRAINED = {"from": "2025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "cut": None, "leads": 2_000, "rows": 9_000, "won": 150}
METRICS = {"auc": [0.72, 0.66, 0.77], "slope": [0.98, 0.81, 1.17]}


def a_model(grid: Grid, weights: dict[str, list[float]] | None = None, **more: Any) -> dict[str, Any]:
    """Return a model for *grid*: *weights* by signal (default: small ones for each), and *more* in place of what is usual."""
    usual = {signal: [0.1 + 0.05 * place, 0.3] for place, signal in enumerate(signals_of(grid))}
    return {
        "model": 1,
        "features": usual if weights is None else weights,
        "caps": {},
        "intercept": -3.0,
        "calibration": [0.1, 0.9],
        "horizon": "90d",
        "counted": counted_hash(grid),
        "parts": counted_parts(grid),
        "trained": TRAINED,
        "metrics": METRICS,
    } | more


def as_file(model: dict[str, Any]) -> bytes:
    """Return a model as its file holds it."""
    return json.dumps(model, indent=1, sort_keys=True).encode()


def with_a_model(grid: str, weights: dict[str, list[float]] | None = None, **more: Any) -> str:
    """Return *grid* as text with a model in it, as journals keep it."""
    model = a_model(parse_grid(grid, "g.yaml"), weights, **more)
    return parse_grid(f"{grid}prediction: {{file: model.json}}\n", "g.yaml", as_file(model)).source.decode()
