"""Reading a score: the formulas of the grid applied to the sums at one instant, and bounds for every later instant."""

from __future__ import annotations

from worker.core.contract.model import Reason
from worker.core.grid.models import Inactivity
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid, clamp
from worker.core.scoring.compiled_rules import INFINITY, CompiledGroup, CompiledRule
from worker.core.scoring.halving import END, MASK, PARTS, SHIFT, SIXTH, STEP, TABLE, WHOLE
from worker.core.scoring.parts import held_to, raw_points, read_parts
from worker.core.scoring.reading import Reading, held_between
from worker.core.scoring.state import Count, LeadState, VelocityWindow
from worker.core.scoring.traits import unpack_traits, values


def read(scorer: CompiledGrid, state: LeadState, at_ms: int) -> Reading:
    """Return the lead's score at *at_ms* (not before the state's clock), by formulas 1 to 6 of the grid."""
    reading = Reading(scorer, at_ms, state.fit)
    _read_rules(scorer, state.counts, reading)
    if scorer.has_parts:
        read_parts(scorer, state.counts, reading)
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
    readers = scorer.plain_readers
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


def clamped(scorer: CompiledGrid, fit: float, engagement: float) -> tuple[float, float, float]:
    """Return (score, fit, engagement), all clamped. *fit* is clamped already."""
    grid = scorer.grid
    held = clamp(engagement, grid.engagement.min, grid.engagement.max)
    return clamp(fit + held, grid.score.min, grid.score.max), fit, held


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
    grid = scorer.grid
    fit_sum = _fit_reasons(scorer, state, found)
    fit = clamp(fit_sum, grid.fit.min, grid.fit.max)
    found.append(Reason("clamp", fit - fit_sum, "fit"))
    total = _rule_reasons(scorer, state, at_ms, found)
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


def _fit_reasons(scorer: CompiledGrid, state: LeadState, found: list[Reason]) -> float:
    """Add the reasons of the fit rules and of their groups; return their sum."""
    view = scorer.derived(values(unpack_traits(state.traits)))
    total = 0.0
    parts: dict[str, list[float]] = {}
    for (id_, points, match, table), rule in zip(scorer.fit_rules, scorer.grid.fit.rules, strict=True):
        if match(view):
            worth, row = (points, None) if table is None else table.row(view)
            total += worth
            found.append(Reason("fit", worth, id_, row=row))
            if rule.group is not None:
                parts.setdefault(rule.group, []).append(worth)
    for group in scorer.fit_groups:
        total += _take_group(found, group, parts.get(group.name, []))
    return total


def _rule_reasons(scorer: CompiledGrid, state: LeadState, at_ms: int, found: list[Reason]) -> float:
    """Add the reasons of the engagement rules and of their groups; return their sum."""
    total = 0.0
    by_rule: dict[str, float] = {}
    for rule, count in in_grid_order(scorer, state):
        if rule.expires_after and at_ms >= count.last_ms + rule.expires_after:
            continue
        raw = raw_points(rule, count, at_ms)
        points = by_rule[rule.id] = held_to(raw, rule.cap)
        total += points
        found.append(Reason("rule", points, rule.id, raw, count.n, rfc3339(count.last_ms), on=rule.customs))
    for group in scorer.groups:
        total += _take_group(found, group, [by_rule[rule.id] for _, rule in group.rules if rule.id in by_rule])
    return total


def _take_group(found: list[Reason], group: CompiledGroup, parts: list[float]) -> float:
    """Add the reason that makes up the difference between a group and its parts, which are there already; return it."""
    total = 0.0
    for part in parts:  # in the order of `points`, so that nothing remains where the group takes nothing
        total += part
    difference = group.points(parts) - total
    found.append(Reason("group", difference, group.name))
    return difference


def in_grid_order(scorer: CompiledGrid, state: LeadState) -> list[tuple[CompiledRule, Count]]:
    """Return the engagement rules that have counted something, with what they count."""
    return [(rule, state.counts[key]) for key, readers in scorer.readers.items() if key in state.counts for rule in readers]
