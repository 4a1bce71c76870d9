"""The map of a CSV file: which column is what. A YAML file, checked whole, with every mistake by line."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from worker.core.contract.event_types import DATA_FIELDS
from worker.core.grid.messages import Mistake
from worker.core.grid.model_base import Model
from worker.core.grid.values import did_you_mean, time_zone, wrong
from worker.core.grid.yaml_lines import Document, Path
from worker.core.grid.yaml_model import mistakes, read_model

Kind = Literal["text", "number", "boolean", "date", "list"]


class Cell(Model):
    """A column, and how its cells are read."""

    column: str
    kind: Annotated[Kind, Field(alias="as")] = "text"
    """`number`: with the map's `decimal`. `boolean`: yes, no, true, false, 1, 0. `list`: split at `separator`."""
    separator: str = ";"

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, raw: Any) -> Any:
        return {"column": raw} if isinstance(raw, str) else raw


class ByEmail(Model):
    """The lead is `email:ADDRESS`, in lower case."""

    email: str
    """The column of the address."""


def _encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise wrong(f"there is no encoding {name!r}: write one such as utf-8, windows-1252 or iso-8859-15") from None
    return name


def _dates(text: str) -> str:
    if text not in ("iso", "day first", "month first") and "%" not in text:
        raise wrong(f"{text!r} is no way to write dates: write iso, day first, month first, or a format such as '%d.%m.%Y'")
    return text


def _event_type(name: str) -> str:
    if name not in DATA_FIELDS or name in ("profile.updated", "lead.identified", "lead.erased"):
        known = [one for one in DATA_FIELDS if one.startswith("crm.")]
        raise wrong(f"{name!r} is no type that a row can be{did_you_mean(name, known)}; write one such as {', '.join(known)}")
    return name


def _texts(raw: Any) -> Any:
    return (raw,) if isinstance(raw, str) else raw


class EventOf(Model):
    """An event that a row is, beside what it says of the person."""

    type: Annotated[str, AfterValidator(_event_type)]
    time: str
    """The column of its date. A row without a date there is no such event."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column → values, one of which its cell has, whatever the case. Absent: every row with a date."""
    data: dict[str, Cell] = Field(default_factory=dict)
    """Field of the event's `data` → column."""

    @model_validator(mode="before")
    @classmethod
    def _one_value(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(raw.get("where"), Mapping):
            return {**raw, "where": {column: _texts(values) for column, values in raw["where"].items()}}
        return raw


class CsvMap(Model):
    """Which column is what."""

    source: str | None = None
    """`source` of the events; absent: `/csv/` and the file's name."""
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    """Absent: told by the file's beginning."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Absent: told by the file's beginning."""
    subject: str | ByEmail
    """The column of the lead's id, or `{email: COLUMN}` for leads by their address."""
    time: str | None = None
    """The column of the date on which a row was so. Absent, or an empty cell: the option `--at`."""
    dates: Annotated[str, AfterValidator(_dates)] = "iso"
    """`iso`, `day first` (31/12/2026), `month first` (12/31/2026), or a format such as `%d.%m.%Y %H:%M`."""
    timezone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    """Of dates without an offset."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers. The other one, blanks and currency signs are left out."""
    blank: Literal["keep", "remove"] = "keep"
    """An empty cell keeps what is known of the lead, or removes the trait."""
    traits: dict[str, Cell] = Field(default_factory=dict)
    """Trait, by dotted path → column."""
    events: tuple[EventOf, ...] = ()

    def columns(self) -> Iterator[tuple[Path, str]]:
        """Yield each column that the map names, with its place in the map."""
        if isinstance(self.subject, ByEmail):
            yield ("subject", "email"), self.subject.email
        else:
            yield ("subject",), self.subject
        if self.time is not None:
            yield ("time",), self.time
        for path, cell in self.traits.items():
            yield ("traits", path), cell.column
        for number, event in enumerate(self.events):
            yield ("events", number, "time"), event.time
            yield from ((("events", number, "where", column), column) for column in event.where)
            yield from ((("events", number, "data", name), cell.column) for name, cell in event.data.items())


class MapError(ValueError):
    """A map that cannot be used; its text is one line a mistake."""

    def __init__(self, found: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, found)))


def parse_map(text: bytes, file: str) -> tuple[CsvMap, Document]:
    """Read and check a map; *file* names it in mistakes. Raises `MapError` with every mistake."""
    shape = "a mapping that begins with `subject: COLUMN`"
    made, document = read_model(text, file, CsvMap, shape=shape, error=MapError)
    if not made.traits and not made.events:
        raise MapError(mistakes([(1, (), "no `traits` and no `events`: a row would say nothing")], file))
    return made, document


def check_columns(map_: CsvMap, document: Document, file: str, header: Iterable[str]) -> None:
    """Raise `MapError` for columns that the file does not have."""
    known = list(header)
    missing = [
        (document.line(path), path, f"the file has no column {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        for path, name in map_.columns()
        if name not in known
    ]
    if missing:
        raise MapError(mistakes(missing, file))
