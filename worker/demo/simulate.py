"""Made-up B2B traffic: people who discover, come back, compare, ask and fall silent, over simulated days and weeks.

`events` is a pure function of a scenario: the same seed gives the same bytes. There are two layers, each with its own
random numbers. Disorder therefore changes nothing in what people do.

- `worker.demo.world` lives the people's lives, in the order of their times.
- `events` makes records of them in the order of *arrival*. Some come late, some come twice, and some are no events at all.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final, Literal, NamedTuple

import msgspec

from worker.core.contract.model import Headers
from worker.demo.agenda import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, START_MS
from worker.demo.bad_records import BAD, BAD_WEIGHTS
from worker.demo.world import World
from worker.intake.routes import CONTENT_TYPE, TOPICS, topic_of

Note = Literal["event", "late", "duplicate", "bad"]

LATE_BY_MS: Final = 6 * HOUR_MS
"""The most that an event comes late."""
_TYPICALLY_LATE_MS: Final = 90 * MINUTE_MS


class SimRecord(NamedTuple):
    """One record, as a producer would send it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    at_ms: int
    """Its arrival in simulated time, never before that of the record before it."""
    note: Note
    """Its disorder: none, delayed, sent a second time, or made unreadable."""


async def paced(
    records: Iterable[SimRecord],
    *,
    compress: float = 0,
    rate: float = 0,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = asyncio.sleep,
) -> AsyncIterator[SimRecord]:
    """Hand *records* out no faster than asked, letting other tasks run in between.

    *compress*: simulated time passes so many times as fast as real time, from the first record on. 86,400 is a day a second.
    *rate*: at most so many records a second, evenly. 0 is no limit. With both, the slower one holds.
    A sender that falls behind catches up without pauses. *now* (seconds) and *sleep* are the process's own.
    """
    began, first_ms = now(), None
    for number, record in enumerate(records):
        first_ms = record.at_ms if first_ms is None else first_ms
        due = began
        if compress:
            due = began + (record.at_ms - first_ms) / 1000 / compress
        if rate:
            due = max(due, began + number / rate)
        wait = due - now()
        if wait > 0.001:  # shorter pauses cost more than they are worth
            await sleep(wait)
        elif number % 100 == 0:
            await sleep(0)
        yield record


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Traffic to simulate. Four shares of the events make disorder, and none of them changes what people do.

    Raises `ValueError` for a share outside of 0…1, or for fewer than one lead.
    """

    seed: int
    leads: int
    """Number of people."""
    start_ms: int = START_MS
    """Beginning of simulated time."""
    days: float | None = 30
    """Simulated days; `None` for no end."""
    limit: int | None = None
    """Most records; `None` for no limit."""
    late: float = 0.0
    """Share of the events that come late, up to `LATE_BY_MS` after their time."""
    duplicates: float = 0.0
    """Share that is sent again with the same source and id, within moments or hours."""
    bad: float = 0.0
    """Share beside which a bad record is sent, which is no valid event (`BAD`)."""
    keyless: float = 0.0
    """Share of the records without a key."""
    topics: Mapping[str, str] = field(default_factory=lambda: TOPICS)
    """Family (`event_types.Family`) → topic."""

    def __post_init__(self) -> None:
        if self.leads < 1:
            raise ValueError(f"leads: {self.leads}; expected at least 1")
        for name in ("late", "duplicates", "bad", "keyless"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: {share}; expected a share from 0 to 1")


def events(scenario: Scenario) -> Iterator[SimRecord]:
    """Yield the records of *scenario* in the order in which they arrive, until its days or its limit are over."""
    happenings = World(scenario.seed, scenario.leads, scenario.start_ms).happenings()
    if scenario.days is not None:
        end_ms = scenario.start_ms + round(scenario.days * DAY_MS)
        happenings = itertools.takewhile(lambda happening: happening[0] < end_ms, happenings)
    return records(scenario, happenings)


def records(scenario: Scenario, happenings: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[SimRecord]:
    """Yield the records of *happenings*, (instant in ms, CloudEvent) in order, with the disorder and limit of *scenario*."""
    return itertools.islice(_in_order(_Arrivals(scenario), happenings), scenario.limit)


def _in_order(arrivals: _Arrivals, happenings: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[SimRecord]:
    """Yield the arrivals of *happenings* in the order of their times. No record arrives before its event happens."""
    waiting: list[tuple[int, int, SimRecord]] = []
    numbers = itertools.count()
    for at_ms, envelope in happenings:
        while waiting and waiting[0][0] < at_ms:
            yield heappop(waiting)[2]
        for record in arrivals.of(at_ms, envelope):
            heappush(waiting, (record.at_ms, next(numbers), record))
    while waiting:
        yield heappop(waiting)[2]


class _Arrivals:
    """Makes the records of one event: the event itself, late or not, a duplicate, a bad record."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._rnd = random.Random(f"{scenario.seed}/disorder")

    def of(self, at_ms: int, envelope: dict[str, Any]) -> Iterator[SimRecord]:
        rnd, scenario = self._rnd, self._scenario
        value = msgspec.json.encode(envelope)
        is_late = rnd.random() < scenario.late
        came_ms = at_ms + (_delay(rnd) if is_late else 0)
        yield self._record(envelope, value, came_ms, "late" if is_late else "event")
        if rnd.random() < scenario.duplicates:
            yield self._record(envelope, value, came_ms + _pause(rnd), "duplicate")
        if rnd.random() < scenario.bad:
            spoil = BAD[rnd.choices(tuple(BAD), BAD_WEIGHTS)[0]]
            yield self._record(envelope, spoil(dict(envelope)), at_ms, "bad")

    def _record(self, envelope: dict[str, Any], value: bytes, at_ms: int, note: Note) -> SimRecord:
        key = None if self._rnd.random() < self._scenario.keyless else envelope["subject"].encode()
        topic = topic_of(envelope["type"], self._scenario.topics)
        return SimRecord(topic=topic, key=key, value=value, headers=CONTENT_TYPE, at_ms=at_ms, note=note)


def _pause(rnd: random.Random) -> int:
    chance = rnd.random()
    if chance < 0.9:
        return rnd.randrange(2 * SECOND_MS if chance < 0.5 else 10 * MINUTE_MS)
    return _delay(rnd)


def _delay(rnd: random.Random) -> int:
    return min(LATE_BY_MS, MINUTE_MS + round(rnd.expovariate(1 / _TYPICALLY_LATE_MS)))
