"""Reading a score: the formulas of the grid applied to the sums at one instant, and bounds for every later instant."""

from __future__ import annotations

import math
from typing import NamedTuple

from worker.core.contract.model import Reason
from worker.core.grid.models import Inactivity
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import INFINITY, CompiledGrid, CompiledRule, clamp
from worker.core.scoring.halving import END, LN2, PARTS, SHIFT, SIXTH, STEP, TABLE, WHOLE, halved
from worker.core.scoring.state import Count, LeadState
from worker.core.scoring.traits import unpack_traits, values


class Reading:
    """A lead at one instant, and what time alone can do to it from then on.

    The engagement's parts are points before its clamp. Between two steps (an expiry, a midnight, an inactivity step) only
    decay is at work: positive parts fall, negative ones rise, neither faster than its shortest half-life.
    """

    def __init__(
        self,
        scorer: CompiledGrid,
        at_ms: int,
        fit: float,
        total: float,
        most: tuple[float, float, float],
        firm: float,
        falling: float,
        fading: float,
        falling_half_life: float,
        rising: float,
        rising_half_life: float,
        step_ms: float,
    ) -> None:
        self._scorer = scorer
        self._bounds = most
        self.at_ms = at_ms
        self.fit = fit
        self.engagement = held_between(total, scorer.engagement_min, scorer.engagement_max)
        self.score = held_between(fit + self.engagement, scorer.score_min, scorer.score_max)
        self.firm = firm
        """What no time takes: Σ of the rules' parts that do not fall, without velocity and inactivity."""
        self.falling = falling
        """Σ of the positive decaying parts."""
        self.fading = fading
        """Of them, those that never expire: what only decay takes."""
        self.falling_half_life = falling_half_life
        self.rising = rising
        """−Σ of the negative decaying parts."""
        self.rising_half_life = rising_half_life
        self.step_ms = step_ms
        """The next instant after this one at which a part steps; infinite when none does."""
        self.total = total
        """The engagement before its clamp."""

    @property
    def lowest(self) -> float:
        """No later score without new events is below this."""
        return _score(self._scorer, self.fit, self._bounds[0])

    @property
    def highest(self) -> float:
        """Nor above this."""
        return _score(self._scorer, self.fit, self._bounds[1])

    @property
    def reach(self) -> float:
        """Nor, without new occurrences and other traits, above this: whatever velocity and activity events may bring."""
        return _score(self._scorer, self.fit, self._bounds[2])


def read(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Reading:
    """Return the lead's score at *at_ms* (not before the state's clock), by formulas 1 to 6 of the grid."""
    total = highest = lowest = falling = passing = rising = 0.0
    fall_half = rise_half = step_ms = INFINITY
    readers = scorer.readers
    for key, count in state.counts.items():
        rules = readers.get(key)
        if rules is None:
            continue
        last: int = count.last
        for rule in rules:
            expires_after = rule.expires_after
            if expires_after:
                end = last + expires_after
                if at_ms >= end:
                    continue
                if end < step_ms:
                    step_ms = float(end)
            half_life = rule.half_life
            # As `_raw`, `halved` and `held_to`, which cost a third of this function when it calls them.
            if half_life:
                steps = (at_ms - last) / half_life * PARTS
                at = int(steps)
                rest = (steps - at) * STEP
                left = TABLE[at & (PARTS - 1)] * WHOLE[at >> SHIFT] if at < END else 0.0
                points = rule.points * (count.sum * (left * (1.0 - rest * (1.0 - rest * (0.5 - rest * SIXTH)))))
            else:
                points = rule.points * count.n
            cap = rule.cap
            if points > cap:
                points = cap
            elif points < -cap:
                points = -cap
            total += points
            if points > 0:
                highest += points
                if half_life:
                    falling += points
                    if expires_after:
                        passing += points
                    if half_life < fall_half:
                        fall_half = float(half_life)
                elif not expires_after:
                    lowest += points
            else:
                lowest += points
                if half_life:
                    rising -= points
                    if half_life < rise_half:
                        rise_half = float(half_life)
                elif not expires_after:
                    highest += points
    reach = highest + scorer.velocity_most
    firm = lowest
    if state.velocity:
        today = scorer.calendar.day(at_ms)
        moving = False
        for key, window in state.velocity.items():
            velocity = scorer.velocity_rules.get(key)
            if velocity is None:
                continue
            asked = (window.days, today - window.day)
            for one in velocity:
                points, low, high = one.known.get(asked) or one.read(window, today)
                total += points
                lowest += low
                highest += high
                if low != high:
                    moving = True
        if moving:
            step_ms = min(step_ms, float(scorer.calendar.next_day_ms(at_ms)))
    inactivity = scorer.grid.inactivity
    active: int = state.active
    if inactivity is not None and active:
        points, next_ms = inactive(inactivity, active, at_ms)
        total += points
        if inactivity.points > 0:
            highest += INFINITY
            reach += INFINITY
            lowest += points
        else:
            highest += points
            lowest += -INFINITY if inactivity.min is None else min(inactivity.min, points)
        if next_ms < step_ms:
            step_ms = next_ms
    return Reading(
        scorer,
        at_ms,
        state.fit,
        total,
        (lowest, highest, reach),
        firm,
        falling,
        falling - passing,
        fall_half,
        rising,
        rise_half,
        step_ms,
    )


def held_between(value: float, low: float, high: float) -> float:
    """Return *value* held between *low* and *high*, as `clamp` with both."""
    if value > high:
        value = high
    if value < low:
        value = low
    return value + 0.0


def _score(scorer: CompiledGrid, fit: float, engagement: float) -> float:
    held = held_between(engagement, scorer.engagement_min, scorer.engagement_max)
    return held_between(fit + held, scorer.score_min, scorer.score_max)


def clamped(scorer: CompiledGrid, fit: float, engagement: float) -> tuple[float, float, float]:
    """Return (score, fit, engagement), all clamped. *fit* is clamped already."""
    grid = scorer.grid
    held = clamp(engagement, grid.engagement.min, grid.engagement.max)
    return clamp(fit + held, grid.score.min, grid.score.max), fit, held


def held_to(points: float, cap: float) -> float:
    """Formula 2: the magnitude of *points* is at most *cap*."""
    return cap if points > cap else -cap if points < -cap else points


def _raw(rule: CompiledRule, count: Count, at_ms: int) -> float:
    """Formula 1, before expiry: p · Σ 2^(−(t − t_i)/H), or p · n without decay."""
    if rule.half_life:
        return rule.points * (count.sum * halved(at_ms - count.last, rule.half_life))
    return rule.points * count.n


def inactive(rule: Inactivity, active_ms: int, at_ms: int) -> tuple[float, float]:
    """Formula 5: return (points, next instant at which they step; infinite when at the minimum)."""
    begin = active_ms + rule.after
    if at_ms < begin:
        return 0.0, float(begin)
    if rule.every is None:
        points, next_ms = rule.points, INFINITY
    else:
        passed = (at_ms - begin) // rule.every
        points, next_ms = rule.points * (1 + passed), float(begin + (passed + 1) * rule.every)
    if rule.min is not None and points <= rule.min:
        return rule.min, INFINITY
    return points, next_ms


class Decay(NamedTuple):
    """One decaying part between two steps: |worth · 2^(−(t − since)/half_life)|, at most *cap*, with worth's sign."""

    worth: float
    since_ms: int
    half_life: int
    cap: float

    def at(self, at_ms: int) -> float:
        """Return the part's points at *at_ms*."""
        return held_to(self.worth * halved(at_ms - self.since_ms, self.half_life), self.cap)

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the part's slope (points a ms) between two instants; at its cap it stands still."""
        rate = -LN2 / self.half_life
        early = self.worth * halved(first_ms - self.since_ms, self.half_life)
        late = self.worth * halved(last_ms - self.since_ms, self.half_life)
        ends = (
            0.0 if abs(early) > self.cap else rate * early,
            0.0 if abs(late) > self.cap else rate * late,
            # Capped at first, free at last: the steepest slope is the one it has when it comes off its cap.
            rate * math.copysign(min(self.cap, abs(early)), self.worth) if abs(late) <= self.cap else 0.0,
        )
        return min(ends), max(ends)


def decays(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Decay]:
    """Return the parts that decay from *at_ms* up to the next step."""
    return [
        Decay(rule.points * count.sum, count.last, rule.half_life, rule.cap)
        for key, count in state.counts.items()
        for rule in scorer.readers.get(key, ())
        if rule.half_life and not (rule.expires_after and at_ms >= count.last + rule.expires_after)
    ]


def reasons(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Reason]:
    """Return where every point of the score at *at_ms* came from, clamps included; they add up to it."""
    found: list[Reason] = []
    view = scorer.derived(values(unpack_traits(state.traits)))
    fit_sum = 0.0
    for id_, points, match in scorer.fit_rules:
        if match(view):
            fit_sum += points
            found.append(Reason("fit", points, id_))
    grid = scorer.grid
    fit = clamp(fit_sum, grid.fit.min, grid.fit.max)
    found.append(Reason("clamp", fit - fit_sum, "fit"))
    total = 0.0
    for rule, count in in_grid_order(scorer, state):
        if rule.expires_after and at_ms >= count.last + rule.expires_after:
            continue
        raw = _raw(rule, count, at_ms)
        points = held_to(raw, rule.cap)
        total += points
        found.append(Reason("rule", points, rule.id, raw, count.n, rfc3339(count.last)))
    today = scorer.calendar.day(at_ms)
    for key, rules in scorer.velocity_rules.items():
        window = state.velocity.get(key)
        if window is None:
            continue
        for velocity in rules:
            number = velocity.count(window, today)
            points = velocity.points(number)
            total += points
            found.append(Reason("velocity", points, velocity.id, count=number))
    if grid.inactivity is not None and state.active:
        points, _ = inactive(grid.inactivity, state.active, at_ms)
        total += points
        found.append(Reason("inactivity", points))
    engagement = clamp(total, grid.engagement.min, grid.engagement.max)
    found.append(Reason("clamp", engagement - total, "engagement"))
    score = clamp(fit + engagement, grid.score.min, grid.score.max)
    found.append(Reason("clamp", score - (fit + engagement), "score"))
    return [reason for reason in found if reason.points]


def in_grid_order(scorer: CompiledGrid, state: LeadState) -> list[tuple[CompiledRule, Count]]:
    """Return the engagement rules that have counted something, with what they count."""
    return [(rule, state.counts[key]) for key, readers in scorer.readers.items() if key in state.counts for rule in readers]
