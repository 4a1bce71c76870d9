"""Since when outcomes are recorded: months in which leads were not won because nothing was written down yet.

Such months make every rate too low, and the month itself looks like a signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, lgamma, log
from typing import Final, NamedTuple

LIMIT: Final = 0.001
"""Months are refused if so few wins are less likely than this by chance."""

_FEW: Final = 0.7
"""A month with more than this share of the expected wins was recorded."""


class Month(NamedTuple):
    """A month that is refused."""

    month: str
    leads: int
    won: int
    expected: float
    """Wins at the rate of the months after the first recorded outcome."""


def poisson_at_most(seen: int, expected: float) -> float:
    """Return the probability of at most *seen* events where *expected* are, by Poisson."""
    if expected <= 0:
        return 1.0
    return min(1.0, sum(exp(n * log(expected) - expected - lgamma(n + 1)) for n in range(seen + 1)))


def unrecorded(leads: Mapping[str, int], won: Mapping[str, int], first_month: str) -> list[Month]:
    """Return the first months that together have too few wins to be chance. A month with enough of them ends these.

    *leads*, *won*: by month, leads with a row there and those with a row that is won. *first_month*: that of the first outcome
    in the log. The months after it say which rate to expect.
    """
    later = [month for month in leads if month > first_month]
    all_leads, all_won = sum(leads[month] for month in later), sum(won.get(month, 0) for month in later)
    found: list[Month] = []
    kept = 0
    for month in sorted(leads):
        expected = leads[month] * all_won / all_leads if all_leads else 0.0
        seen = won.get(month, 0)
        if month > first_month or seen >= _FEW * expected:
            break
        found.append(Month(month, leads[month], seen, expected))
        if poisson_at_most(sum(one.won for one in found), sum(one.expected for one in found)) < LIMIT:
            kept = len(found)
    return found[:kept]
