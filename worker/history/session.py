"""DuckDB over the files of an archive."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from worker.adapters.stored_files import Files, address
from worker.errors import HistoryError
from worker.history.form import Extent, FileName, Role, extents, facts_of

_ROWS: Final = 4_096
"""Rows that are handed over at once."""

_MEMORY: Final = "512MB"
"""For DuckDB. What sorting needs beyond it goes to a temporary folder."""


class FilesChanged(Exception):
    """A file was merged or rewritten since it was listed. List again."""


class Held(NamedTuple):
    """The files of an archive at one instant."""

    extents: list[Extent]
    roles: dict[str, Role]
    """By topic."""

    def of(self, *roles: Role) -> list[Extent]:
        """Return the files of topics with one of *roles*."""
        return [extent for extent in self.extents if self.roles[extent.file.topic] in roles]


class Session:
    """A connection of its own to DuckDB in memory, with a temporary folder."""

    def __init__(self, source: str, files: Files) -> None:
        self._source = source
        self._files = files
        self._filesystem: Any = None
        self._root = source.removeprefix("file://")
        if "://" in self._root:
            self._filesystem, path = address(source, "archive")
            self._root = self._filesystem.unstrip_protocol(path)

    def __enter__(self) -> Self:
        import duckdb

        self._folder = tempfile.mkdtemp(prefix="leadpulse-history-")
        self.duckdb: Any = duckdb.connect(
            config={"memory_limit": _MEMORY, "temp_directory": self._folder, "preserve_insertion_order": False}
        )
        if self._filesystem is not None:
            self.duckdb.register_filesystem(self._filesystem)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.duckdb.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def path(self, file: FileName) -> str:
        """Return how DuckDB names *file*."""
        return f"{self._root.rstrip('/')}/{file}"

    def listed(self) -> Held:
        """Return the files as they are now. Raises `HistoryError` where there is no archive."""
        names = [name for one in self._files.walk() if (name := FileName.parse(one)) is not None]
        if not names:
            raise HistoryError(f"{self._files.where} has no file of an archive: `leadpulse archive run --to` writes them")
        newest = {name.topic: name for name in sorted(names, key=lambda one: (one.date, one.last))}
        return Held(extents(names), {topic: self._role(name) for topic, name in newest.items()})

    def _role(self, file: FileName) -> Role:
        """Return the role of the topic of *file*. Where another program wrote it, its name decides."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with self._files.read(str(file)) as opened:
                facts = facts_of(parquet.read_metadata(opened).metadata)
        except FileNotFoundError as err:
            raise FilesChanged(str(err)) from None
        except pa.ArrowInvalid as err:
            raise HistoryError(f"{self.path(file)} is no Parquet file: {err}") from None
        if facts is not None:
            return facts.role
        return "journal" if file.topic.endswith(".internal") else "input"

    def batches(self, query: str, held: Sequence[Extent], values: Sequence[Any]) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Yield the answer to *query* in batches of rows. `{}` in it stands for the records of *held*.

        Raises `FilesChanged`, before the first batch where the query sorts, and `HistoryError`.
        """
        import duckdb

        if not held:
            return
        try:
            # A cursor of its own: a connection has one open answer at a time.
            relation = self.duckdb.cursor().sql(query.format(f"({self._table(held)})"), params=list(values))
            for batch in relation.to_arrow_reader(_ROWS):
                yield zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except (duckdb.IOException, OSError) as err:
            raise FilesChanged(str(err)) from None
        except duckdb.Error as err:
            raise HistoryError(f"{self._files.where}: {err}") from None

    def _table(self, held: Iterable[Extent]) -> str:
        """Return SQL of the records of *held*: whole files at once, others with their first offset."""
        whole = [self.path(one.file) for one in held if one.start == one.file.first]
        parts = ["SELECT NULL::VARCHAR AS attributes, NULL::BLOB AS value WHERE false"]
        if whole:
            parts.append(f"SELECT * FROM {_read(whole)}")
        parts += [
            f'SELECT * FROM {_read([self.path(one.file)])} WHERE "offset" >= {one.start}'
            for one in held
            if one.start != one.file.first
        ]
        return " UNION ALL BY NAME ".join(parts)


def _read(paths: Sequence[str]) -> str:
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
