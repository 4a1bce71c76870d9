"""The exact instant at which time alone carries a score over a threshold.

Between two steps (an expiry, a midnight, an inactivity step, the end of a window) only decay acts. There, bounds of the score
over a stretch and the signs of its slopes locate the first crossing. `worker.core.scoring.moving` has the parts that move.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from worker.core.scoring.compiled_grid import CompiledGrid, clamp
from worker.core.scoring.compiled_rules import INFINITY
from worker.core.scoring.moving import MovingPart
from worker.core.scoring.reading import SLACK, Reading
from worker.core.scoring.score import read
from worker.core.scoring.state import LeadState


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


class Crossing:
    """Looks for the first instant at which decay alone carries a lead's score over a threshold, on a stretch without steps."""

    def __init__(
        self,
        scorer: CompiledGrid,
        state: LeadState,
        thresholds: Thresholds,
        parts: list[MovingPart],
        reading: Reading,
    ) -> None:
        """Begin from *reading*, which the lead has where the stretch begins."""
        self._scorer = scorer
        self._state = state
        self._thresholds = thresholds
        self._parts = parts
        # What stands still: the whole sum less what decays now.
        self._still = reading.total - math.fsum([part.at(reading.at_ms) for part in parts])

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
        bounds = [part.bounds(first, last) for part in self._parts]
        low = self._values(math.fsum([least for least, _ in bounds]))
        high = self._values(math.fsum([most for _, most in bounds]))
        return not self._thresholds.crossed((low[0] - SLACK, low[1] - SLACK), (high[0] + SLACK, high[1] + SLACK))

    def _only_falls_or_rises(self, first: int, last: int) -> bool:
        slopes = [part.slopes(first, last) for part in self._parts]
        return math.fsum([high for _, high in slopes]) <= 0 or math.fsum([low for low, _ in slopes]) >= 0
