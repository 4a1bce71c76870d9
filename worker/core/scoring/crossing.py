"""The exact instant at which decay alone carries a score over a threshold.

Between two steps (an expiry, a midnight, an inactivity step) only decay acts. There, bounds of the score over a stretch and
the signs of its slopes locate the first crossing.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from worker.core.scoring.compiled_grid import INFINITY, CompiledGrid, clamp
from worker.core.scoring.decay import HalfLife
from worker.core.scoring.score import held_to, read
from worker.core.scoring.state import LeadState

SLACK: Final = 1e-10
"""Bounds are computed in another order than scores: this covers the float dust between them."""


class Thresholds(NamedTuple):
    """What a lead has not crossed yet. A lead that crosses one of them changes its stage or its phase."""

    up: float = INFINITY
    """The lead enters the next rung from this score on..."""
    up_engagement: float = -INFINITY
    """...if it has this engagement."""
    down: float = -INFINITY
    """Below this score the lead leaves its rung or its phase."""
    down_engagement: float = -INFINITY
    """Below this engagement the lead leaves its rung."""
    phase: float = INFINITY
    """The next phase begins at this score."""

    def crossed(self, low: tuple[float, float], high: tuple[float, float]) -> bool:
        """Return whether some (score, engagement) between *low* and *high* may have crossed one of them."""
        return (
            (high[0] >= self.up and high[1] >= self.up_engagement)
            or high[0] >= self.phase
            or low[0] < self.down
            or low[1] < self.down_engagement
        )


NO_THRESHOLDS: Final = Thresholds()


class DecayingPart(NamedTuple):
    """One part between two steps: *worth* as it decays since *since_ms*, held between −*cap* and *cap*."""

    worth: float
    since_ms: int
    decay: HalfLife
    cap: float

    def at(self, at_ms: int) -> float:
        """Return the part's points at *at_ms*."""
        return held_to(self.worth * self.decay.left(at_ms - self.since_ms), self.cap)

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the part's slope (points a ms) between two instants; at its cap it stands still."""
        early = self.worth * self.decay.left(first_ms - self.since_ms)
        late = self.worth * self.decay.left(last_ms - self.since_ms)
        slope = self.decay.slope
        ends = (
            0.0 if abs(early) > self.cap else slope(early),
            0.0 if abs(late) > self.cap else slope(late),
            # Capped at first, free at last: the steepest slope is the one it has when it comes off its cap.
            slope(math.copysign(min(self.cap, abs(early)), self.worth)) if abs(late) <= self.cap else 0.0,
        )
        return min(ends), max(ends)


def decaying_parts(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[DecayingPart]:
    """Return the parts that decay from *at_ms* up to the next step."""
    return [
        DecayingPart(rule.points * count.sum, count.last_ms, rule.decay, rule.cap)
        for key, count in state.counts.items()
        for rule in scorer.readers.get(key, ())
        if rule.decay is not None and not (rule.expires_after and at_ms >= count.last_ms + rule.expires_after)
    ]


class Crossing:
    """Looks for the first instant at which decay alone carries a lead's score over a threshold, on a stretch without steps."""

    def __init__(
        self,
        scorer: CompiledGrid,
        state: LeadState,
        thresholds: Thresholds,
        parts: list[DecayingPart],
        from_ms: int,
    ) -> None:
        self._scorer = scorer
        self._state = state
        self._thresholds = thresholds
        self._parts = parts
        # What stands still: the whole sum less what decays now.
        self._still = read(scorer, state, from_ms).total - math.fsum([part.at(from_ms) for part in parts])

    def first(self, from_ms: int, to_ms: int) -> int | None:
        """Return that instant in (*from_ms*, *to_ms*]."""
        stack = [(from_ms, to_ms)]
        while stack:
            begin, end = stack.pop()
            first, last = begin + 1, end
            if self._stays(first, last):
                continue
            if first == last or self._only_falls_or_rises(first, last):
                # If the score passes a threshold at all, it has passed it at the end.
                if self._moves_at(last):
                    return self._bisect(first, last)
                continue
            middle = (begin + end) // 2
            stack += [(middle, end), (begin, middle)]
        return None

    def _moves_at(self, at_ms: int) -> bool:
        reading = read(self._scorer, self._state, at_ms)
        values = reading.score, reading.engagement
        return self._thresholds.crossed(values, values)

    def _bisect(self, first: int, last: int) -> int:
        while last > first:
            middle = (first + last) // 2
            if self._moves_at(middle):
                last = middle
            else:
                first = middle + 1
        return last

    def _values(self, parts: float) -> tuple[float, float]:
        """Return (score, engagement) where the decaying parts are worth *parts*."""
        grid = self._scorer.grid
        engagement = clamp(self._still + parts, grid.engagement.min, grid.engagement.max)
        return clamp(self._state.fit + engagement, grid.score.min, grid.score.max), engagement

    def _stays(self, first: int, last: int) -> bool:
        """Return whether bounds of score and engagement between two instants lie within the thresholds."""
        ends = [(part.at(first), part.at(last)) for part in self._parts]
        low = self._values(math.fsum([min(pair) for pair in ends]))
        high = self._values(math.fsum([max(pair) for pair in ends]))
        return not self._thresholds.crossed((low[0] - SLACK, low[1] - SLACK), (high[0] + SLACK, high[1] + SLACK))

    def _only_falls_or_rises(self, first: int, last: int) -> bool:
        slopes = [part.slopes(first, last) for part in self._parts]
        return math.fsum([high for _, high in slopes]) <= 0 or math.fsum([low for low, _ in slopes]) >= 0
