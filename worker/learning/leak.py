"""What a check for leaks says of a column or an event type, and the words that all checks share."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Verdict = Literal["refuse", "ask", "ok"]
ASK: Final = "When is this filled in, and by whom?"
ALLOW: Final = "Drop it, or allow it if it is known before the outcome."


class Leak(NamedTuple):
    """What a column, or an event type, seems to know of the outcome."""

    name: str
    """Exactly as in the table."""
    verdict: Verdict
    why: str
    """For marketing: what was seen, how much, and what to do."""
    figure: float
    """The rate, share or AUC that decided, to 3 decimals; AUC 0.5 tells nothing."""


def leak(name: str, verdict: Verdict, why: str, figure: float) -> Leak:
    """Return a leak with its figure rounded."""
    return Leak(name, verdict, why, round(float(figure), 3) + 0.0)


def percent(share: float) -> str:
    """Return a share in words, with a decimal where it is near none or all."""
    return f"{100 * share:.0f} %" if 0.095 <= share <= 0.945 else f"{100 * share:.1f} %"


def pairs(auc: float) -> str:
    """Return an AUC in words."""
    return f"Of a won and a lost lead, it alone puts the won one first in {100 * auc:.0f} % of the pairs (50 % is chance)."
