"""A live test of two grids: its size, the leads that take part, their arms, and what the outcomes show.

Only leads that one grid alone would hand over teach anything. Half of them follow each grid, whatever happens later (intention
to treat). The outcome, the end and the grids are fixed in a plan before the first lead takes part.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec
from scipy import special

from worker.learning.landmarks import Label

Arm = Literal["champion", "challenger"]

ARMS: Final[tuple[Arm, Arm]] = ("champion", "challenger")
_SIXTEEN: Final = 16.0
"""2·(1.96 + 0.84)², rounded up: a difference of that size is found in 80 % of tests, and chance alone shows one in 5 %."""
_LEVEL: Final = 0.95
_AT_ONCE_MS: Final = 60_000
"""Grids that hand a lead over within a minute of each other agree."""


class PlannedGrid(msgspec.Struct, frozen=True):
    """A grid that takes part."""

    name: str
    version: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is fixed before the test begins."""

    experiment: Literal[1]
    name: str
    seed: int
    champion: PlannedGrid
    challenger: PlannedGrid
    outcome: Label
    within_ms: int
    """An outcome counts if it comes within this time after the disagreement."""
    from_ms: int
    to_ms: int
    """Disagreements from here on take part no more."""
    rate: float
    """How often leads of the champion's arm are expected to reach the outcome."""
    difference: float
    """The smallest difference that the test can see."""
    leads_an_arm: int

    @property
    def end_ms(self) -> int:
        """When all outcomes are known: nothing is compared before."""
        return self.to_ms + self.within_ms


class Call(NamedTuple):
    """A lead's first handover under one grid."""

    at_ms: int
    sha256: str
    """Of the grid that handed it over."""


class Moved(NamedTuple):
    """A lead about which the grids disagreed."""

    lead: str
    at_ms: int
    """Of the first disagreement."""
    by: Arm
    """The grid that alone would hand it over."""
    arm: Arm
    """The grid that it follows."""

    @property
    def hand_over(self) -> bool:
        """Whether sales get the lead."""
        return self.by == self.arm


def leads_needed(rate: float, difference: float) -> int:
    """Return how many leads each arm needs to see *difference* above *rate*. Both are shares.

    It is 16·p(1 − p)/δ², with p the mean of both rates. Such a difference is found in four of five tests then. Chance alone
    shows one in one of twenty. Raises `ValueError` where the rates are none.
    """
    if not (0 < rate < 1 and difference > 0 and rate + difference < 1):
        raise ValueError(f"rates of {rate:g} and {rate + difference:g}: both must lie between 0 and 1")
    middle = rate + difference / 2
    return math.ceil(_SIXTEEN * middle * (1 - middle) / difference**2)


def smallest_difference(rate: float, leads_an_arm: float) -> float | None:
    """Return the smallest difference above *rate* that so many leads an arm can show; `None`: not even one up to 100 %."""
    low, high = 0.0, 1 - rate

    def missing(difference: float) -> float:
        middle = rate + difference / 2
        return _SIXTEEN * middle * (1 - middle) - leads_an_arm * difference**2

    if missing(high) > 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if missing(middle) > 0 else (low, middle)
    return high


def arm_of(plan: Plan, lead: str) -> Arm:
    """Return the arm of a lead. A hash of experiment, seed and lead decides, so it is the same on every machine and day."""
    digest = hashlib.sha256(f"{plan.name}:{plan.seed}:{lead}".encode()).digest()
    return ARMS[digest[0] & 1]


def disagreements(
    plan: Plan, champion: Mapping[str, Call], challenger: Mapping[str, Call], kept: Iterable[Moved] = ()
) -> list[Moved]:
    """Return the leads that take part, in order of time. *kept* stay as they were decided.

    A lead takes part at its first handover by one grid, unless the other one hands it over within a minute. A handover that
    follows later changes nothing.
    """
    found = {one.lead: one for one in kept}
    for lead in champion.keys() | challenger.keys():
        calls = champion.get(lead), challenger.get(lead)
        times = [math.inf if call is None else call.at_ms for call in calls]
        at_ms = min(times)
        if lead in found or max(times) - at_ms <= _AT_ONCE_MS or not plan.from_ms <= at_ms < plan.to_ms:
            continue
        found[lead] = Moved(lead, int(at_ms), ARMS[times.index(at_ms)], arm_of(plan, lead))
    return sorted(found.values(), key=lambda one: (one.at_ms, one.lead))


class Rate(NamedTuple):
    """How often leads reached the outcome."""

    reached: int
    leads: int

    @property
    def share(self) -> float:
        """As a share of the leads; 0 without any."""
        return self.reached / self.leads if self.leads else 0.0


class Judgement(NamedTuple):
    """What the test showed."""

    champion: Rate
    challenger: Rate
    difference: float
    """Challenger less champion."""
    low: float
    high: float
    called: Rate
    """Of all leads that took part: those that sales got."""
    not_called: Rate

    @property
    def shown(self) -> bool:
        """Whether the range leaves 0 out."""
        return self.low > 0 or self.high < 0


def judge(plan: Plan, moved: Iterable[Moved], reached_ms: Mapping[str, Iterable[int]]) -> Judgement:
    """Compare the arms of all leads that took part, also of those that sales got against the plan.

    *reached_ms*: the instants at which each lead reached the outcome. Earlier ones than the disagreement do not count.
    """
    counts: dict[object, list[int]] = {key: [0, 0] for key in (*ARMS, True, False)}
    for one in moved:
        reached = any(one.at_ms < at_ms <= one.at_ms + plan.within_ms for at_ms in reached_ms.get(one.lead, ()))
        for key in (one.arm, one.hand_over):
            counts[key][0] += reached
            counts[key][1] += 1
    champion, challenger, called, not_called = (Rate(*counts[key]) for key in (*ARMS, True, False))
    low, high = difference_interval(champion, challenger)
    return Judgement(champion, challenger, challenger.share - champion.share, low, high, called, not_called)


def difference_interval(one: Rate, other: Rate, level: float = _LEVEL) -> tuple[float, float]:
    """Return the likely range of *other* less *one*: Newcombe's method 10 (1998), from the intervals of Wilson."""
    if not one.leads or not other.leads:
        return -1.0, 1.0
    low, high = _wilson(one, level)
    lower, upper = _wilson(other, level)
    value = other.share - one.share
    return (
        value - math.hypot(other.share - lower, high - one.share),
        value + math.hypot(upper - other.share, one.share - low),
    )


def _wilson(rate: Rate, level: float) -> tuple[float, float]:
    z = float(special.ndtri(0.5 + level / 2))
    n, share = rate.leads, rate.share
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half
