"""What happens to simulated prospects, in the order of time, and the hours at which people act."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple
from uuid import UUID

from worker.demo.people import Persona, Phase

START_MS: Final = 1_767_571_200_000
"""2026-01-05T00:00Z, a Monday: where simulated time begins unless asked otherwise."""
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
_OFFICE_HOURS: Final = (range(8, 20), (4, 9, 12, 11, 6, 7, 11, 12, 11, 8, 4, 2))
_EVENING_HOURS: Final = (range(12, 24), (3, 2, 2, 2, 3, 4, 7, 9, 12, 13, 10, 5))


class Happening(NamedTuple):
    """An event that will be sent."""

    lead: Prospect
    type: str
    subject: str
    source: str
    data: dict[str, Any]


@dataclass(slots=True)
class Prospect:
    """One simulated person."""

    number: int
    persona: Persona
    country: str
    ahead_ms: int
    """How far the office clock is ahead of UTC."""
    stated: dict[str, Any]
    """Traits that the prospects state themselves."""
    enriched: dict[str, Any]
    """Traits that an enrichment service adds."""
    known: bool
    """Has a lead id; others are visitors."""
    two_devices: bool
    """Once identified, some visits still come under the visitor id."""
    proxy: bool
    """The mail provider opens every mail by itself."""
    scanner: bool
    """The employer's mail gateway follows every link."""
    phase_number: int
    phase_ends_ms: int
    subscribed: bool
    profiled: bool = False
    aliased: bool = False
    in_deal: bool = False
    calm_until_ms: int = 0
    """Until then sales call only when asked."""
    gone: bool = False

    @property
    def id(self) -> str:
        """The lead id."""
        return f"lead-{self.number:06d}"

    @property
    def visitor_id(self) -> str:
        """The id of the browser."""
        return f"visitor-{self.number:06d}"

    @property
    def phase(self) -> Phase:
        """Where the prospect stands."""
        return self.persona.phases[self.phase_number]


class Agenda:
    """Everything that is going to happen, soonest first, with the instant that it is now."""

    def __init__(self, rnd: random.Random, now_ms: int) -> None:
        self.rnd = rnd
        self.now_ms = now_ms
        self._numbers = itertools.count()
        self._queue: list[tuple[int, int, Happening | Callable[[], None]]] = []

    def happenings(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (instant, CloudEvent) in the order of time, without an end."""
        rnd = self.rnd
        while True:
            self.now_ms, _, what = heappop(self._queue)
            if not isinstance(what, Happening):
                what()
            elif not what.lead.gone:
                what.lead.gone = what.type == "lead.erased"
                yield (
                    self.now_ms,
                    {
                        "specversion": "1.0",
                        "id": str(UUID(int=rnd.getrandbits(128), version=4)),
                        "source": what.source,
                        "type": what.type,
                        "subject": what.subject,
                        "time": _rfc3339(self.now_ms),
                        "data": what.data,
                    },
                )

    def later(self, at_ms: int, what: Happening | Callable[[], None]) -> None:
        """Put *what* on the agenda, at *at_ms* or now if that is past."""
        heappush(self._queue, (max(at_ms, self.now_ms), next(self._numbers), what))

    def emit(
        self,
        lead: Prospect,
        at_ms: int,
        kind: str,
        source: str,
        data: dict[str, Any],
        *,
        machine: bool = False,
        subject: str = "",
    ) -> None:
        """Put an event on the agenda. Before the first event of a prospect in the CRM comes its profile."""
        if lead.known and not lead.profiled:
            lead.profiled = True
            traits = lead.stated | lead.enriched
            self.later(at_ms - 5 * SECOND_MS, Happening(lead, "profile.updated", lead.id, "/crm", {"traits": traits}))
        if machine:
            data["machine"] = True
        self.later(at_ms, Happening(lead, kind, subject or (lead.id if lead.known else lead.visitor_id), source, data))

    def awake(self, lead: Prospect, at_ms: int) -> int:
        """Return an instant at or after *at_ms* at which *lead* sits at a screen, on that day if possible."""
        if lead.persona.machine:
            return at_ms
        rnd = self.rnd
        hours, weights = _EVENING_HOURS if lead.persona.evenings else _OFFICE_HOURS
        midnight_ms = at_ms - (at_ms + lead.ahead_ms) % DAY_MS
        weekday = (midnight_ms + lead.ahead_ms) // DAY_MS + 3
        if not lead.persona.evenings and weekday % 7 >= 5 and rnd.random() < 0.85:
            midnight_ms += (7 - weekday % 7) * DAY_MS
        chosen_ms = midnight_ms + rnd.choices(hours, weights)[0] * HOUR_MS + rnd.randrange(HOUR_MS)
        return chosen_ms if chosen_ms >= self.now_ms else chosen_ms + DAY_MS

    def in_office(self, at_ms: int) -> int:
        """Return *at_ms*, or the next morning at which sales (at UTC+1, Monday to Friday, 8 to 18) can act."""
        ahead_ms = HOUR_MS
        midnight_ms = at_ms - (at_ms + ahead_ms) % DAY_MS
        if at_ms >= midnight_ms + 18 * HOUR_MS:
            midnight_ms += DAY_MS
        weekday = ((midnight_ms + ahead_ms) // DAY_MS + 3) % 7
        if weekday >= 5:
            midnight_ms += (7 - weekday) * DAY_MS
        opens_ms = midnight_ms + 8 * HOUR_MS
        return at_ms if at_ms >= opens_ms else opens_ms + self.rnd.randrange(2 * HOUR_MS)

    def minutes(self, typical: float, spread: float = 0.9) -> int:
        """Return a delay in ms: half are shorter than *typical* minutes, a few are many times longer."""
        return round(typical * self.rnd.lognormvariate(0, spread) * MINUTE_MS)

    def days(self, least: float, most: float) -> int:
        """Return a delay in ms between so many days."""
        return round(self.rnd.uniform(least, most) * DAY_MS)


def _rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
