"""Merges small files of an archive. Readers see every record once at any moment, and a crash leaves nothing to mend.

The merged file is written first. From then on readers pass over its sources, which are removed afterwards. Where a process dies
in between, the next merge removes them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from worker.adapters.stored_files import Files
from worker.history.forget import LOCK, Busy
from worker.history.form import Extent, Facts, FileName, extents, facts_of
from worker.history.writing import ParquetBytes, in_form

MERGED_BYTES: Final = 128 * 1024 * 1024
"""A merged file has at most about so many bytes. It is made in memory."""

_NONE: Final = threading.Event()


class Compacted(msgspec.Struct, frozen=True):
    """What a merge has done."""

    written: int
    """Merged files."""
    removed: int
    """Files that are no longer needed."""
    files: int
    """Files that the archive has now."""


def compact(files: Files, most: int = MERGED_BYTES, stop: threading.Event = _NONE) -> Compacted:
    """Merge files of the same partition and date, up to *most* bytes each. Raises `Busy` and `OSError`."""
    with files.lock(LOCK) as ours:
        if not ours:
            raise Busy("another process merges or rewrites files of this archive; wait for its end")
        sizes = {name: one.size for path, one in files.walk().items() if (name := FileName.parse(path)) is not None}
        written = removed = 0
        held = extents(sizes)
        removed += _remove(files, sizes.keys() - {one.file for one in held})
        for group in _groups(held, sizes, most):
            if stop.is_set():
                break
            for part in _contiguous(files, group):
                if len(part) > 1:
                    merged = _merge(files, part)
                    written += 1
                    removed += _remove(files, {one.file for one, _, _ in part} - {merged})
        return Compacted(written, removed, len(sizes) + written - removed)


_Opened = tuple[Extent, Facts, Any]
"""A file, its facts, and its Parquet file, read whole."""


def _groups(held: Iterable[Extent], sizes: Mapping[FileName, int], most: int) -> Iterator[list[Extent]]:
    """Yield files that may be merged into one, in order."""
    for _, part in groupby(held, key=lambda one: (one.file.source, one.file.date)):
        group: list[Extent] = []
        size = 0
        for one in part:
            if group and size + sizes[one.file] > most:
                yield group
                group, size = [], 0
            group.append(one)
            size += sizes[one.file]
        yield group


def _contiguous(files: Files, group: Sequence[Extent]) -> Iterator[list[_Opened]]:
    """Yield runs of *group* between which nothing is missing: a gap must stay visible."""
    from pyarrow import parquet

    run: list[_Opened] = []
    if len(group) < 2:
        return
    for one in group:
        file = parquet.ParquetFile(io.BytesIO(files.get(str(one.file))))
        facts = facts_of(file.metadata.metadata)
        if facts is None:  # another program's: it stays as it is
            yield run
            run = []
            continue
        if run and facts.from_ > run[-1][1].to:
            yield run
            run = []
        run.append((one, facts, file))
    yield run


def _merge(files: Files, part: Sequence[_Opened]) -> FileName:
    """Write one file with the records of *part*, and return its name."""
    import pyarrow.compute as pc

    first, last = part[0], part[-1]
    facts = Facts(first[1].role, first[1].from_, max(one.to for _, one, _ in part), min(one.erasures for _, one, _ in part))
    out = ParquetBytes(facts)
    for extent, _, file in part:
        for group in range(file.num_row_groups):
            table = in_form(file.read_row_group(group))
            if extent.start != extent.file.first:
                table = table.filter(pc.greater_equal(table.column("offset"), extent.start))
            out.write(table.to_batches())
    name = first[0].file._replace(last=last[0].file.last)
    files.put(str(name), out.close())
    return name


def _remove(files: Files, names: Iterable[FileName]) -> int:
    count = 0
    for count, name in enumerate(sorted(names), start=1):  # noqa: B007 (the last number is the answer)
        files.remove(str(name))
    return count
