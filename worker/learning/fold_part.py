"""A part of the groups of a spooled log, folded into rows on disk. Run as a program, it is one of several processes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import parquet

from worker.core.grid.models import parse_grid
from worker.learning.group_fold import rows_of_group
from worker.learning.landmarks import Options, Row, Tally, folding_grid
from worker.learning.spool import groups_of

_PART: Final = 20_000
"""Rows that are held before they are written."""

ROWS: Final = pa.schema(
    [
        ("id", pa.string()),
        ("at_ms", pa.int64()),
        ("why", pa.string()),
        ("won", pa.bool_()),
        ("handed_over", pa.bool_()),
        ("company", pa.string()),
        ("score", pa.float64()),
        ("fit", pa.float64()),
        ("engagement", pa.float64()),
        ("days_to_won", pa.float64()),
        ("days_to_handover", pa.float64()),
        ("features", pa.binary()),
    ]
)
"""Of rows on disk: the fields of `Row`."""


def rows_table(rows: Iterable[Row]) -> pa.Table:
    """Return *rows* as a table with the columns `ROWS`."""
    columns: list[Any] = list(zip(*rows, strict=True)) or [[] for _ in ROWS]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, ROWS, strict=True)], schema=ROWS)


def write_order(folder: Path, grid: bytes, options: Options) -> None:
    """Write what a part needs to know into *folder*."""
    (folder / "grid.yaml").write_bytes(grid)
    (folder / "options.json").write_bytes(msgspec.json.encode(options))


def fold_part(folder: Path, part: int, parts: int) -> None:
    """Fold one of *parts* of the log in *folder*. Its rows and its tally are put there."""
    options = msgspec.json.decode((folder / "options.json").read_bytes(), type=Options)
    scorer = folding_grid(parse_grid((folder / "grid.yaml").read_bytes(), "grid.yaml"), options)
    tally, waiting = Tally(), list[Row]()
    with parquet.ParquetWriter(folder / f"rows-{part}.parquet", ROWS, compression="zstd", compression_level=1) as writer:
        for records in groups_of(folder, part, parts):
            waiting += rows_of_group(records, scorer, options, tally)
            if len(waiting) >= _PART:
                writer.write_table(rows_table(waiting))
                waiting = []
        writer.write_table(rows_table(waiting))
    (folder / f"tally-{part}.json").write_bytes(msgspec.json.encode(tally))


if __name__ == "__main__":
    fold_part(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
