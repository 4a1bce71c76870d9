"""A learning table from a CSV file: traits and an outcome of each lead, without times."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import xxhash

from worker.core.grid.values import did_you_mean
from worker.errors import LearningError
from worker.intake.csv_rows import CsvError, Row, dialect_of, header_and_rows
from worker.learning.tables import Dropped, Feature, TableFacts, new_table, own_columns

_PART: Final = 16_384
"""Rows that are written at once."""
_DISTINCT: Final = 1_000
"""Different outcomes that are counted apart."""
_SHOWN: Final = 12
_DAY_FIRST: Final = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b")
"""A date whose text is not in order of time."""


class CsvChoice(NamedTuple):
    """Which column is what."""

    outcome: str
    won: tuple[str, ...]
    """Values of the outcome that are won, exactly as in the file."""
    id: str | None = None
    """Absent: the line on which a row ends is its id."""
    order: str | None = None
    """What orders the leads in time: numbers, or texts that sort by time."""
    ignore: tuple[str, ...] = ()
    encoding: str | None = None
    delimiter: str | None = None


class _File:
    """The file, read as often as needed."""

    def __init__(self, again: Callable[[], BinaryIO], name: str, choice: CsvChoice) -> None:
        self._again = again
        self._name = name
        try:
            self.dialect = dialect_of(again(), choice.encoding, choice.delimiter)
            self.header: Sequence[str] = header_and_rows(again(), self.dialect, exact=True)[0]
        except CsvError as error:
            raise LearningError(f"{name}: {error}") from error

    def rows(self) -> Iterator[Row]:
        """Yield the rows. Raises `LearningError`."""
        try:
            yield from header_and_rows(self._again(), self.dialect, exact=True)[1]
        except CsvError as error:
            raise LearningError(f"{self._name}: {error}") from error

    def check(self, choice: CsvChoice) -> None:
        """Refuse columns that the file does not have, with what is near."""
        named = [("--outcome", choice.outcome), ("--id", choice.id), ("--order", choice.order)]
        named += [("--ignore", column) for column in choice.ignore]
        for option, column in named:
            if column is not None and column not in self.header:
                listed = ", ".join(map(repr, self.header[:40]))
                hint = did_you_mean(column, self.header)
                raise LearningError(f"{self._name}: {option}: no column {column!r}{hint}; the columns are {listed}")
        others = [option for option, column in named[1:] if column == choice.outcome]
        if others:
            raise LearningError(f"{self._name}: {choice.outcome!r} is the outcome, so it cannot be {others[0]} as well")


class _Looked:
    """What a first reading of the file found."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self.won = 0
        self.faults: list[Row] = []
        self.fault_count = 0
        self.without_id = 0
        self.orders: list[str] = []


def csv_table(
    again: Callable[[], BinaryIO], name: str, choice: CsvChoice, out: str, complain: Callable[[str], None]
) -> TableFacts:
    """Write the table of a CSV file to *out*, and return its facts.

    Names, ids and values are exactly those of the file, blanks too. The file is read twice: *again* opens it. *name* names it
    in messages and *complain* takes words about rows that are left out.

    Raises:
        LearningError: A column that is not there, an outcome that never occurs, ids that occur twice, or one class only.
    """
    file = _File(again, name, choice)
    file.check(choice)
    if file.dialect.guessed:
        complain(f"{name}: {file.dialect.guessed}; name another with --encoding")
    looked = _look(file, name, choice, complain)
    orders = None if choice.order is None else _ranks(looked.orders, choice.order, name)
    left_out = {choice.outcome, choice.id, choice.order, *choice.ignore}
    columns = [column for column in file.header if column not in left_out]
    own = own_columns(("id", "won", "order") if orders is not None else ("id", "won"), columns)
    facts = _facts(name, choice, looked, columns, own)
    types = {"id": pa.string(), "won": pa.bool_(), "order": pa.float64()}
    fields = [pa.field(column, types[role]) for role, column in own.items()]
    schema = pa.schema([*fields, *(pa.field(column, pa.string()) for column in columns)])
    with new_table(out, schema) as writer:
        for part in _parts(file, choice, columns, own, orders or []):
            writer.write(part)
        writer.end(facts)
    return facts


def _usable(file: _File, choice: CsvChoice) -> Iterator[Row]:
    """Yield the rows that become rows of the table."""
    for row in file.rows():
        if not row.fault and (choice.id is None or row.cells.get(choice.id, "").strip()):
            yield row


def _look(file: _File, name: str, choice: CsvChoice, complain: Callable[[str], None]) -> _Looked:
    """Read the file once, and refuse what cannot become a table."""
    looked = _Looked()
    seen: dict[bytes, int] = {}
    twice: list[str] = []
    won = set(choice.won)
    for row in file.rows():
        if row.fault:
            looked.fault_count += 1
            complain(f"{name}:{row.number}: {row.fault}: the row is left out")
            continue
        if choice.id is not None:
            id_ = row.cells.get(choice.id, "")
            if not id_.strip():
                looked.without_id += 1
                continue
            line = seen.setdefault(xxhash.xxh3_128_digest(id_.encode()), row.number)
            if line != row.number and len(twice) < _SHOWN:
                twice.append(f"{id_!r} in lines {line:,} and {row.number:,}")
        outcome = row.cells.get(choice.outcome, "")
        if outcome in looked.outcomes or len(looked.outcomes) < _DISTINCT:
            looked.outcomes[outcome] += 1
        looked.rows += 1
        looked.won += outcome in won
        if choice.order is not None:
            looked.orders.append(row.cells.get(choice.order, ""))
    if twice:
        raise LearningError(f"{name}: --id {choice.id}: ids occur twice: {'; '.join(twice)}: keep one row a lead")
    _check_outcomes(looked, name, choice)
    return looked


def _check_outcomes(looked: _Looked, name: str, choice: CsvChoice) -> None:
    seen = ", ".join(f"{value!r} ({count:,})" for value, count in looked.outcomes.most_common(_SHOWN))
    more = "" if len(looked.outcomes) <= _SHOWN else ", …"
    if not looked.rows:
        raise LearningError(f"{name}: no row can be used: {looked.fault_count:,} are faulty, {looked.without_id:,} have no id")
    for value in choice.won:
        if value not in looked.outcomes:
            hint = did_you_mean(value, looked.outcomes)
            raise LearningError(
                f"{name}: --won {value!r} never occurs in {choice.outcome!r}{hint}; its values are {seen}{more}"
            )
    if looked.won == looked.rows:
        raise LearningError(f"{name}: every lead is won, so nothing can be learnt: the values of {choice.outcome!r} are {seen}")


def _ranks(orders: list[str], column: str, name: str) -> list[float | None]:
    """Return the order as numbers: the numbers themselves, or the rank of each text. A blank has none."""
    texts = [text.strip() for text in orders]
    try:
        numbers = [float(text) if text else None for text in texts]
        if all(number is None or math.isfinite(number) for number in numbers):
            return numbers
    except ValueError:
        pass
    odd = next((text for text in texts if _DAY_FIRST.match(text)), None)
    if odd is not None:
        raise LearningError(f"{name}: --order {column}: {odd!r} does not sort by time: write dates as 2026-03-05, or numbers")
    place = {text: float(rank) for rank, text in enumerate(sorted({text for text in texts if text}), start=1)}
    return [place.get(text) for text in texts]


def _facts(name: str, choice: CsvChoice, looked: _Looked, columns: Sequence[str], own: dict[str, str]) -> TableFacts:
    dropped = [("bad_row", looked.fault_count), ("no_id", looked.without_id)]
    blanks = 0 if "" in choice.won else looked.outcomes.get("", 0)
    return TableFacts(
        kind="csv",
        source=name.replace("\\", "/").rpartition("/")[2],
        leads=looked.rows,
        rows=looked.rows,
        won_leads=looked.won,
        dropped=[Dropped(why, count, count) for why, count in dropped if count],
        features=[Feature(column, "column", column) for column in columns],
        roles=own,
        outcome={"column": choice.outcome, "won": list(choice.won), "blank": blanks},
    )


def _parts(
    file: _File, choice: CsvChoice, columns: Sequence[str], own: dict[str, str], orders: list[float | None]
) -> Iterator[dict[str, list[Any]]]:
    """Yield the table in parts of some rows."""
    won = set(choice.won)
    names = [*own.values(), *columns]
    part: dict[str, list[Any]] = {column: [] for column in names}
    for place, row in enumerate(_usable(file, choice)):
        cells = row.cells
        part[own["id"]].append(str(row.number) if choice.id is None else cells[choice.id])
        part[own["won"]].append(cells.get(choice.outcome, "") in won)
        if orders:
            part[own["order"]].append(orders[place])
        for column in columns:
            part[column].append(cells.get(column, ""))
        if place % _PART == _PART - 1:
            yield part
            part = {column: [] for column in names}
    if part[own["id"]]:
        yield part
