"""Reading a score: the formulas of the grid applied to the sums at one instant, and bounds for every later instant."""

from __future__ import annotations

from worker.core.contract.model import Reason
from worker.core.grid.models import Inactivity
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import INFINITY, CompiledGrid, CompiledRule, clamp
from worker.core.scoring.halving import END, MASK, PARTS, SHIFT, SIXTH, STEP, TABLE, WHOLE
from worker.core.scoring.state import Count, LeadState, VelocityWindow
from worker.core.scoring.traits import unpack_traits, values


class Reading:
    """A lead at one instant, and what time alone can do to it from then on.

    The engagement's parts are points before its clamp. Between two steps (an expiry, a midnight, an inactivity step) only
    decay acts. Positive parts fall and negative parts rise, neither faster than with its shortest half-life.
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


def read(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Reading:
    """Return the lead's score at *at_ms* (not before the state's clock), by formulas 1 to 6 of the grid."""
    reading = Reading(scorer, at_ms, state.fit)
    _read_rules(scorer, state.counts, reading)
    if state.velocity:
        _read_velocity(scorer, state.velocity, reading)
    active: int = state.active_ms
    if active:
        for tier in scorer.tiers:
            _read_inactivity(tier, active, reading)
    reading.engagement = held_between(reading.total, scorer.engagement_min, scorer.engagement_max)
    reading.score = held_between(reading.fit + reading.engagement, scorer.score_min, scorer.score_max)
    return reading


def _read_rules(scorer: CompiledGrid, counts: dict[int, Count], reading: Reading) -> None:
    # Complexity over 15: nearly all of a reading's time is spent here, and each call made from here costs as much as a rule.
    at_ms = reading.at_ms
    total = highest = lowest = falling = passing = rising = 0.0
    fall_half = rise_half = step_ms = INFINITY
    readers = scorer.readers
    for key, count in counts.items():
        rules = readers.get(key)
        if rules is None:
            continue
        last_ms: int = count.last_ms
        for rule in rules:
            expires_after = rule.expires_after
            if expires_after:
                end = last_ms + expires_after
                if at_ms >= end:
                    continue
                if end < step_ms:
                    step_ms = float(end)
            half_life = rule.half_life
            # As `_raw`, `halved` and `held_to`, which cost a third of this function when it calls them.
            if not half_life:
                points = rule.points * count.n
            elif at_ms == last_ms:
                points = rule.points * count.sum
            else:
                steps = (at_ms - last_ms) / half_life * PARTS
                at = int(steps)
                rest = (steps - at) * STEP
                left = TABLE[at & MASK] * WHOLE[at >> SHIFT] if at < END else 0.0
                points = rule.points * (count.sum * (left * (1.0 - rest * (1.0 - rest * (0.5 - rest * SIXTH)))))
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
    reading.total = total
    reading.least = reading.firm = lowest
    reading.most = highest
    reading.reachable = highest + scorer.velocity_most
    reading.falling = falling
    reading.fading = falling - passing
    reading.falling_half_life = fall_half
    reading.rising = rising
    reading.rising_half_life = rise_half
    reading.step_ms = step_ms


def _read_velocity(scorer: CompiledGrid, velocity: dict[int, VelocityWindow], reading: Reading) -> None:
    today = scorer.calendar.day(reading.at_ms)
    moving = False
    for key, window in velocity.items():
        rules = scorer.velocity_rules.get(key)
        if rules is None:
            continue
        asked = (window.days, today - window.day)
        for rule in rules:
            points, low, high = rule.known.get(asked) or rule.read(window, today)
            reading.total += points
            reading.least += low
            reading.most += high
            if low != high:
                moving = True
    if moving:
        reading.step_ms = min(reading.step_ms, float(scorer.calendar.next_day_ms(reading.at_ms)))


def _read_inactivity(inactivity: Inactivity, active_ms: int, reading: Reading) -> None:
    points, next_ms = inactive(inactivity, active_ms, reading.at_ms)
    reading.total += points
    if inactivity.points > 0:
        reading.most += INFINITY
        reading.reachable += INFINITY
        reading.least += points
    else:
        reading.most += points
        reading.least += -INFINITY if inactivity.min is None else min(inactivity.min, points)
    if next_ms < reading.step_ms:
        reading.step_ms = next_ms


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
    if rule.decay is not None:
        return rule.points * (count.sum * rule.decay.left(at_ms - count.last_ms))
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


def reasons(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Reason]:
    """Return where every point of the score at *at_ms* came from, clamps included; they add up to it."""
    found: list[Reason] = []
    view = scorer.derived(values(unpack_traits(state.traits)))
    fit_sum = 0.0
    for id_, points, match, table in scorer.fit_rules:
        if match(view):
            worth, row = (points, None) if table is None else table.row(view)
            fit_sum += worth
            found.append(Reason("fit", worth, id_, row=row))
    grid = scorer.grid
    fit = clamp(fit_sum, grid.fit.min, grid.fit.max)
    found.append(Reason("clamp", fit - fit_sum, "fit"))
    total = 0.0
    for rule, count in in_grid_order(scorer, state):
        if rule.expires_after and at_ms >= count.last_ms + rule.expires_after:
            continue
        raw = _raw(rule, count, at_ms)
        points = held_to(raw, rule.cap)
        total += points
        found.append(Reason("rule", points, rule.id, raw, count.n, rfc3339(count.last_ms), on=rule.customs))
    today = scorer.calendar.day(at_ms)
    for key, rules in scorer.velocity_rules.items():
        window = state.velocity.get(key)
        if window is None:
            continue
        for velocity in rules:
            number = velocity.count(window, today)
            points = velocity.points(number)
            total += points
            found.append(Reason("velocity", points, velocity.id, count=number, on=velocity.customs))
    for place, tier in enumerate(scorer.tiers if state.active_ms else (), start=1):
        points, _ = inactive(tier, state.active_ms, at_ms)
        total += points
        found.append(Reason("inactivity", points, place=place if len(scorer.tiers) > 1 else None))
    engagement = clamp(total, grid.engagement.min, grid.engagement.max)
    found.append(Reason("clamp", engagement - total, "engagement"))
    score = clamp(fit + engagement, grid.score.min, grid.score.max)
    found.append(Reason("clamp", score - (fit + engagement), "score"))
    return [reason for reason in found if reason.points]


def in_grid_order(scorer: CompiledGrid, state: LeadState) -> list[tuple[CompiledRule, Count]]:
    """Return the engagement rules that have counted something, with what they count."""
    return [(rule, state.counts[key]) for key, readers in scorer.readers.items() if key in state.counts for rule in readers]
