"""Made-up B2B traffic: people who discover, come back, compare, ask and fall silent, over simulated days and weeks.

`events` is a pure function of its arguments: the same seed gives the same bytes. There are two layers, each with its own
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


def events(
    seed: int,
    leads: int,
    start_ms: int = START_MS,
    *,
    days: float | None = 30,
    limit: int | None = None,
    late: float = 0.0,
    duplicates: float = 0.0,
    bad: float = 0.0,
    keyless: float = 0.0,
    topics: Mapping[str, str] = TOPICS,
) -> Iterator[SimRecord]:
    """Yield the records of *leads* people from *start_ms* on, in the order in which they arrive.

    Ends with the last event of *days* simulated days, or after *limit* records. With neither, it never ends.
    Four shares of the events make disorder, and none of them changes what people do.
    A *late* event comes up to `LATE_BY_MS` after its time. A *duplicate* is sent again with the same source and id, within
    moments or hours. A *bad* record, which is no valid event, is sent beside an event (`BAD`). A *keyless* record has no key.
    *topics* maps families (`event_types.Family`) to topics.

    Raises `ValueError` for a share outside of 0…1 or fewer than one lead.
    """
    if leads < 1:
        raise ValueError(f"leads: {leads}; expected at least 1")
    for name, share in (("late", late), ("duplicates", duplicates), ("bad", bad), ("keyless", keyless)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: {share}; expected a share from 0 to 1")
    end_ms = None if days is None else start_ms + round(days * DAY_MS)
    happenings = World(seed, leads, start_ms).happenings()
    disorder = _Disorder(random.Random(f"{seed}/disorder"), late=late, duplicates=duplicates, bad=bad, keyless=keyless)
    arrivals = _arrivals(happenings, end_ms, disorder, topics)
    yield from arrivals if limit is None else itertools.islice(arrivals, limit)


class _Disorder(NamedTuple):
    rnd: random.Random
    late: float
    duplicates: float
    bad: float
    keyless: float


def _arrivals(
    happenings: Iterator[tuple[int, dict[str, Any]]], end_ms: int | None, disorder: _Disorder, topics: Mapping[str, str]
) -> Iterator[SimRecord]:
    rnd = disorder.rnd
    waiting: list[tuple[int, int, SimRecord]] = []
    numbers = itertools.count()

    def arrive(envelope: dict[str, Any], value: bytes, at_ms: int, note: Note) -> None:
        key = None if rnd.random() < disorder.keyless else envelope["subject"].encode()
        record = SimRecord(topic_of(envelope["type"], topics), key, value, CONTENT_TYPE, at_ms, note)
        heappush(waiting, (at_ms, next(numbers), record))

    for at_ms, envelope in happenings:
        if end_ms is not None and at_ms >= end_ms:
            break
        while waiting and waiting[0][0] < at_ms:
            yield heappop(waiting)[2]
        value = msgspec.json.encode(envelope)
        is_late = rnd.random() < disorder.late
        came_ms = at_ms + (_delay(rnd) if is_late else 0)
        arrive(envelope, value, came_ms, "late" if is_late else "event")
        if rnd.random() < disorder.duplicates:
            arrive(envelope, value, came_ms + _pause(rnd), "duplicate")
        if rnd.random() < disorder.bad:
            spoil = BAD[rnd.choices(tuple(BAD), BAD_WEIGHTS)[0]]
            arrive(envelope, spoil(dict(envelope)), at_ms, "bad")
    while waiting:
        yield heappop(waiting)[2]


def _pause(rnd: random.Random) -> int:
    chance = rnd.random()
    if chance < 0.9:
        return rnd.randrange(2 * SECOND_MS if chance < 0.5 else 10 * MINUTE_MS)
    return _delay(rnd)


def _delay(rnd: random.Random) -> int:
    return min(LATE_BY_MS, MINUTE_MS + round(rnd.expovariate(1 / _TYPICALLY_LATE_MS)))
