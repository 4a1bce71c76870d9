"""When records of each kind arrive, against the outcome and the handover of their lead.

A trait or an event type that mostly arrives with the outcome, or after it, is no sign of it. Only a log can show that.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from worker.core.contract.model import Event
from worker.core.scoring.traits import leaves

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
HANDED_OVER: Final = frozenset({"crm.accepted", "crm.opportunity", "lead.sql"})
_WON: Final = "crm.won"
_LOST: Final = "crm.lost"


class Arrivals(msgspec.Struct):
    """Records of one event type (`event:TYPE`), or that set one trait (`trait:PATH`)."""

    records: int = 0
    at_outcome: int = 0
    """Arrived within a minute before the lead was won, or after that. For a lost lead: until a day after it was lost."""
    after_handover: int = 0
    """Arrived after sales had the lead."""
    back_dated: int = 0
    """Arrived more than an hour after their own time, and after the outcome. Their own time lies before it."""
    sources: dict[str, int] = {}
    """Of the back-dated ones: source → how many."""

    def add(self, other: Arrivals) -> None:
        """Add the counts of *other*."""
        self.records += other.records
        self.at_outcome += other.at_outcome
        self.after_handover += other.after_handover
        self.back_dated += other.back_dated
        for source, count in other.sources.items():
            self.sources[source] = self.sources.get(source, 0) + count


class _Record(NamedTuple):
    names: tuple[str, ...]
    at_ms: int
    arrival_ms: int
    source: str


class RecordTimes:
    """Counts for one lead. Its records come in order of arrival, then `counted` gives the counts."""

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self._won_ms: int | None = None
        self._lost_ms: int | None = None
        self._handed_ms: int | None = None

    def note(self, event: Event, arrival_ms: int) -> None:
        """Take an event that counted."""
        self._note(event.type, event.data, event.at_ms, arrival_ms, event.source)

    def unknown(self, type_: str, arrival_ms: int) -> None:
        """Take an event of a type that the worker does not know."""
        self._note(type_, {}, arrival_ms, arrival_ms, "")

    def handed_over(self, arrival_ms: int) -> None:
        """Take an output that hands the lead over."""
        self._handed_ms = arrival_ms if self._handed_ms is None else min(self._handed_ms, arrival_ms)

    def _note(self, type_: str, data: dict[str, Any], at_ms: int, arrival_ms: int, source: str) -> None:
        names = [f"event:{type_}"]
        if type_ == "profile.updated":
            names += [f"trait:{path}" for path, value in leaves(data["traits"])[0] if value is not None]
        self._records.append(_Record(tuple(names), at_ms, arrival_ms, source))
        if type_ in HANDED_OVER:
            self.handed_over(arrival_ms)
        elif type_ == _WON:
            self._won_ms = at_ms if self._won_ms is None else min(self._won_ms, at_ms)
        elif type_ == _LOST:
            self._lost_ms = at_ms if self._lost_ms is None else min(self._lost_ms, at_ms)

    def counted(self) -> dict[str, Arrivals]:
        """Return the counts of each kind of record."""
        found: dict[str, Arrivals] = {}
        for record in self._records:
            at_outcome = self._is_at_outcome(record.arrival_ms)
            after = self._handed_ms is not None and record.arrival_ms > self._handed_ms
            back_dated = at_outcome and record.arrival_ms - record.at_ms > HOUR_MS and not self._is_at_outcome(record.at_ms)
            for name in record.names:
                counts = found.setdefault(name, Arrivals())
                counts.records += 1
                counts.at_outcome += at_outcome
                counts.after_handover += after
                if back_dated:
                    counts.back_dated += 1
                    counts.sources[record.source] = counts.sources.get(record.source, 0) + 1
        return found

    def _is_at_outcome(self, at_ms: int) -> bool:
        if self._won_ms is not None and at_ms >= self._won_ms - MINUTE_MS:
            return True
        return self._lost_ms is not None and self._lost_ms - MINUTE_MS <= at_ms <= self._lost_ms + DAY_MS
