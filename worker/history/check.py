"""Checks an archive: gaps, doubles, damaged files, erasures that wait, and its records against those of Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from typing import ClassVar, Literal

import msgspec

from worker.adapters.stored_files import Files
from worker.core.contract.model import Record
from worker.errors import HistoryError
from worker.history.erasures import Erasures
from worker.history.form import Extent, Facts, FileName, extents, facts_of
from worker.history.session import FilesChanged, Session

Kind = Literal["gap", "double", "damaged", "missing", "extra", "erasure"]


class Finding(msgspec.Struct, frozen=True):
    """Something wrong."""

    kind: Kind
    detail: str
    """Where, what and what to do, for people."""
    topic: str = ""
    partition: int = 0
    first: int = 0
    last: int = 0


class Checked(msgspec.Struct):
    """One partition of a topic."""

    topic: str
    partition: int
    files: int
    overlapping: int
    """Files that are not needed, or of which some records are read from another. `archive compact` removes them."""
    records: int
    first: int
    """The first offset that was read."""
    to: int
    """The offset up to which it was read, exclusive."""
    in_kafka: int | None = None
    """Committed records in the same range that Kafka still has; `None`: not compared."""
    waits: int | None = None
    """Offsets of Kafka that are not archived yet."""


class Report(msgspec.Struct):
    """The answer of `archive check`."""

    partitions: list[Checked]
    findings: list[Finding]


class Checking:
    """Checks one archive, partition by partition. Everything here blocks, but for `against`."""

    def __init__(self, place: str, files: Files) -> None:
        self._place = place
        self._files = files
        self.findings: list[Finding] = []

    def partitions(self) -> Iterator[tuple[Checked, list[Extent]]]:
        """Yield each partition and the files that its records are read from."""
        names = [name for one in self._files.walk() if (name := FileName.parse(one)) is not None]
        count = Counter(name.source for name in names)
        for source, part in groupby(extents(names), key=lambda one: one.file.source):
            held = list(part)
            listed = count[source]
            trimmed = sum(one.start != one.file.first for one in held)
            checked = Checked(source.topic, source.partition, listed, listed - len(held) + trimmed, 0, 0, 0)
            whole = self._facts(checked, held)
            yield checked, whole

    def erasures(self) -> None:
        """Report erasures that wait."""
        erasures = Erasures(self._files)
        erasures.look()
        if erasures.pending:
            self.findings.append(
                Finding("erasure", f"{len(erasures.pending)} erased ids may still be in files: run `leadpulse archive run`,"
                        " or `leadpulse archive forget` for one of them")
            )  # fmt: skip

    def _facts(self, checked: Checked, held: Sequence[Extent]) -> list[Extent]:
        """Read the facts of the files, report gaps between them, and return the files that can be read."""
        whole: list[Extent] = []
        for one in held:
            facts = self._facts_of(one.file)
            if facts is None:
                continue
            if not whole:
                checked.first = facts.from_
            elif facts.from_ > checked.to:
                self._found("gap", checked, checked.to, facts.from_ - 1, "never archived: retention deleted them before")
            checked.to = max(checked.to, facts.to)
            whole.append(one)
        return whole

    def _facts_of(self, name: FileName) -> Facts | None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with self._files.read(str(name)) as opened:
                metadata = parquet.read_metadata(opened)
        except (pa.ArrowInvalid, OSError) as error:
            detail = f"{name}: no readable Parquet file ({type(error).__name__}): restore it, or remove it and archive it again"
            self.findings.append(Finding("damaged", detail, name.topic, name.partition, name.first, name.last))
            return None
        return facts_of(metadata.metadata) or Facts("input", name.first, name.last + 1)

    def offsets(self, checked: Checked, held: Sequence[Extent]) -> Iterator[int]:
        """Yield the offsets of a partition in order, each once. Reports doubles."""
        before = -1
        with Session(self._place, self._files) as session:
            for (offset,) in self._rows(session, held):
                checked.records += 1
                if offset == before:
                    self._found("double", checked, offset, offset, "a file has it twice: restore the file")
                    continue
                before = offset
                yield offset

    def _rows(self, session: Session, held: Sequence[Extent]) -> Iterator[tuple[int]]:
        try:
            for batch in session.batches('SELECT "offset" FROM {} ORDER BY 1', held, []):
                yield from batch
        except FilesChanged:
            raise HistoryError(f"{self._files.where}: files were merged or rewritten meanwhile: check again") from None

    async def against(self, checked: Checked, offsets: Iterator[int], records: AsyncIterator[Record], start: int) -> None:
        """Compare archived *offsets* with the *records* of Kafka from *start*, the log's first offset, on."""
        low = max(start, checked.first)
        ranges = _Ranges(self, checked)
        ours = next(offsets, None)
        checked.in_kafka = 0
        async for record in records:
            if record.offset < low:
                continue
            checked.in_kafka += 1
            while ours is not None and ours < record.offset:
                if ours >= low:
                    ranges.add("extra", ours)
                ours = next(offsets, None)
            if ours == record.offset:
                ours = next(offsets, None)
            else:
                ranges.add("missing", record.offset)
        while ours is not None:
            if low <= ours:
                ranges.add("extra", ours)
            ours = next(offsets, None)
        ranges.close()

    def _found(self, kind: Kind, checked: Checked, first: int, last: int, words: str) -> None:
        place = f"{checked.topic}[{checked.partition}] offsets {first} to {last}: {words}"
        self.findings.append(Finding(kind, place, checked.topic, checked.partition, first, last))


class _Ranges:
    """Offsets with the same fault, one after the other, are one finding."""

    _WORDS: ClassVar[dict[str, str]] = {
        "missing": "Kafka has records that the archive lacks: remove the partition's files from there on, and archive again",
        "extra": "the archive has records that no reader of Kafka sees: was the topic created anew?",
    }

    def __init__(self, checking: Checking, checked: Checked) -> None:
        self._checking = checking
        self._checked = checked
        self._open: tuple[Kind, int, int] | None = None

    def add(self, kind: Kind, offset: int) -> None:
        """Note a fault. Offsets rise."""
        if self._open is not None and self._open[0] == kind:
            self._open = (kind, self._open[1], offset)
            return
        self.close()
        self._open = (kind, offset, offset)

    def close(self) -> None:
        """Report what is noted."""
        if self._open is not None:
            kind, first, last = self._open
            self._checking._found(kind, self._checked, first, last, self._WORDS[kind])
            self._open = None
