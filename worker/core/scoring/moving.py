"""The parts of a score that move between two steps.

Each part gives bounds of its points and of its slope over a stretch of time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import ALLOWANCE, INFINITY, CompiledGroup, CompiledRule
from worker.core.scoring.decay import HalfLife
from worker.core.scoring.occurrences import INSTANT_BYTES
from worker.core.scoring.parts import held_to, part_of
from worker.core.scoring.state import Count, LeadState


class MovingPart:
    """One part of the engagement between two steps. Instants of a stretch are both included."""

    def at(self, at_ms: int) -> float:
        """Return the part's points at *at_ms*."""
        raise NotImplementedError

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the least and the most that the points are between two instants."""
        raise NotImplementedError

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the slope, in points a ms; infinite ones where the points may jump."""
        raise NotImplementedError

    def fades_like(self, other: MovingPart, from_ms: int) -> bool:
        """Return whether this part and *other* keep their proportion from *from_ms* on."""
        return False


class StillPart(MovingPart):
    """One part of a group that does not move."""

    def __init__(self, points: float) -> None:
        self.points = points

    def at(self, at_ms: int) -> float:
        """Return the part's points."""
        return self.points

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the points, twice."""
        return self.points, self.points

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return no slope."""
        return 0.0, 0.0


class DecayingPart(MovingPart):
    """*worth* as it decays since *since_ms*, held between −*cap* and *cap*."""

    def __init__(self, worth: float, since_ms: int, decay: HalfLife, cap: float) -> None:
        self.worth = worth
        self.since_ms = since_ms
        self.decay = decay
        self.cap = cap

    def at(self, at_ms: int) -> float:
        """Return the part's points at *at_ms*."""
        return held_to(self.worth * self.decay.left(at_ms - self.since_ms), self.cap)

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return its points at both ends: it only falls, or only rises."""
        early, late = self.at(first_ms), self.at(last_ms)
        return (early, late) if early < late else (late, early)

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the slope; at its cap the part stands still."""
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

    def fades_like(self, other: MovingPart, from_ms: int) -> bool:
        """Return whether both have one half-life, and neither is at its cap."""
        return (
            isinstance(other, DecayingPart)
            and self._is_free(from_ms)
            and other._is_free(from_ms)
            and (self.decay.half_life_ms == other.decay.half_life_ms)
        )

    def _is_free(self, at_ms: int) -> bool:
        return abs(self.worth * self.decay.left(at_ms - self.since_ms)) <= self.cap


class LinearPart(MovingPart):
    """Occurrences that fade in straight lines. Those worth something fall, and those that take points rise."""

    def __init__(self, occurrences: list[tuple[int, float]], span_ms: int, cap: float) -> None:
        self.occurrences = occurrences
        """Instant and points at first of each."""
        self.span_ms = span_ms
        self.cap = cap

    def _sides(self, at_ms: int) -> tuple[float, float]:
        plus = minus = 0.0
        for first_ms, points in self.occurrences:
            age_ms = at_ms - first_ms
            if age_ms < self.span_ms:
                left = points * (1.0 - age_ms / self.span_ms)
                if left > 0:
                    plus += left
                else:
                    minus += left
        return plus, minus

    def _speeds(self, at_ms: int) -> tuple[float, float]:
        """Return how fast the positive occurrences fall and the negative ones rise, in points a ms."""
        falls = rises = 0.0
        for first_ms, points in self.occurrences:
            if at_ms - first_ms < self.span_ms:
                if points > 0:
                    falls += points / self.span_ms
                else:
                    rises -= points / self.span_ms
        return falls, rises

    def at(self, at_ms: int) -> float:
        """Return the part's points at *at_ms*."""
        plus, minus = self._sides(at_ms)
        return held_to(plus + minus, self.cap)

    def _free_bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds from what each side is at its ends, before the cap."""
        plus, minus = self._sides(first_ms)
        later_plus, later_minus = self._sides(last_ms)
        return later_plus + minus, plus + later_minus

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the points."""
        low, high = self._free_bounds(first_ms, last_ms)
        return held_to(low, self.cap), held_to(high, self.cap)

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return bounds of the slope. An occurrence that ends takes its slope along, so each side is steepest at first."""
        falls, rises = self._speeds(first_ms)
        later_falls, later_rises = self._speeds(last_ms)
        slopes = later_rises - falls, rises - later_falls
        return held_slopes(slopes, self._free_bounds(first_ms, last_ms), self.cap)


class CappedGroup(MovingPart):
    """The sum of parts, held between −*cap* and *cap*."""

    def __init__(self, parts: list[MovingPart], cap: float) -> None:
        self.parts = parts
        self.cap = cap

    def at(self, at_ms: int) -> float:
        """Return the group's points at *at_ms*."""
        return held_to(math.fsum([part.at(at_ms) for part in self.parts]), self.cap)

    def _free_bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        return _sums([part.bounds(first_ms, last_ms) for part in self.parts])

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the sums of the parts' bounds, held."""
        low, high = self._free_bounds(first_ms, last_ms)
        return held_to(low, self.cap), held_to(high, self.cap)

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the sums of the parts' slopes; where the group is held it stands still."""
        slopes = _sums([part.slopes(first_ms, last_ms) for part in self.parts])
        return held_slopes(slopes, self._free_bounds(first_ms, last_ms), self.cap)


class BestOfGroup(MovingPart):
    """Of several parts the one with the greatest magnitude."""

    def __init__(self, parts: list[MovingPart], group: CompiledGroup) -> None:
        self.parts = parts
        self.group = group

    def at(self, at_ms: int) -> float:
        """Return the group's points at *at_ms*."""
        return self.group.points([part.at(at_ms) for part in self.parts])

    def _candidates(self, first_ms: int, last_ms: int) -> list[Magnitude]:
        """Return the parts that can be the greatest between two instants, in the order of the grid."""
        found: list[Magnitude] = []
        magnitudes = [Magnitude(part, first_ms, last_ms) for part in self.parts]
        for one in magnitudes:
            ahead = [one.ahead_of(other) for other in magnitudes if other is not one]
            if any(most < -ALLOWANCE for _, most in ahead):
                continue
            found.append(one)
            if all(least >= -ALLOWANCE for least, _ in ahead):
                break  # it is the first that is great enough, all the time
        return found

    def bounds(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the least and the most of all parts that can be the greatest."""
        found = self._candidates(first_ms, last_ms)
        return min([one.low for one in found]), max([one.high for one in found])

    def slopes(self, first_ms: int, last_ms: int) -> tuple[float, float]:
        """Return the slope of the only part that can be the greatest. Between two of them the points may jump."""
        found = self._candidates(first_ms, last_ms)
        return found[0].part.slopes(first_ms, last_ms) if len(found) == 1 else (-INFINITY, INFINITY)


class Magnitude:
    """A part without its sign over a stretch of time."""

    def __init__(self, part: MovingPart, first_ms: int, last_ms: int) -> None:
        self.part = part
        self.first_ms = first_ms
        self.last_ms = last_ms
        self.low, self.high = part.bounds(first_ms, last_ms)
        self.least = 0.0 if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))
        self.most = max(abs(self.low), abs(self.high))

    def _slopes(self) -> tuple[float, float]:
        low, high = self.part.slopes(self.first_ms, self.last_ms)
        if self.low >= 0:
            return low, high
        steepest = max(abs(low), abs(high))
        return (-high, -low) if self.high <= 0 else (-steepest, steepest)

    def ahead_of(self, other: Magnitude) -> tuple[float, float]:
        """Return bounds of how much greater this one is than *other*.

        Parts that are equal all the time must be found to be so, or the search would look at each millisecond.
        """
        least, most = self.least - other.most, self.most - other.least
        if least >= -ALLOWANCE or most < -ALLOWANCE:
            return least, most
        first = abs(self.part.at(self.first_ms)) - abs(other.part.at(self.first_ms))
        if self.part.fades_like(other.part, self.first_ms):
            last = abs(self.part.at(self.last_ms)) - abs(other.part.at(self.last_ms))
            return min(first, last), max(first, last)
        (low, high), (other_low, other_high) = self._slopes(), other._slopes()
        span_ms = self.last_ms - self.first_ms
        # At first it is *first*, and from there it goes no faster than the slopes.
        lead, lag = max(0.0, high - other_low) * span_ms, min(0.0, low - other_high) * span_ms
        return max(least, first + lag), min(most, first + lead)


def held_slopes(slopes: tuple[float, float], bounds: tuple[float, float], cap: float) -> tuple[float, float]:
    """Return bounds of the slope of what is held between −*cap* and *cap*, by its slopes and its bounds before that."""
    if bounds[0] >= cap or bounds[1] <= -cap:
        return 0.0, 0.0
    if bounds[0] >= -cap and bounds[1] <= cap:
        return slopes
    return min(slopes[0], 0.0), max(slopes[1], 0.0)


def _sums(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum([low for low, _ in pairs]), math.fsum([high for _, high in pairs])


def moving_parts(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[MovingPart]:
    """Return the parts that move from *at_ms* up to the next step."""
    found: list[MovingPart] = [
        DecayingPart(rule.points * count.sum, count.last_ms, rule.decay, rule.cap)
        for key, count in state.counts.items()
        for rule in scorer.plain_readers.get(key, ())
        if rule.decay is not None and not (rule.expires_after and at_ms >= count.last_ms + rule.expires_after)
    ]
    if scorer.has_parts:
        moving = [(key, rule) for key, rule in scorer.single_parts if rule.decay is not None or rule.straight]
        found += _parts(moving, state, at_ms)
        for group in scorer.groups:
            parts = list(_parts(group.rules, state, at_ms))
            if any(not isinstance(part, StillPart) for part in parts):
                found.append(BestOfGroup(parts, group) if group.best else CappedGroup(parts, group.cap))
    return found


def _parts(rules: list[tuple[int, CompiledRule]], state: LeadState, at_ms: int) -> Iterator[MovingPart]:
    for key, rule in rules:
        count = state.counts.get(key)
        if count is None or (rule.expires_after and at_ms >= count.last_ms + rule.expires_after):
            continue
        if rule.decay is not None:
            yield DecayingPart(rule.points * count.sum, count.last_ms, rule.decay, rule.cap)
        elif rule.straight:
            yield LinearPart(_occurrences(rule, count, at_ms), rule.span_ms, rule.cap)
        else:
            part = part_of(rule, count, at_ms)
            yield StillPart(0.0 if part is None else part.points)


def _occurrences(rule: CompiledRule, count: Count, at_ms: int) -> list[tuple[int, float]]:
    memory, seen = rule.memory, count.seen
    return [
        (first_ms, rule.points * memory.weight(seen, at))
        for at in range(0, len(seen), memory.width)
        if at_ms - (first_ms := int.from_bytes(seen[at : at + INSTANT_BYTES], "big")) < rule.span_ms
    ]
