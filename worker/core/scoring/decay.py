"""How points fade with age. A rule's `half_life` is one way; each way is an object with the same methods.

A sum of faded points is kept as of its latest occurrence. So a way to fade must let a whole sum grow older at once.
"""

from __future__ import annotations

from worker.core.scoring.halving import LN2, halved


class HalfLife:
    """Fades by half in each half-life, and never to nothing."""

    def __init__(self, half_life_ms: int) -> None:
        self.half_life_ms = half_life_ms

    def left(self, age_ms: int) -> float:
        """Return what is left of one point after *age_ms*; more than 1 for a negative age."""
        return halved(age_ms, self.half_life_ms)

    def slope(self, points: float) -> float:
        """Return how fast *points* change, in points a ms."""
        return -LN2 / self.half_life_ms * points


def decay_of(half_life_ms: int | None) -> HalfLife | None:
    """Return how a rule's points fade; `None`: they do not."""
    return HalfLife(half_life_ms) if half_life_ms else None
