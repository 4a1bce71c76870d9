"""Parts of a score that a half-life of whole counts does not describe: weighed sums, straight lines, windows and groups.

`read_parts` adds them to a reading: the points at its instant, and bounds for every later one. Rules without these words never
come here.
"""

from __future__ import annotations

from typing import Final

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY, CompiledGroup, CompiledRule
from worker.core.scoring.occurrences import INSTANT_BYTES, Memory
from worker.core.scoring.reading import Reading, reach_straight
from worker.core.scoring.state import Count

_TIE: Final = 2e-9
"""Twice the allowance within which two parts of a group are equal."""


class Part:
    """One rule's points at an instant, with bounds for every later one without new events."""

    def __init__(self, points: float, low: float, high: float) -> None:
        self.points = points
        self.low = low
        self.high = high
        self.half_life = INFINITY
        """Finite: the points fade as a whole."""
        self.falls = 0.0
        """How fast a straight line can fall, in points a ms."""
        self.rises = 0.0
        self.step_ms = INFINITY
        """When it expires, or its next occurrence leaves a window."""
        self.expires = False


class Aged:
    """The occurrences of a rule under `linear` or `window` at one instant: Σ weight · what is left, by sign."""

    def __init__(self) -> None:
        self.plus = 0.0
        self.minus = 0.0
        self.plus_speed = 0.0
        """Σ weight / span of the positive ones; 0 for a window."""
        self.minus_speed = 0.0
        self.first_ms = INFINITY
        """The earliest occurrence that is left and counts anything."""


def aged(rule: CompiledRule, seen: bytes, at_ms: int) -> Aged:
    """Return what is left at *at_ms* of the occurrences in *seen*."""
    found = Aged()
    memory: Memory = rule.memory
    width, weighed, span_ms, straight = memory.width, memory.weighed, rule.span_ms, rule.straight
    for at in range(len(seen) - width, -1, -width):
        first_ms = int.from_bytes(seen[at : at + INSTANT_BYTES], "big")
        age_ms = at_ms - first_ms
        if age_ms >= span_ms:
            break  # the others are earlier
        weight = memory.weight(seen, at) if weighed else 1.0
        if not weight:
            continue
        found.first_ms = float(first_ms)
        left = weight * (1.0 - age_ms / span_ms) if straight else weight
        speed = weight / span_ms if straight else 0.0
        if weight > 0:
            found.plus += left
            found.plus_speed += speed
        else:
            found.minus += left
            found.minus_speed += speed
    return found


def raw_points(rule: CompiledRule, count: Count, at_ms: int) -> float:
    """Return formula 1 for any rule, before cap and expiry."""
    return rule.points * raw_units(rule, count, at_ms)


def raw_units(rule: CompiledRule, count: Count, at_ms: int) -> float:
    """Return the faded number, or weight, of a rule's occurrences: formula 1 for a rule of one point."""
    if rule.span_ms:
        found = aged(rule, count.seen, at_ms)
        return found.plus + found.minus
    unit: float = count.sum if rule.weighed or rule.decay is not None else count.n
    return unit if rule.decay is None else unit * rule.decay.left(at_ms - count.last_ms)


def earned_points(rule: CompiledRule, count: Count, at_ms: int) -> float:
    """Return a rule's points before time and cap.

    Of a weighed sum only what is left at *at_ms* is known, because the state keeps no sum of weights beside it.
    """
    if rule.span_ms:
        memory, seen = rule.memory, count.seen
        return rule.points * sum([memory.weight(seen, at) for at in range(0, len(seen), memory.width)])
    return raw_points(rule, count, at_ms) if rule.weighed else rule.points * count.n


def part_of(rule: CompiledRule, count: Count, at_ms: int) -> Part | None:
    """Return a rule's part at *at_ms*; `None`: it has expired."""
    end_ms = count.last_ms + rule.expires_after if rule.expires_after else 0
    if end_ms and at_ms >= end_ms:
        return None
    part = _aged_part(rule, count, at_ms) if rule.span_ms else _summed_part(rule, count, at_ms)
    if end_ms:
        part.expires = True
        part.low, part.high = min(part.low, 0.0), max(part.high, 0.0)
        part.step_ms = min(part.step_ms, float(end_ms))
    return part


def _summed_part(rule: CompiledRule, count: Count, at_ms: int) -> Part:
    points = held_to(raw_points(rule, count, at_ms), rule.cap)
    if rule.decay is None:
        return Part(points, points, points)
    part = Part(points, min(points, 0.0), max(points, 0.0))
    part.half_life = float(rule.half_life)
    return part


def _aged_part(rule: CompiledRule, count: Count, at_ms: int) -> Part:
    found = aged(rule, count.seen, at_ms)
    up, down = rule.points * found.plus, rule.points * found.minus
    falls, rises = rule.points * found.plus_speed, rule.points * found.minus_speed
    if rule.points < 0:
        up, down, falls, rises = down, up, rises, falls
    part = Part(held_to(up + down, rule.cap), held_to(down, rule.cap), held_to(up, rule.cap))
    part.falls, part.rises = falls, -rises
    if not rule.straight:
        part.step_ms = found.first_ms + rule.span_ms
    return part


def read_parts(scorer: CompiledGrid, counts: dict[int, Count], reading: Reading) -> None:
    """Add to *reading* the parts of the rules with `weigh`, `linear`, `window` or a group."""
    at_ms = reading.at_ms
    for key, rule in scorer.single_parts:
        count = counts.get(key)
        part = part_of(rule, count, at_ms) if count is not None else None
        if part is not None:
            _take_single(reading, part)
    for group in scorer.groups:
        parts = [
            part
            for key, rule in group.rules
            if (count := counts.get(key)) is not None and (part := part_of(rule, count, at_ms)) is not None
        ]
        if parts:
            _take_group(reading, group, parts)


def _take(reading: Reading, points: float, low: float, high: float) -> None:
    reading.total += points
    reading.least += low
    reading.firm += low
    reading.most += high
    reading.reachable += high


def _take_single(reading: Reading, part: Part) -> None:
    points = part.points
    _take(reading, points, part.low, part.high)
    _take_moves(reading, part)
    if points > 0 and not part.expires:
        if part.half_life < INFINITY:
            reading.fading += points
        elif part.low == 0 and part.high > 0:
            reading.lasting += points


def _take_moves(reading: Reading, part: Part) -> None:
    """Take account of how fast *part* can fall and rise before its next step."""
    if part.half_life < INFINITY:
        if part.points > 0:
            reading.falling += part.points
            reading.falling_half_life = min(reading.falling_half_life, part.half_life)
        else:
            reading.rising -= part.points
            reading.rising_half_life = min(reading.rising_half_life, part.half_life)
    reading.falling_speed += part.falls
    reading.rising_speed += part.rises
    reading.step_ms = min(reading.step_ms, part.step_ms)


def _take_group(reading: Reading, group: CompiledGroup, parts: list[Part]) -> None:
    points = group.points([part.points for part in parts])
    if not group.best:
        low, high = sum([part.low for part in parts]), sum([part.high for part in parts])
        _take(reading, points, held_to(low, group.cap), held_to(high, group.cap))
        for part in parts:
            _take_moves(reading, part)
        return
    low, high = min([part.low for part in parts]), max([part.high for part in parts])
    if len(parts) < len(group.rules):  # a rule that has counted nothing may do so
        low, high = min(low, 0.0), max(high, 0.0)
    _take(reading, points, low, high)
    _take_best(reading, parts, next(part for part in parts if part.points == points))


def _take_best(reading: Reading, parts: list[Part], best: Part) -> None:
    """Take account of how the greatest of a group can move.

    While it keeps its sign, the group's part falls, or rises, no faster than *best* and the straight lines of all together. It
    changes its sign at the earliest when *best* has lost what it is ahead of the greatest that the others can be on that side.
    """
    _take_moves(reading, best)
    other_side = 0.0
    for part in parts:
        if part is not best:
            reading.step_ms = min(reading.step_ms, part.step_ms)
            reading.falling_speed += part.falls
            reading.rising_speed += part.rises
            other_side = max(other_side, -part.low if best.points > 0 else part.high)
            reading.dust += _TIE
    if other_side:
        ahead = abs(best.points)
        fades = ahead if best.half_life < INFINITY else 0.0
        soonest = reach_straight(ahead - other_side - _TIE, fades, best.half_life, best.falls + best.rises)
        reading.switch_ms = min(reading.switch_ms, reading.at_ms + soonest)


def held_to(points: float, cap: float) -> float:
    """Formula 2: the magnitude of *points* is at most *cap*."""
    return cap if points > cap else -cap if points < -cap else points
