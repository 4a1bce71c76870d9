"""A known model of outcomes: the log-odds of being won within 90 days are a weighted sum of a grid's signals.

The model holds at every instant after a lead's last act, not only at one. So a table of many rows a lead is judged by the same
weights as a table of one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

from worker.core.grid.models import Grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fit_table import ELSE
from worker.core.scoring.signals import signal_ids, signals
from worker.core.scoring.state import LeadState
from worker.core.scoring.traits import unpack_traits, values
from worker.demo.agenda import DAY_MS

HORIZON_MS: Final = 90 * DAY_MS
_HORIZONS: Final = 8
"""After so many horizons a lead's signals have faded for good."""
_ODDS_OF_SQL: Final = math.log(0.2 / 0.8) - math.log(0.01 / 0.99)
"""A lead at the threshold of SQL closes like 20 %, and one at score 0 like 1 %."""
_USUAL_SQL: Final = 75.0
_SPREAD: Final = 0.5
"""Of the log of true weight ÷ the grid's: two of three are within a factor of 1.65."""
_IDLE: Final = 0.1
"""Share of the signals that are worth nothing, whatever the grid gives them."""


def points_a_unit(grid: Grid) -> float:
    """Return how many points of *grid* stand for one unit of log-odds."""
    sql = grid.stages.sql
    enter = sql.enter if sql is not None and sql.enter > 0 else _USUAL_SQL
    return enter / _ODDS_OF_SQL


def grid_weights(scorer: CompiledGrid) -> dict[str, float]:
    """Return signal → weight, as the points of the grid have it. Steps of a velocity rule are taken as evenly spaced."""
    grid = scorer.grid
    points: dict[str, float] = {}
    for rule in grid.fit.rules:
        if isinstance(rule.points, float):
            points[rule.id] = rule.points
        else:
            points |= {f"{rule.id}/{row.name}": row.points for row in rule.points.rows}
            points[f"{rule.id}/{ELSE}"] = rule.points.otherwise
    points |= {rule.id: rule.points for rule in grid.engagement.rules}
    for velocity in grid.velocity:
        places = range(1, len(velocity.steps) + 1)
        points[velocity.id] = sum(k * worth for k, (_, worth) in zip(places, velocity.steps, strict=True)) / sum(
            k * k for k in places
        )
    *ids, idle_days = signal_ids(scorer)
    points |= {name: tier.points for name, tier in zip(ids[len(ids) - len(scorer.tiers) :], scorer.tiers, strict=True)}
    unit = points_a_unit(grid)
    return {name: points[name] / unit for name in ids} | {idle_days: 0.0}


def true_weights(scorer: CompiledGrid, seed: int) -> dict[str, float]:
    """Return weights that the grid's author guessed about right: mostly within a factor of two, and a tenth of them idle."""
    rnd = random.Random(f"{seed}/weights")
    found = {}
    for name, weight in grid_weights(scorer).items():
        idle, spread = rnd.random() < _IDLE, rnd.lognormvariate(0, _SPREAD)
        found[name] = 0.0 if idle else round(weight * spread, 3)
    return found


class Course:
    """The signals of one lead after its last act, and what they say of its chances."""

    def __init__(self, scorer: CompiledGrid, weights: Mapping[str, float], state: LeadState, from_ms: int) -> None:
        self.from_ms = from_ms
        self._scorer, self._weights, self._state = scorer, weights, state
        self._view = scorer.derived(values(unpack_traits(state.traits)))

    def log_odds(self, at_ms: int) -> float:
        """Return the weighted sum at *at_ms*, without the base."""
        found = signals(self._scorer, self._state, at_ms, self._view)
        return sum(self._weights.get(name, 0.0) * value for name, value in found.items())

    def wins_at(self, base: float, chance: float, from_ms: int, until_ms: int) -> int | None:
        """Return when the lead is won, from *from_ms* and before *until_ms*; `None`: not by then.

        *base*: log-odds of a lead without signals. *chance*: even between 0 and 1.
        Let a lead be open at any instant t. It is then won within 90 days with the probability σ(base + log-odds at t).
        """
        return first_beyond(lambda at_ms: softplus(base + self.log_odds(at_ms)), -math.log1p(-chance), from_ms, until_ms)


def softplus(log_odds: float) -> float:
    """Return ln(1 + odds): the hazard that a horizon must have for its probability to be σ(*log_odds*)."""
    return max(log_odds, 0.0) + math.log1p(math.exp(-abs(log_odds)))


def first_beyond(due: Callable[[int], float], limit: float, from_ms: int, until_ms: int) -> int | None:
    """Return the first instant at which the cumulated hazard H reaches *limit*; `None` if it is not before *until_ms*.

    *due* is g, the hazard that the next 90 days must have: ln(1 + odds). So H must obey H(t + 90 d) − H(t) = g(t).
    With s for *from_ms*, a solution is H(t) = Σ_k [g(s + 90 k) − g(t + 90 k)] + g(∞)·(t − s)/90. It rises if g falls.
    Where g rises, because a bad sign fades, H waits.
    """
    far = due(from_ms + _HORIZONS * HORIZON_MS)
    start = sum(due(from_ms + k * HORIZON_MS) for k in range(_HORIZONS))

    def beyond(at_ms: int) -> bool:
        passed = start + far * (at_ms - from_ms) / HORIZON_MS
        return passed - sum(due(at_ms + k * HORIZON_MS) for k in range(_HORIZONS)) >= limit

    if until_ms <= from_ms or not beyond(until_ms):
        return None
    low, high = from_ms, until_ms
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high
