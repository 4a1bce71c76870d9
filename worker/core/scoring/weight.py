"""What an event counts under `weigh`: a number of its data, within bounds."""

from __future__ import annotations

from typing import Any

from worker.core.grid.counting import Weigh
from worker.core.grid.scalars import number_of


def weight(weigh: Weigh, value: Any) -> float:
    """Return clamp(*value* · times, min, max); 0 for a value that is missing or no number, whatever the bounds."""
    number = number_of(value)
    if number is None:
        return 0.0
    return min(max(number * weigh.times, weigh.min), weigh.max) + 0.0


def bounds(weigh: Weigh | None) -> tuple[float, float]:
    """Return the least and the most that one event can count."""
    return (1.0, 1.0) if weigh is None else (min(weigh.min, 0.0), max(weigh.max, 0.0))
