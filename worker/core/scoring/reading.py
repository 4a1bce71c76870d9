"""A lead at one instant, and bounds for every later one."""

from __future__ import annotations

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY
from worker.core.scoring.halving import LN2, halvings

SLACK: float = 1e-10
"""Bounds are computed in another order than scores: this covers the float dust between them."""


class Reading:
    """A lead at one instant, and what time alone can do to it from then on.

    The engagement's parts are points before its clamp. Between two steps (an expiry, a midnight, an inactivity step) only
    decay acts. Positive parts fall and negative parts rise, neither faster than with its shortest half-life, beside what
    moves in straight lines.
    """

    total: float
    """The engagement before its clamp."""
    engagement: float
    score: float
    least: float
    most: float
    """Bounds of `total` at any later instant without new events."""
    reachable: float
    """The same as `most`, whatever velocity and activity events may bring."""
    firm: float
    """What no time takes: the sum of the rules' parts that do not fall, without velocity and inactivity."""
    falling: float
    """The sum of the positive decaying parts."""
    fading: float
    """Of them, those that never expire: only decay takes them."""
    falling_half_life: float
    rising: float
    """The sum of the negative decaying parts, with its sign turned."""
    rising_half_life: float
    step_ms: float
    """The next instant after this one at which a part steps; infinite when none does."""

    # Only rules with `weigh`, `decay` or a group set these. As defaults of the class they cost other grids nothing.
    falling_speed: float = 0.0
    """How fast what is `linear` can fall, in points a ms."""
    rising_speed: float = 0.0
    """How fast it can rise."""
    lasting: float = 0.0
    """The sum of the positive `linear` and `window` parts that no group and no expiry takes: only age does."""
    switch_ms: float = INFINITY
    """Before this instant no group's greatest part gives way to one of the other sign."""
    dust: float = 0.0
    """Two parts of a group within 1e-9 are equal: by so much the total can move when they are no longer."""

    def __init__(self, scorer: CompiledGrid, at_ms: int, fit: float) -> None:
        self._scorer = scorer
        self.at_ms = at_ms
        self.fit = fit

    @property
    def lowest(self) -> float:
        """No later score without new events is below this."""
        return _score(self._scorer, self.fit, self.least)

    @property
    def highest(self) -> float:
        """Nor above this."""
        return _score(self._scorer, self.fit, self.most)

    @property
    def upper_bound(self) -> float:
        """Nor, without new occurrences and other traits, above this: whatever velocity and activity events may bring."""
        return _score(self._scorer, self.fit, self.reachable)


def held_between(value: float, low: float, high: float) -> float:
    """Return *value* held between *low* and *high*, as `clamp` with both."""
    if value > high:
        value = high
    if value < low:
        value = low
    return value + 0.0


def _score(scorer: CompiledGrid, fit: float, engagement: float) -> float:
    if engagement > scorer.engagement_max:
        engagement = scorer.engagement_max
    if engagement < scorer.engagement_min:
        engagement = scorer.engagement_min
    return held_between(fit + engagement, scorer.score_min, scorer.score_max)


def falls_in(reading: Reading, gap: float) -> float:
    """Return how many ms the total needs at least to fall by *gap*, up to the next step."""
    if not reading.dust and not reading.falling_speed:
        return reach(gap, reading.falling, reading.falling_half_life)
    soonest = reach_straight(gap - reading.dust, reading.falling, reading.falling_half_life, reading.falling_speed)
    return min(soonest, reading.switch_ms - reading.at_ms)


def rises_in(reading: Reading, gap: float) -> float:
    """Return how many ms the total needs at least to rise by *gap*, up to the next step."""
    if not reading.dust and not reading.rising_speed:
        return reach(gap, reading.rising, reading.rising_half_life)
    soonest = reach_straight(gap - reading.dust, reading.rising, reading.rising_half_life, reading.rising_speed)
    return min(soonest, reading.switch_ms - reading.at_ms)


def reach(gap: float, parts: float, half_life: float) -> float:
    """Return how many ms *parts* need at least to change by *gap* when they fade to nothing with *half_life*."""
    gap -= SLACK
    if gap >= parts:
        return INFINITY
    return 0.0 if gap <= 0 else max(0.0, half_life * halvings(1 - gap / parts) - 1)


def reach_straight(gap: float, parts: float, half_life: float, speed: float) -> float:
    """Return the same where *speed* points a ms come on top. A half-life is steepest at its beginning."""
    if not speed:
        return reach(gap, parts, half_life)
    gap -= SLACK
    return 0.0 if gap <= 0 else max(0.0, gap / (speed + parts * LN2 / half_life) - 1)
