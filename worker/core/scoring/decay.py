"""How points fade with age: the half-life, the straight line and the window. Each is an object with the same methods.

Under a half-life a state keeps one sum, as of its latest occurrence: the whole sum grows older at once. Under `linear` and
`window` each occurrence ends by itself. So a state remembers the occurrences (`worker.core.scoring.occurrences`).
"""

from __future__ import annotations

from worker.core.grid.models import Rule
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


class Span:
    """Ends after a time: in a straight line, or whole up to then."""

    def __init__(self, span_ms: int, *, straight: bool) -> None:
        self.span_ms = span_ms
        self.straight = straight

    @property
    def kind(self) -> str:
        """The word for it in a grid."""
        return "linear" if self.straight else "window"

    def left(self, age_ms: int) -> float:
        """Return what is left of one point after *age_ms*, which is not negative."""
        if age_ms >= self.span_ms:
            return 0.0
        return 1.0 - age_ms / self.span_ms if self.straight else 1.0


def half_life_of(rule: Rule) -> HalfLife | None:
    """Return how the sum of a rule fades; `None`: it does not, or its occurrences fade one by one."""
    return HalfLife(rule.half_life) if rule.half_life else None


def span_of(rule: Rule) -> Span | None:
    """Return how the occurrences of a rule fade one by one; `None`: they do not."""
    decay = rule.decay
    if decay is None:
        return None
    if decay.linear is not None:
        return Span(decay.linear, straight=True)
    return None if decay.window is None else Span(decay.window, straight=False)
