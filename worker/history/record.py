"""The records of a history, in the form in which every reader gets them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, Literal, NamedTuple, Protocol

from worker.core.contract.model import Headers, Record

TICK: Final = "(tick)"
"""`HistoryRecord.type` of a tick. Its value is `{"tick": "T"}`."""

Clock = Literal["wall", "events"]
"""What arrival is: `wall`, when Kafka got a record; `events`, its own time, as `LEADPULSE_CLOCK` of a backfilling worker."""

_MOST_REFUSALS: Final = 1_000


class HistoryRecord(NamedTuple):
    """One event, or one tick."""

    topic: str
    """For a file of lines, its name."""
    partition: int
    offset: int
    """For a file of lines, the number of the line."""
    timestamp_ms: int | None
    """The record's own Kafka timestamp; `None` where there is none (a line of a file)."""
    key: bytes | None
    value: bytes
    """A CloudEvent as structured JSON."""
    headers: Headers
    arrival_ms: int
    """When it was known: the later of `timestamp_ms` and the event's `time`. In a file of lines it never falls."""
    type: str
    subject: str | None
    output: bool
    """LeadPulse published it. Otherwise it is an input."""

    def record(self) -> Record:
        """Return it as `worker.core.contract.codec.decode` takes it."""
        return Record(self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value, self.headers)


class Refusal(NamedTuple):
    """A line that is no event."""

    file: str
    line: int
    why: str


class Refusals:
    """The first lines that are no events. Further ones are only counted."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Refusal] = []

    def add(self, refusal: Refusal) -> None:
        """Count *refusal*, and keep it if it is one of the first."""
        self.count += 1
        if self.count <= _MOST_REFUSALS:
            self.first.append(refusal)


class History(Protocol):
    """Events in order of arrival, from an archive or from a file of lines."""

    source: str
    """As it was given."""
    end_ms: int | None
    """The latest tick or arrival. It is final once `events` has ended; `None`: there is none."""
    refused: Refusals
    """Lines that are no event, once `events` has ended. An archive has none."""

    def events(
        self,
        types: Collection[str] | None = None,
        *,
        subjects: Collection[str] | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        ticks: bool = False,
    ) -> Iterator[HistoryRecord]:
        """Yield the events in order of (arrival_ms, topic, partition, offset), a file of lines in the order of lines.

        *types* and *subjects*: only these, `None` for all. *from_ms*, *to_ms*: bounds of the arrival, the end exclusive.
        *ticks*: ticks too. Raises `HistoryError`.
        """
        ...


class Wanted(NamedTuple):
    """Which records a reader asked for; see `History.events`."""

    types: Collection[str] | None = None
    subjects: Collection[str] | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    ticks: bool = False

    def has(self, record: HistoryRecord) -> bool:
        """Return whether *record* was asked for."""
        if (self.from_ms is not None and record.arrival_ms < self.from_ms) or (
            self.to_ms is not None and record.arrival_ms >= self.to_ms
        ):
            return False
        if record.type == TICK:
            return self.ticks
        return (self.types is None or record.type in self.types) and (self.subjects is None or record.subject in self.subjects)
