"""An archive as a history: DuckDB reads its files, each record once, in order of arrival."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from worker.adapters.stored_files import Files, files_at
from worker.core.contract.instants import MAX_AHEAD_MS, instant
from worker.core.contract.tick_line import tick_of
from worker.core.scoring.calendar import rfc3339
from worker.errors import FilesError, HistoryError
from worker.history.record import TICK, Clock, HistoryRecord, Refusals, Wanted
from worker.history.rows import from_row, headers_of, value_of
from worker.history.session import FilesChanged, Held, Session

_HOUR_MS: Final = 3_600_000
_TRIES: Final = 5
"""Listings of an archive whose files are replaced while it is read."""

ARRIVAL: Final = (
    f"coalesce(CASE WHEN time_ms > timestamp_ms + {MAX_AHEAD_MS} THEN timestamp_ms"
    " ELSE greatest(timestamp_ms, time_ms) END, timestamp_ms, time_ms, 0)"
)
"""As the worker takes an event's time: never much later than its record's timestamp."""

OWN_TIME: Final = "coalesce(time_ms, timestamp_ms, 0)"
"""The time that an event itself has: its arrival for a worker whose clock follows the events."""

_COLUMNS: Final = (
    "topic", "partition", '"offset"', "timestamp_ms", "key", "type", "source", "id", "subject", "time_ms", "data", "headers",
    "attributes", "value",
)  # fmt: skip
_NAMES: Final = (*(name.strip('"') for name in _COLUMNS), "arrival_ms")


class Archive:
    """The history in the archive at *source*. Reading needs the extra `archive`."""

    def __init__(self, source: str, clock: Clock = "wall") -> None:
        """Raises `HistoryError` where nothing can be opened, or where the extra is missing."""
        self.source = source
        self._arrival = OWN_TIME if clock == "events" else ARRIVAL
        self._ticking = clock == "wall"  # with the clock of events, ticks have the wall's time and mean nothing
        self.end_ms: int | None = None
        self.refused = Refusals()
        try:
            self._files: Files = files_at(source, "archive")
            import duckdb  # noqa: F401 (only whether it is there)
            import pyarrow as pa  # noqa: F401
        except FilesError as err:
            raise HistoryError(str(err)) from None
        except ImportError:
            raise HistoryError(f"{source}: an archive needs the extra: pip install 'leadpulse[archive]'") from None

    def events(
        self,
        types: Collection[str] | None = None,
        *,
        subjects: Collection[str] | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        ticks: bool = False,
    ) -> Iterator[HistoryRecord]:
        """Yield the events in order of arrival; see `History`. Of ticks there is one an hour, and the last."""
        wanted = Wanted(types, subjects, from_ms, to_ms, ticks)
        with Session(self.source, self._files) as session:
            rows, shown = self._begun(session, wanted)
            yield from heapq.merge(rows, shown, key=attrgetter("arrival_ms"))

    def _begun(self, session: Session, wanted: Wanted) -> tuple[Iterator[HistoryRecord], list[HistoryRecord]]:
        """Return the events and the ticks, once the first of them is there. Then no file is read any more."""
        for left in reversed(range(_TRIES)):
            try:
                held = session.listed()
                ticks = list(_ticks(session, held)) if self._ticking else []
                rows = _rows(session, held, wanted, self._arrival)
                first = next(rows, None)
                self.end_ms = _end_ms(session, held, ticks, self._arrival)
            except FilesChanged as err:
                if not left:
                    raise HistoryError(f"{self._files.where}: {err}") from None
            else:
                return chain([] if first is None else [first], rows), [tick for tick in ticks if wanted.has(tick)]
        raise AssertionError("unreachable")


def _rows(session: Session, held: Held, wanted: Wanted, arrival: str) -> Iterator[HistoryRecord]:
    """Yield the events that were asked for. DuckDB has read and sorted all of them before the first one comes."""
    where = ["type IS NOT NULL"]
    values: list[Any] = []
    for column, allowed in (("type", wanted.types), ("subject", wanted.subjects)):
        if allowed is not None:
            where.append(f"{column} IN (SELECT unnest(?))")
            values.append(sorted(allowed))
    for compare, bound in ((">=", wanted.from_ms), ("<", wanted.to_ms)):
        if bound is not None:
            where.append(f"arrival_ms {compare} ?")
            values.append(bound)
    query = (
        f"SELECT {', '.join(_COLUMNS)}, arrival_ms FROM (SELECT *, {arrival} AS arrival_ms FROM {{}})"
        f' WHERE {" AND ".join(where)} ORDER BY arrival_ms, topic, partition, "offset"'
    )
    outputs = {topic for topic, role in held.roles.items() if role == "output"}
    for batch in session.batches(query, held.of("input", "output"), values):
        for row in batch:
            yield _record(dict(zip(_NAMES, row, strict=True)), outputs)


def _record(row: dict[str, Any], outputs: Collection[str]) -> HistoryRecord:
    columns, key = from_row(row), row["key"]
    headers = tuple((one["key"], one["value"]) for one in row["headers"] or ())
    return HistoryRecord(
        row["topic"],
        row["partition"],
        row["offset"],
        row["timestamp_ms"],
        key,
        value_of(columns) or b"",
        headers_of(headers, columns),
        row["arrival_ms"],
        columns.type or "",
        columns.subject,
        row["topic"] in outputs,
    )


def _ticks(session: Session, held: Held) -> Iterator[HistoryRecord]:
    """Yield a tick for each hour, at the instant that all partitions had reached, by the end of that hour.

    A tick's own instant never lies past its record's timestamp.
    """
    query = (
        f"SELECT arrival // {_HOUR_MS}, partition, max(arrival), max(at_ms) FROM (SELECT partition, timestamp_ms AS arrival,"
        " least(timestamp_ms, regexp_extract(decode(value), '^\\[(\\d+)', 1)::BIGINT) AS at_ms"
        " FROM {} WHERE type = 'tick' AND value IS NOT NULL) GROUP BY ALL ORDER BY ALL"
    )
    found = [row for batch in session.batches(query, held.of("journal"), []) for row in batch]
    reached = dict.fromkeys((row[1] for row in found), 0)
    before_ms = 0
    for place, (hour, partition, arrival_ms, at_ms) in enumerate(found):
        reached[partition] = max(reached[partition], at_ms)
        ends = place + 1 == len(found) or found[place + 1][0] != hour
        if ends and (tick_ms := min(reached.values())) > before_ms:
            before_ms = tick_ms
            value = b'{"tick":"%b"}' % rfc3339(tick_ms).encode()
            yield HistoryRecord("", 0, place, None, None, value, (), max(tick_ms, arrival_ms), TICK, None, False)


def _end_ms(session: Session, held: Held, ticks: Sequence[HistoryRecord], arrival: str) -> int | None:
    """Return the latest tick, or the latest arrival if there is none."""
    if ticks:
        return instant(str(tick_of(ticks[-1].value)))
    query = f"SELECT max({arrival}) FROM {{}} WHERE type IS NOT NULL"
    for batch in session.batches(query, held.of("input", "output"), []):
        return next((row[0] for row in batch), None)
    return None
