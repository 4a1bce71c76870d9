"""The form of a learning table: a Parquet file with its rows, and with facts about them in its metadata.

`docs/learning.md` describes columns and facts for readers of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow import parquet

from worker.errors import LearningError
from worker.learning.record_times import Arrivals

VERSION: Final = 1
DAY_MS: Final = 86_400_000
_KEY: Final = b"leadpulse"
"""Of the file's metadata: the facts, as JSON."""
_ROWS: Final = 65_536
"""Of a row group."""

Kind = Literal["signal", "trait", "event", "age_days", "column"]


class Feature(msgspec.Struct, frozen=True, gc=False):
    """A column that a fit may use."""

    column: str
    """Its name in the file."""
    kind: Kind
    id: str
    """Of a signal its id, of a trait its path, of an event its type, of a CSV's column the header's name."""


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """Rows that were left out."""

    why: str
    """One of the codes in `docs/learning.md`."""
    rows: int
    leads: int
    """Leads of these rows. A lead may have other rows in the table."""
    detail: str = ""
    """Such as the months that are meant."""


class GridFacts(msgspec.Struct, frozen=True):
    """The grid that the rows were read by."""

    name: str
    version: int
    sha256: str
    text: str


class Immature(msgspec.Struct, frozen=True):
    """Rows whose horizon ends after the log. Only a fit reads them."""

    rows: int
    leads: int
    won_leads: int
    held: int
    """Leads that were won in the last year, and have a mature row that is won."""
    wins: int
    """The same of all rows. They are kept where `held` is under half of it."""


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a table. Instants and durations are milliseconds."""

    table: int = VERSION
    kind: Literal["events", "csv"]
    source: str
    """The name of the file or archive, without its folder."""
    grid: GridFacts | None = None
    label: str = "won"
    """Which outcome `won` stands for."""
    horizon_ms: int | None = None
    every_ms: int | None = None
    leads: int
    rows: int
    won_leads: int
    """Leads with a row whose `won` is true."""
    from_ms: int | None = None
    """The first instant that a row may have."""
    to_ms: int | None = None
    """The last one."""
    end_ms: int | None = None
    """The end of the log."""
    dropped: list[Dropped] = []
    recording: dict[str, Any] = {}
    """Since when outcomes are recorded, and the months that were refused."""
    design_effect: float = 1.0
    """How many rows are worth one, because a lead has several."""
    records: dict[str, Arrivals] = {}
    """Of a log: `event:TYPE` and `trait:PATH` → when such records arrived, against the outcome of their lead."""
    features: list[Feature]
    roles: dict[str, str]
    """Role of a column of ours → its name in the file."""
    immature: Immature | msgspec.UnsetType = msgspec.UNSET
    """Rows beside `rows` that were not followed for the whole horizon; unset: there is none in the file."""
    outcome: dict[str, Any] | None = None
    """Of a CSV file: the column, the values that are won, and the number of blanks."""


class Table:
    """A table in memory: its columns, and its facts."""

    def __init__(self, arrow: pa.Table, facts: TableFacts) -> None:
        self.arrow = arrow
        self.facts = facts

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """Return a column by its name in the file: `bool`, `int64`, `float64`, or `object` with `str` and `None`.

        A number that is missing is NaN. Raises `LearningError` for a name that the table does not have.
        """
        if name not in self.arrow.column_names:
            raise LearningError(f"the table has no column {name!r}: its columns are {', '.join(self.arrow.column_names[:20])}")
        column: np.ndarray[Any, Any] = self.arrow.column(name).to_numpy(zero_copy_only=False)
        return column

    def has(self, role: str) -> bool:
        """Return whether the table has our column with that role, such as `id`, `won` or `at_ms`."""
        return role in self.facts.roles

    def role(self, role: str) -> np.ndarray[Any, Any]:
        """Return our column with that role, whatever its name in the file. Raises `LearningError` where there is none."""
        if role not in self.facts.roles:  # a file may have a column of that name, which is none of ours
            raise LearningError(f"the table has no {role}: make it again with `leadpulse learn table`")
        return self.column(self.facts.roles[role])

    def features(self, *kinds: Kind) -> list[Feature]:
        """Return the features of *kinds*, of all without any, in the order of the file."""
        return [feature for feature in self.facts.features if not kinds or feature.kind in kinds]


def own_columns(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Return role → column: the role's own name, with `_` behind it where a feature has that name."""
    used = set(taken)
    roles: dict[str, str] = {}
    for role in names:
        column = role
        while column in used:
            column += "_"
        used.add(column)
        roles[role] = column
    return roles


class TableWriter:
    """Writes a table in parts. The facts come last."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._parquet = parquet.ParquetWriter(path, schema, compression="zstd", write_statistics=False)
        self._schema = schema

    def write(self, columns: Mapping[str, Any]) -> None:
        """Write rows: one list a column, all of the same length."""
        self._parquet.write_table(pa.table(dict(columns), schema=self._schema), row_group_size=_ROWS)

    def end(self, facts: TableFacts) -> None:
        """Write the facts. Nothing may follow."""
        self._parquet.add_key_value_metadata({_KEY: _json(facts)})

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()


@contextmanager
def new_table(path: str, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write a table to *path*. It is written beside its place and renamed at the end, so no half table is ever there.

    Raises `LearningError` where the file cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise LearningError(f"{path} cannot be written: the folder {target.parent} does not exist")
    beside = target.with_name(f".{target.name}.part")
    try:
        writer = TableWriter(beside, schema)
        try:
            yield writer
        finally:
            writer.close()
        beside.replace(target)
    except OSError as err:
        raise LearningError(f"{path} cannot be written: {err.strerror or err}") from err
    finally:
        beside.unlink(missing_ok=True)


def write_table(path: str, arrow: pa.Table, facts: TableFacts) -> None:
    """Write a whole table to *path*. Raises `LearningError` where the file cannot be written."""
    with new_table(path, arrow.schema) as writer:
        writer.write({name: arrow.column(name) for name in arrow.column_names})
        writer.end(facts)


def read_table(path: str, *, immature: bool = False) -> Table:
    """Return the table in *path*: the rows whose horizon has ended, and with *immature* the others too.

    Raises `LearningError` for a file that is not there, or is no table of ours.
    """
    hint = "make one with `leadpulse learn table`"
    try:
        with parquet.ParquetFile(path) as file:
            packed = (file.metadata.metadata or {}).get(_KEY)
            arrow = file.read()
    except FileNotFoundError as err:
        raise LearningError(f"{path} does not exist: {hint}") from err
    except (OSError, pa.ArrowInvalid) as err:
        raise LearningError(f"{path} is no Parquet file ({str(err).splitlines()[0]}): {hint}") from err
    if packed is None:
        raise LearningError(f"{path} is a Parquet file without facts of LeadPulse: {hint}")
    try:
        facts = msgspec.json.decode(packed, type=TableFacts)
    except msgspec.MsgspecError as err:
        raise LearningError(f"{path} has facts that this version cannot read ({err}): {hint} again") from err
    if facts.table != VERSION:
        raise LearningError(f"{path} has version {facts.table}, and this LeadPulse reads {VERSION}: {hint} again")
    if isinstance(facts.immature, Immature):
        if immature:
            facts = msgspec.structs.replace(facts, rows=facts.rows + facts.immature.rows)
        else:
            assert facts.horizon_ms is not None
            followed = arrow.column(facts.roles["followed_days"])
            arrow = arrow.filter(pa.compute.greater_equal(followed, facts.horizon_ms / DAY_MS))
    return Table(arrow, facts)


def _json(facts: TableFacts) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(facts), order="deterministic")
