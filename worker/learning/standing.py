"""Where one lead stands between events: known, in the hands of sales, closed or won, and what became of it later."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from worker.core.contract.model import Event
from worker.learning.landmarks import CLOSES, HANDED_OVER, REACHED, Label, Why


class Candidate(NamedTuple):
    """A row before its outcome is known."""

    at_ms: int
    why: Why
    company: str | None
    score: float
    fit: float
    engagement: float
    features: bytes


class Reached(NamedTuple):
    """An outcome of a lead."""

    at_ms: int
    arrival_ms: int


class Standing:
    """Facts about one id, by the records that have arrived."""

    def __init__(self, next_ms: int) -> None:
        self.next_ms = next_ms
        """Its next instant."""
        self.flags: dict[int, Why] = {}
        """Further instants at which it has a row."""
        self.arrived_ms = 0
        """The arrival of its latest record."""
        self.first_ms: int | None = None
        """The time of its earliest event."""
        self.events: Counter[str] = Counter()
        self.handed_since_ms: int | None = None
        """In the hands of sales since then."""
        self.crm_ms = 0
        self.closed_ms: int | None = None
        self.won = False
        self.reached: list[Reached] = []
        self.handovers: list[int] = []
        """Arrivals of what hands a lead over."""
        self.merged: list[int] = []
        """Arrivals of what made the id another lead's."""
        self.candidates: dict[int, Candidate] = {}
        self.left_out: Counter[str] = Counter()

    def soonest_ms(self) -> int:
        """Return the next instant at which the id may have a row."""
        return min(self.next_ms, *self.flags) if self.flags else self.next_ms

    def take(self, event: Event, arrival_ms: int, label: Label) -> None:
        """Take an event that counted."""
        type_, at_ms = event.type, event.at_ms
        self.events[type_] += 1
        self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
        if not type_.startswith("crm."):
            return
        if type_ in REACHED[label]:
            self.reached.append(Reached(at_ms, arrival_ms))
        self.won |= type_ == "crm.won"
        newest = at_ms >= self.crm_ms
        self.crm_ms = max(self.crm_ms, at_ms)
        if type_ in HANDED_OVER:
            self.handovers.append(arrival_ms)
            if newest:
                self.hand_over(at_ms)
        elif type_ in CLOSES and newest:
            self.handed_since_ms = None
            self.closed_ms = at_ms

    def hand_over(self, at_ms: int) -> None:
        """Note that sales has the lead. It has had it since the first such instant."""
        self.handed_since_ms = at_ms if self.handed_since_ms is None else min(self.handed_since_ms, at_ms)

    def why_not(self, at_ms: int, quiet_ms: int) -> str | None:
        """Return why the lead is not at risk at *at_ms*, as far as known by then; `None`: it is."""
        if self.won:
            return "won"
        if self.handed_since_ms is not None and self.handed_since_ms < at_ms:
            return "handed_over"
        if self.closed_ms is not None and at_ms < self.closed_ms + quiet_ms:
            return "closed"
        return None

    def merge(self, visitor: Standing) -> None:
        """Take over what the id *visitor* did, as if the lead had done it."""
        self.events.update(visitor.events)
        if visitor.first_ms is not None:
            self.first_ms = visitor.first_ms if self.first_ms is None else min(self.first_ms, visitor.first_ms)
        self.won |= visitor.won

    def forget(self) -> int:
        """Forget all of an erased lead. Return how many rows it had."""
        rows = len(self.candidates)
        self.candidates.clear()
        self.flags.clear()
        self.reached.clear()
        self.handovers.clear()
        self.gone()
        self.handed_since_ms = self.closed_ms = None
        self.crm_ms = 0
        self.won = False
        return rows

    def gone(self) -> None:
        """Forget what the id did: it is another lead's now."""
        self.events = Counter()
        self.first_ms = None
