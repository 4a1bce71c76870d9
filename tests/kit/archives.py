"""Archives made by hand, and records to put into them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.core.contract.model import Headers, Record
from worker.history.form import Facts, FileName, Role, date_of
from worker.history.writing import arrow_of, parquet_of

NOON_MS = 1_772_712_000_000
"""2026-03-05T12:00:00Z."""

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
