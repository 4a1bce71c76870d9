"""The fold of a learning table on Spark: the same function over the same groups, on all machines of a cluster.

The driver reads the log once, and finds out which ids belong together. Records go to a folder that all machines see. Each task
folds the groups of one bucket with `rows_of_group`. So rows are those of the local engine, byte for byte.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from math import isnan
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import fsspec
import msgspec
import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from worker.core.grid.models import Grid, parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.errors import LearningError
from worker.learning.fold_part import ROWS
from worker.learning.group_fold import rows_of_group
from worker.learning.landmarks import GroupRecord, Options, Row, Tally, folding_grid
from worker.learning.spool import LINKS_FILE, RECORDS_FILE, Scan

LOCAL: Final = "local[2]"
_BUCKET: Final = 50_000
"""Records that one task folds, about."""
_TALLY: Final = "tally"
"""`why` of the row that carries a bucket's tally."""
_SCHEMA: Final = (
    "id string, at_ms long, why string, won boolean, handed_over boolean, company string,"
    " score double, fit double, engagement double, days_to_won double, days_to_handover double, features binary"
)
_COLUMNS: Final = ("grp", "seq", "arrival_ms", "timestamp_ms", "output", "type", "id", "value")


class SparkEngine:
    """Folds on Spark. *master* is its address. *work* is a folder or address that all its machines can read and write."""

    def __init__(self, master: str = LOCAL, work: str | None = None) -> None:
        """Raise `LearningError` where there is no Java, or where machines of a cluster would not see the records."""
        self.master = master
        self.work = work
        if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
            raise LearningError("Spark needs Java 17 or later: install it, or set JAVA_HOME")
        if work is None and not master.startswith("local"):
            raise LearningError(f"the machines of {master} do not see this one's files: give --work a folder that they all see")

    def __call__(self, folder: Path, grid: Grid, options: Options, scan: Scan) -> Tally:
        """Fold the log in *folder*; see `event_table.Engine`."""
        place = _Place(folder, self.work)
        spark = self._session()
        try:
            place.send(RECORDS_FILE, LINKS_FILE)
            records = spark.read.parquet(place.spark(RECORDS_FILE))
            links = spark.read.parquet(place.spark(LINKS_FILE))
            buckets = max(2, -(-scan.records // _BUCKET))
            named = records.join(f.broadcast(links), "id", "left").withColumn("grp", f.coalesce("grp", "id"))
            bucketed = named.withColumn("bucket", f.pmod(f.xxhash64("grp"), f.lit(buckets))).repartition(buckets, "bucket")
            folded = bucketed.groupBy("bucket").applyInPandas(_folder(grid.source, options), _SCHEMA)
            folded.write.parquet(place.spark("rows"))
            return _received(folder, place.received("rows"))
        finally:
            spark.stop()
            place.clear()

    def _session(self) -> SparkSession:
        builder = SparkSession.builder.appName("leadpulse learn table").master(self.master)
        if self.master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        spark: SparkSession = (
            builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC").getOrCreate()
        )
        spark.sparkContext.setLogLevel("ERROR")
        return spark


class _Place:
    """Where driver and executors exchange files: the driver's own folder, a folder that all see, or an address."""

    def __init__(self, folder: Path, work: str | None) -> None:
        self._folder = folder
        self._shared = None if work is None else f"{work.rstrip('/')}/leadpulse-table-{uuid.uuid4().hex}"
        self._files, self._root = fsspec.core.url_to_fs(self._shared or str(folder))

    def spark(self, name: str) -> str:
        """Return how Spark names a file here. Its name for `s3` is `s3a`."""
        if self._shared is None:
            return (self._folder / name).as_uri()
        if "://" not in self._shared:
            return Path(self._shared, name).absolute().as_uri()
        scheme, _, rest = self._shared.partition("://")
        return f"{'s3a' if scheme == 's3' else scheme}://{rest}/{name}"

    def send(self, *names: str) -> None:
        """Put files of the driver where the executors see them."""
        if self._shared is not None:
            self._files.makedirs(self._root, exist_ok=True)
            for name in names:
                self._files.put_file(str(self._folder / name), f"{self._root}/{name}")

    def received(self, name: str) -> Iterator[Path]:
        """Yield the Parquet files that Spark wrote into the folder *name*, on this machine."""
        for number, path in enumerate(sorted(self._files.glob(f"{self._root}/{name}/*.parquet"))):
            local = self._folder / f"received-{number}.parquet"
            self._files.get_file(path, str(local))
            yield local

    def clear(self) -> None:
        """Remove what is shared."""
        if self._shared is not None and self._files.exists(self._root):
            self._files.rm(self._root, recursive=True)


def _received(folder: Path, files: Iterator[Path]) -> Tally:
    """Put the rows of *files* where the local engine puts them. Return the sum of the tallies among them."""
    tally = Tally()
    for number, file in enumerate(files):
        table = parquet.read_table(file, schema=ROWS)
        is_tally = pa.compute.equal(table.column("why"), _TALLY)
        for packed in table.filter(is_tally).column("features").to_pylist():
            tally.add(msgspec.json.decode(packed, type=Tally))
        parquet.write_table(table.filter(pa.compute.invert(is_tally)), folder / f"rows-{number}.parquet")
        file.unlink()
    return tally


def _folder(source: bytes, options: Options) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function that folds the records of one bucket. It is sent to the executors."""
    packed = msgspec.json.encode(options)

    def fold(records: pd.DataFrame) -> pd.DataFrame:
        return folded_bucket(records, source, packed)

    return fold


def folded_bucket(records: pd.DataFrame, grid: bytes, options: bytes) -> pd.DataFrame:
    """Return the rows of the groups in *records*, and one more row that carries their tally."""
    scorer, asked = _compiled(grid, options)
    tally, rows = Tally(), list[Row]()
    columns = [records[name].tolist() for name in _COLUMNS]
    for _, group in groupby(sorted(zip(*columns, strict=True), key=itemgetter(0, 1)), itemgetter(0)):
        rows += rows_of_group((_record(row) for row in group), scorer, asked, tally)
    last = Row("", 0, _TALLY, False, False, None, 0.0, 0.0, 0.0, None, None, msgspec.json.encode(tally))  # type: ignore[arg-type]
    return pd.DataFrame([*rows, last], columns=list(Row._fields))


def _record(row: tuple[Any, ...]) -> GroupRecord:
    _, _, arrival_ms, timestamp_ms, output, type_, subject, value = row
    # pandas has no missing integers: a column with some is of floats, in which every ms has its place.
    known_ms = None if timestamp_ms is None or isnan(timestamp_ms) else int(timestamp_ms)
    return GroupRecord(arrival_ms, known_ms, output, type_, subject, bytes(value))


@lru_cache(maxsize=2)
def _compiled(grid: bytes, options: bytes) -> tuple[CompiledGrid, Options]:
    """Compile the grid once in each process of an executor."""
    asked = msgspec.json.decode(options, type=Options)
    return folding_grid(parse_grid(grid, "grid.yaml"), asked), asked
