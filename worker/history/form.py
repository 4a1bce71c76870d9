"""The form of an archive: names of its files, their columns, and which file each record is read from.

A file is `topic=T/date=D/P-FIRST-LAST.parquet`. It has the records of partition P of topic T from offset FIRST to LAST.
D is the UTC date of FIRST. Files of one partition may overlap, where two processes wrote the same records, or where a merged
file stands beside its sources. Each offset is then read from exactly one of them: `extents` has the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

Role = Literal["input", "journal", "output", "dead"]
"""What a topic is for. Records of role `dead` are no events: they were refused."""

FACTS: Final = b"leadpulse"
"""The key of a file's facts among its key-value metadata."""

_DAY_MS: Final = 86_400_000
_NAME: Final = re.compile(r"topic=([A-Za-z0-9._-]+)/date=(\d{4}-\d{2}-\d{2})/(\d+)-(\d+)-(\d+)\.parquet")


class Source(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class FileName(NamedTuple):
    """The name of a file, relative to the archive."""

    topic: str
    date: str
    partition: int
    first: int
    """Offset of the first record in the file."""
    last: int
    """Offset of the last one."""

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the parts of *name*; `None` for a file of another kind."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        topic, date, *numbers = found.groups()
        partition, first, last = map(int, numbers)
        return cls(topic, date, partition, first, last) if first <= last else None

    def __str__(self) -> str:
        return f"topic={self.topic}/date={self.date}/{self.partition}-{self.first}-{self.last}.parquet"

    @property
    def source(self) -> Source:
        """The partition whose records it has."""
        return Source(self.topic, self.partition)


class Facts(msgspec.Struct, frozen=True):
    """What a file says of itself, as JSON in its metadata."""

    role: Role
    from_: int = msgspec.field(name="from")
    """The offset from which it was read. Offsets from here to FIRST hold no record, such as markers of transactions."""
    to: int
    """The offset up to which it was read, exclusive. Offsets after LAST and before it hold no record."""
    erasures: int = 0
    """How many erasures its writer knew."""
    archive: int = 1
    """Version of the form."""


class Extent(NamedTuple):
    """A file, and which of its records are read from it."""

    file: FileName
    start: int
    """Records with smaller offsets are read from another file."""


def extents(files: Iterable[FileName]) -> list[Extent]:
    """Return from which file each offset is read, in the order of offsets within each partition.

    Files are taken by rising FIRST, the longest first. Each gives the offsets that no file before it has. A file without such
    offsets is left out. So every record is read once, whatever files overlap, and all readers choose the same.
    """
    found: list[Extent] = []
    after: dict[Source, int] = {}
    for file in sorted(files, key=lambda one: (one.topic, one.partition, one.first, -one.last, one.date)):
        start = max(file.first, after.get(file.source, 0))
        if file.last >= start:
            found.append(Extent(file, start))
            after[file.source] = file.last + 1
    return found


def next_offsets(files: Iterable[FileName]) -> dict[Source, int]:
    """Return the offset to go on at, of each partition that has files: the greatest LAST + 1."""
    found: dict[Source, int] = {}
    for file in files:
        found[file.source] = max(found.get(file.source, 0), file.last + 1)
    return found


def date_of(timestamp_ms: int | None) -> str:
    """Return the UTC date of an instant; that of 1970 for none."""
    return datetime.fromtimestamp((timestamp_ms or 0) // _DAY_MS * 86_400, UTC).strftime("%Y-%m-%d")


def facts_of(metadata: Mapping[bytes, bytes] | None) -> Facts | None:
    """Return the facts in a file's key-value *metadata*; `None` where another program wrote the file."""
    held = (metadata or {}).get(FACTS)
    try:
        return None if held is None else msgspec.json.decode(held, type=Facts)
    except msgspec.MsgspecError:
        return None


def schema() -> Any:
    """Return the Arrow schema of every file.

    A CloudEvent has its attributes in columns and `data` as JSON text. `attributes` is one JSON object of its rarer attributes.
    `value` has a value that is anything else, byte for byte. An erased record keeps its place and time alone.
    """
    import pyarrow as pa

    header = pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary(), nullable=False)])
    columns = [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp_ms", pa.int64()),
        pa.field("key", pa.binary()),
        pa.field("type", pa.string()),
        pa.field("source", pa.string()),
        pa.field("id", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("time_ms", pa.int64()),
        pa.field("data", pa.string()),
        pa.field("headers", pa.list_(header)),
        pa.field("attributes", pa.string()),
        pa.field("value", pa.binary()),
    ]
    return pa.schema(columns)
