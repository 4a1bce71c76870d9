"""Between which points the rules of a lead must stay over a stretch of time in which none of them jumps.

Bounds too wide only cost the oracle time, for its search halves a stretch until it asks each millisecond itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.kit.oracle_counting import Counted, capped, raw
from tests.kit.oracle_values import ALLOWANCE, clamp


class Part(NamedTuple):
    """One rule over a stretch: it only falls or only rises, and so does its raw sum."""

    shape: Any
    """Two parts of one shape are multiples of one another, or both are straight lines."""
    ends: tuple[float, float]
    raw_ends: tuple[float, float]
    cap: float | None

    @property
    def least(self) -> float:
        """The least magnitude."""
        return 0.0 if self.ends[0] * self.ends[1] < 0 else min(map(abs, self.ends))

    @property
    def most(self) -> float:
        """The greatest magnitude."""
        return max(map(abs, self.ends))


def part(counted: Counted, a: int, b: int) -> Part:
    """Return a rule over the stretch [a, b]."""
    raw_ends = (raw(counted, a)[0], raw(counted, b)[0])
    ends = (capped(counted, raw_ends[0]), capped(counted, raw_ends[1]))
    shape = (counted.kind, counted.span) if counted.kind == "half_life" and counted.span is not None else "straight"
    return Part(shape, ends, raw_ends, None if ends == raw_ends else counted.rule["cap"])


def bounds(grid: Mapping[str, Any], all_counted: Sequence[Counted], a: int, b: int) -> tuple[float, float, float]:
    """Return the least and the greatest sum of the rules in [a, b], and the sum of their magnitudes."""
    low = high = size = 0.0
    for name in dict.fromkeys(counted.rule.get("group") for counted in all_counted):
        parts = [part(counted, a, b) for counted in all_counted if counted.rule.get("group") == name]
        group = grid["groups"][name] if name is not None else {}
        found = best(parts) if group.get("best") else together(parts)
        if "cap" in group:
            found = tuple(clamp(one, {"min": -group["cap"], "max": group["cap"]}) for one in found)
        low, high, size = low + found[0], high + found[1], size + sum(sum(map(abs, one.ends)) for one in parts)
    return low, high, size


def together(parts: Sequence[Part]) -> tuple[float, ...]:
    """Return bounds of a sum. Parts of one shape that no cap holds are one part, for their sum too only falls or only rises."""
    sums: dict[Any, list[float]] = {}
    for one in parts:
        ends = sums.setdefault(one.shape if one.cap is None else id(one), [0.0, 0.0])
        ends[0] += one.ends[0]
        ends[1] += one.ends[1]
    return sum(map(min, sums.values())), sum(map(max, sums.values()))


def best(parts: Sequence[Part]) -> tuple[float, ...]:
    """Return bounds of the part with the greatest magnitude, of several within 1e-9 the first."""
    able: list[Part] = []
    for one in parts:
        if not any(smaller(one, other) for other in parts):
            able.append(one)
        if all(at_most(other, one) for other in parts):
            break  # it is one of the greatest in the whole stretch, and none after it is ever asked
    ends = [end for one in able for end in one.ends]
    return min(ends), max(ends)


def alike(one: Part, other: Part) -> bool:
    """Tell whether the difference of two raw magnitudes only falls or only rises."""
    return one.shape == other.shape and all(part.raw_ends[0] * part.raw_ends[1] >= 0 for part in (one, other))


def at_most(one: Part, other: Part) -> bool:
    """Tell whether *one* is surely nowhere greater than *other*, by more than the allowance."""
    if one.most <= other.least + ALLOWANCE:
        return True
    nowhere = all(abs(x) <= abs(y) + ALLOWANCE for x, y in zip(one.raw_ends, other.raw_ends, strict=True))
    return alike(one, other) and nowhere and (other.cap is None or one.cap == other.cap)


def smaller(one: Part, other: Part) -> bool:
    """Tell whether *one* is surely smaller than *other* everywhere, by more than the allowance."""
    if one.most < other.least - ALLOWANCE:
        return True
    below = all(abs(x) < abs(y) - ALLOWANCE for x, y in zip(one.raw_ends, other.raw_ends, strict=True))
    return alike(one, other) and below and one.cap is None and other.cap is None
