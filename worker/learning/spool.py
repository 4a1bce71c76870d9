"""A log on disk, to be read again group by group. DuckDB sorts it.

Memory holds linked ids and one part of the records. Sorting spills to the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
import pyarrow as pa
from pyarrow import parquet

from worker.core.contract.model import Record
from worker.core.grid.models import Grid
from worker.learning.landmarks import FLAGS, REACHED, GroupRecord, Label
from worker.learning.links import Groups, Linker

_PART: Final = 20_000
"""Records that are held before they are written."""
_READ: Final = 4_096
"""Rows that DuckDB hands over at once."""
_MEMORY: Final = "100MB"
"""Of each DuckDB; what sorting needs beyond it goes to the folder."""

RECORDS_FILE: Final = "records.parquet"
LINKS_FILE: Final = "links.parquet"

_RECORDS: Final = pa.schema(
    [
        ("seq", pa.int64()),
        ("id", pa.string()),
        ("arrival_ms", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("output", pa.bool_()),
        ("type", pa.string()),
        ("value", pa.binary()),
    ]
)
_LINKS: Final = pa.schema([("id", pa.string()), ("grp", pa.string())])


class Arrived(Protocol):
    """A record of a history, as `worker.history` reads it."""

    @property
    def arrival_ms(self) -> int:
        """When it was known."""

    @property
    def timestamp_ms(self) -> int | None:
        """Of Kafka; `None`: a line of a file."""

    @property
    def output(self) -> bool:
        """LeadPulse published it."""

    @property
    def type(self) -> str:
        """Of the event."""

    @property
    def subject(self) -> str | None:
        """Its lead."""

    @property
    def value(self) -> bytes:
        """A CloudEvent as structured JSON."""

    def record(self) -> Record:
        """Return it as the core decodes it."""


class Scan:
    """What a first reading of the log found."""

    def __init__(self) -> None:
        self.records = 0
        """Inputs with a subject."""
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.recorded = False
        """There are `lead.mql` or `lead.sql` outputs."""
        self.without_subject = 0


def spool(records: Iterable[Arrived], grid: Grid, folder: Path) -> Scan:
    """Write *records*, which come in order of arrival, and the links between their ids to *folder*."""
    scan, groups, linker = Scan(), Groups(), Linker(grid)
    with parquet.ParquetWriter(folder / RECORDS_FILE, _RECORDS, compression="zstd", compression_level=1) as writer:
        part: list[tuple[Any, ...]] = []
        for seq, record in enumerate(records):
            kept = _kept(seq, record, scan)
            if kept is None:
                continue
            part.append(kept)
            if not record.output:
                for one, other in linker.links(record.type, record.record()):
                    groups.join(one, other)
            if len(part) >= _PART:
                writer.write_table(_table(part, _RECORDS))
                part = []
        writer.write_table(_table(part, _RECORDS))
    parquet.write_table(_table(list(groups), _LINKS), folder / LINKS_FILE)
    return scan


def _kept(seq: int, record: Arrived, scan: Scan) -> tuple[Any, ...] | None:
    """Return the row of a record; `None`: a table does not need it."""
    if record.output and record.type not in FLAGS:
        return None
    if record.subject is None:
        scan.without_subject += 1
        return None
    if scan.first_ms is None and not record.output:
        scan.first_ms = record.arrival_ms
    scan.last_ms = record.arrival_ms
    scan.recorded |= record.output
    scan.records += not record.output
    value = b"" if record.output else record.value
    return seq, record.subject, record.arrival_ms, record.timestamp_ms, record.output, record.type, value


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Any] = list(zip(*rows, strict=True)) or [[] for _ in schema]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def connected(folder: Path, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB that spills to *folder*."""
    config: dict[str, Any] = {
        "memory_limit": _MEMORY, "temp_directory": str(folder / "spill"), "threads": threads, "preserve_insertion_order": False,
    }  # fmt: skip
    db = duckdb.connect(config=config)
    db.execute("SET enable_progress_bar = false")  # it would be printed on stdout
    return db


def _grouped(folder: Path) -> str:
    """Return SQL of the records with the name of their group."""
    records, links = _quoted(folder / RECORDS_FILE), _quoted(folder / LINKS_FILE)
    return (
        f"SELECT coalesce(l.grp, r.id) AS grp, r.* FROM read_parquet({records}) r"
        f" LEFT JOIN read_parquet({links}) l ON l.id = r.id"
    )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def days_to_reach(folder: Path, label: Label) -> list[int]:
    """Return, for each group that reached *label*, the ms from its first record to it, rising. Both by arrival."""
    types = ", ".join(f"'{type_}'" for type_ in sorted(REACHED[label]))
    with connected(folder) as db:
        found = db.sql(
            f"SELECT min(arrival_ms) FILTER (type IN ({types})) - min(arrival_ms) AS ms FROM ({_grouped(folder)})"
            " WHERE NOT output GROUP BY grp HAVING ms IS NOT NULL ORDER BY ms"
        ).fetchall()
    return [ms for (ms,) in found]


def first_reached_ms(folder: Path, label: Label) -> int | None:
    """Return when the first outcome *label* arrived; `None`: there is none."""
    types = ", ".join(f"'{type_}'" for type_ in sorted(REACHED[label]))
    with connected(folder) as db:
        ((first_ms,),) = db.sql(
            f"SELECT min(arrival_ms) FROM ({_grouped(folder)}) WHERE NOT output AND type IN ({types})"
        ).fetchall()
    known: int | None = first_ms
    return known


def reached_since(folder: Path, label: Label, since_ms: int) -> int:
    """Return how many groups first reached *label* after an instant, by arrival."""
    types = ", ".join(f"'{type_}'" for type_ in sorted(REACHED[label]))
    with connected(folder) as db:
        ((groups,),) = db.sql(
            f"SELECT count(*) FROM (SELECT min(arrival_ms) AS ms FROM ({_grouped(folder)})"
            f" WHERE NOT output AND type IN ({types}) GROUP BY grp HAVING ms > {since_ms})"
        ).fetchall()
    found: int = groups
    return found


def groups_of(folder: Path, part: int, parts: int) -> Iterator[list[GroupRecord]]:
    """Yield the records of each group of one of *parts*, in order of arrival."""
    with connected(folder) as db:
        relation = db.sql(
            "SELECT grp, arrival_ms, timestamp_ms, output, type, id, value"
            f" FROM ({_grouped(folder)}) WHERE hash(grp) % {parts} = {part} ORDER BY grp, seq"
        )
        rows = (row for batch in relation.to_arrow_reader(_READ) for row in zip(*map(_plain, batch.columns), strict=True))
        for _, group in groupby(rows, itemgetter(0)):
            yield [GroupRecord(*row[1:]) for row in group]


def _plain(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values
