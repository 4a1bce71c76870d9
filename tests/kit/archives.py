"""Archives made by hand, and records to put into them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from worker.core.contract.model import Headers, Record
from worker.history.form import Facts, FileName, Role, date_of, extents
from worker.history.writing import arrow_of, parquet_of

NOON_MS = 1_772_712_000_000
"""2026-03-05T12:00:00Z."""

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""

WEB = "lead.events.web"
JSON: Headers = (("content-type", b"application/cloudevents+json"),)


def event(
    offset: int, lead: str = "l-1", *, topic: str = WEB, partition: int = 0, at_ms: int | None = None, **envelope: Any
) -> Record:
    """Return a record with an event of *lead*, a second after that of the offset before; *envelope* replaces attributes."""
    stamp = NOON_MS + offset * 1_000 if at_ms is None else at_ms
    held = {
        "specversion": "1.0", "id": f"{topic}-{partition}-{offset}", "source": "/site", "type": "page.viewed",
        "subject": lead, "data": {"url": "https://example.com/é?a=1", "duration_s": 1.5},
    }  # fmt: skip
    value = json.dumps({**held, **envelope}, ensure_ascii=False).encode()
    return Record(topic, partition, offset, stamp, lead.encode(), value, JSON)


def tick(offset: int, partition: int, at_ms: int, *, topic: str = "leadpulse.default.internal") -> Record:
    """Return a tick of the journal, written a second after its instant."""
    return Record(topic, partition, offset, at_ms + 1_000, None, b"[%d,{}]" % at_ms, (("lp-kind", b"tick"),))


def add_file(archive: Path, records: Sequence[Record], role: Role = "input", **facts: Any) -> Path:
    """Write a file of *records* of one partition into *archive*, and return it."""
    first, last = records[0], records[-1]
    name = FileName(first.topic, date_of(first.timestamp_ms), first.partition, first.offset, last.offset)
    path = archive / str(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = Facts(**{"role": role, "from_": first.offset, "to": last.offset + 1, **facts})
    path.write_bytes(parquet_of([arrow_of(records)], held))
    return path


def rows(archive: Path) -> list[dict[str, Any]]:
    """Return every row of every file as it is, with the file's name: no file is passed over, and no row chosen."""
    found = []
    for path in sorted(archive.glob("topic=*/date=*/*.parquet")):
        topic = path.parent.parent.name.removeprefix("topic=")
        held = parquet.read_table(path, partitioning=None).to_pylist()
        found += [{**row, "topic": topic, "file": str(path.relative_to(archive))} for row in held]
    return found


def places(archive: Path) -> list[Place]:
    """Return the places of all records that readers get, in order: each file with what is read of it."""
    names = [FileName.parse(str(path.relative_to(archive))) for path in archive.rglob("*.parquet")]
    start = {str(one.file): one.start for one in extents(name for name in names if name is not None)}
    return sorted(
        (row["topic"], row["partition"], row["offset"])
        for row in rows(archive)
        if row["offset"] >= start.get(row["file"], sys.maxsize)
    )


def bytes_of(archive: Path) -> bytes:
    """Return everything that stands in an archive: all files as they are, and all pages of Parquet unpacked."""
    raw = b"".join(path.read_bytes() for path in sorted(archive.rglob("*")) if path.is_file())
    unpacked = []
    for path in sorted(archive.rglob("*.parquet")):
        file = parquet.ParquetFile(path)
        out = io.BytesIO()
        parquet.write_table(file.read(), out, compression="none", use_dictionary=False, store_schema=False)
        unpacked += [out.getvalue(), str(file.metadata.to_dict()).encode(), str(file.metadata.metadata).encode()]
    return raw + b"".join(unpacked)
