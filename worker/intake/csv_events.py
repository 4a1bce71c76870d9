"""Rows of a CSV file as events, by a map: facts about a person, and deals."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from worker.core.contract.codec import decode
from worker.core.contract.event_types import DATA_FIELDS
from worker.core.contract.model import Record, Rejected
from worker.intake.csv_map import ByEmail, Cell, CsvMap, EventOf
from worker.intake.csv_rows import Row

_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "day first": ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"),
    "month first": ("%m/%d/%Y", "%m-%d-%Y"),
}
_HOURS: Final = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_YES: Final = frozenset({"yes", "true", "1", "x", "oui", "vrai", "ja", "wahr", "si", "sí", "sì", "verdadero", "vero", "sim"})
_NO: Final = frozenset({"no", "false", "0", "non", "faux", "nein", "falsch", "falso", "não"})
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class BadRow(ValueError):
    """A row that cannot be an event; the message says which cell, and what was expected."""


class RowEvents:
    """Makes the events of rows. The same row gives the same events, with the same ids."""

    def __init__(self, map_: CsvMap, source: str, at: str | None = None) -> None:
        """Make events of *source*; *at* (RFC 3339) is the time of rows without a date."""
        self._map = map_
        self._source = source
        self._at = at
        self._zone = ZoneInfo(map_.timezone)

    def of(self, row: Row) -> Iterator[bytes]:
        """Yield the row's events in JSON. Raises `BadRow`."""
        if row.fault:
            raise BadRow(row.fault)
        subject = self._subject(row.cells)
        events = [self._event(subject, event, row.cells) for event in self._map.events if self._is(event, row.cells)]
        if traits := self._traits(row.cells):
            events.insert(0, self._made(subject, "profile.updated", self._row_time(row.cells), {"traits": traits}))
        yield from events

    def _subject(self, cells: Mapping[str, str]) -> str:
        subject = self._map.subject
        column = subject.email if isinstance(subject, ByEmail) else subject
        value = cells.get(column, "")
        if not value:
            raise BadRow(f"column {column!r} is empty: it names the lead")
        if isinstance(subject, ByEmail):
            if "@" not in value:
                raise BadRow(f"column {column!r}: {value[:80]!r} is no e-mail address, and it names the lead")
            return f"email:{value.lower()}"
        return value

    def _row_time(self, cells: Mapping[str, str]) -> str:
        column = self._map.time
        text = cells.get(column, "") if column is not None else ""
        if text and column is not None:
            return self._date(column, text)
        if self._at is None:
            where = "the map has no `time`" if column is None else f"column {column!r} is empty"
            raise BadRow(f"when was it so? {where}: give the date of the export, as in --at 2026-03-05T12:00:00Z")
        return self._at

    def _traits(self, cells: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, cell in self._map.traits.items():
            if text := cells.get(cell.column, ""):
                found[path] = self._value(cell, text)
            elif self._map.blank == "remove":
                found[path] = None
        return found

    def _is(self, event: EventOf, cells: Mapping[str, str]) -> bool:
        matches = (
            cells.get(column, "").casefold() in {value.strip().casefold() for value in values}
            for column, values in event.where.items()
        )
        return bool(cells.get(event.time)) and all(matches)

    def _event(self, subject: str, event: EventOf, cells: Mapping[str, str]) -> bytes:
        data = {}
        for name, cell in event.data.items():
            if text := cells.get(cell.column, ""):
                field = DATA_FIELDS[event.type].get(name)
                wanted = cell.model_copy(update={"kind": "number"}) if field is not None and field.kind is float else cell
                data[name] = self._value(wanted, text)
        return self._made(subject, event.type, self._date(event.time, cells[event.time]), data)

    def _value(self, cell: Cell, text: str) -> Any:
        match cell.kind:
            case "number":
                return self._number(cell.column, text)
            case "boolean":
                return _boolean(cell.column, text)
            case "date":
                return self._date(cell.column, text)
            case "list":
                return [part.strip() for part in text.split(cell.separator) if part.strip()]
            case _:
                return text

    def _number(self, column: str, text: str) -> float:
        thousands = "," if self._map.decimal == "." else "."
        bare = re.sub(r"[\s'’_\u00a0\u202f]|[^\W\d_]|[$€£¥%]", "", text).replace(thousands, "").replace(self._map.decimal, ".")
        if not _NUMBER.fullmatch(bare):
            raise BadRow(f"column {column!r}: {text[:80]!r} is no number with the decimal mark {self._map.decimal!r}")
        value = float(bare)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    def _date(self, column: str, text: str) -> str:
        at = instant_of(text, self._map.dates)
        if at is None:
            raise BadRow(f"column {column!r}: {text[:80]!r} is no date that `dates: {self._map.dates}` reads")
        if at.tzinfo is None:
            at = at.replace(tzinfo=self._zone)
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _made(self, subject: str, type_: str, at: str, data: dict[str, Any]) -> bytes:
        what = msgspec.json.encode([self._source, subject, type_, at, data])
        event = msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": blake2b(what, digest_size=12).hexdigest(),
                "source": self._source,
                "type": type_,
                "subject": subject,
                "time": at,
                "data": data,
            }
        )
        decoded = decode(Record("csv", 0, 0, None, None, event))
        if isinstance(decoded, Rejected):
            raise BadRow(f"{type_}: {decoded.detail}")
        return event


def _boolean(column: str, text: str) -> bool:
    word = text.casefold()
    if word not in _YES | _NO:
        raise BadRow(f"column {column!r}: {text[:80]!r} is neither yes nor no")
    return word in _YES


def instant_of(text: str, dates: str) -> datetime | None:
    """Return the instant that *text* writes by the map's `dates`, with a zone where the text has an offset; `None`: none."""
    for format_ in _formats(dates):
        with contextlib.suppress(ValueError):
            # The map's zone is added by the caller.
            return datetime.strptime(text, format_) if format_ else datetime.fromisoformat(text)  # noqa: DTZ007
    return None


def _formats(dates: str) -> list[str]:
    """Return the formats that the map's `dates` stands for; an empty one is ISO 8601."""
    if dates == "iso":
        return [""]
    return [day + hours for day in _FORMATS[dates] for hours in _HOURS] if dates in _FORMATS else [dates]
