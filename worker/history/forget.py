"""Erases persons from an archive. A file with something of them is replaced under its own name, whole or not at all."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from worker.adapters.stored_files import Files
from worker.history.erasures import Erasures
from worker.history.form import FileName, Role, facts_of
from worker.history.names import PersonsByName
from worker.history.scrub_batch import erased_ids, scrub_batch
from worker.history.writing import ParquetBytes, in_form

LOCK: Final = "lock"
"""Of everything that replaces or removes files. Files that are added need it not."""

_NONE: Final = threading.Event()


class Forgotten(msgspec.Struct, frozen=True):
    """What a pass has done."""

    ids: int
    """Erased ids."""
    files: int
    """Files that were rewritten."""
    records: int
    """Records that were erased, or that do not name the person any more."""


class Busy(Exception):
    """Another process merges or rewrites files of the archive."""


def forget(files: Files, erasures: Erasures, stop: threading.Event = _NONE) -> Forgotten | None:
    """Erase all ids that wait for it, in one pass, and write the receipts. Return `None` if *stop* is set before its end.

    Files are listed until nothing new is found, because others may be written meanwhile. Raises `Busy` and `OSError`.
    """
    with files.lock(LOCK) as ours:
        if not ours:
            raise Busy("another process merges or rewrites files of this archive; wait for its end")
        erasures.look()
        pending = erasures.pending
        until_ms: dict[str, int] = {}
        for one in pending:
            until_ms[one.id or ""] = max(one.at_ms, until_ms.get(one.id or "", 0))
        done = _Pass(files, erasures.count, until_ms).run(stop) if pending else Forgotten(0, 0, 0)
        if done is not None:
            for one in pending:
                erasures.done(one, time.time_ns() // 1_000_000, done.files, done.records)
        return done


class _Rewritten(NamedTuple):
    bytes: bytes
    records: int


class _Pass:
    """One pass over all files."""

    def __init__(self, files: Files, erasures: int, until_ms: Mapping[str, int]) -> None:
        self._files = files
        self._erasures = erasures
        self._persons = PersonsByName(until_ms)
        self._seen: dict[FileName, str] = {}
        self._rewritten: set[FileName] = set()
        self._records = 0

    def run(self, stop: threading.Event) -> Forgotten | None:
        """Rewrite files until a listing shows nothing new."""
        while new := self._new():
            addresses = self._persons.addresses.union(*(self._addresses(name) for name in new))
            if addresses != self._persons.addresses:
                self._persons = PersonsByName(self._persons.until_ms, addresses)
                self._seen.clear()
                new = self._new()
            for name, version in new.items():
                if stop.is_set():
                    return None
                self._seen[name] = version
                self._rewrite(name)
        return Forgotten(len(self._persons.until_ms), len(self._rewritten), self._records)

    def _new(self) -> dict[FileName, str]:
        listed = {FileName.parse(name): one.version for name, one in self._files.walk().items()}
        return {name: version for name, version in listed.items() if name is not None and self._seen.get(name) != version}

    def _addresses(self, name: FileName) -> set[str]:
        """Return the e-mail addresses in the person's own records of a file."""
        found: set[str] = set()
        for file in self._opened(name):
            for group in range(file.num_row_groups):
                batch = file.read_row_group(group, columns=["subject", "key", "data"])
                for ids in batch.to_batches():
                    known = erased_ids([ids], self._persons)
                    if known:
                        found |= _emails(ids, known)
        return found

    def _rewrite(self, name: FileName) -> None:
        """Rewrite a file if it has something of the persons."""
        for file in self._opened(name):
            facts = facts_of(file.metadata.metadata)
            if facts is None:
                role: Role = "journal" if name.topic.endswith(".internal") else "input"
            else:
                role, facts = facts.role, msgspec.structs.replace(facts, erasures=self._erasures)
            groups = []
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                changed = [scrub_batch(batch, role, self._persons, self._persons) for batch in in_form(table).to_batches()]
                if any(count for _, count in changed):
                    groups.append((group, [batch for batch, _ in changed], sum(count for _, count in changed)))
            if groups:
                replaced = {group: batches for group, batches, _ in groups}
                out = ParquetBytes(facts)
                for group in range(file.num_row_groups):
                    out.write(replaced.get(group) or in_form(file.read_row_group(group)).to_batches())
                self._files.put(str(name), out.close())
                self._rewritten.add(name)
                self._records += sum(count for _, _, count in groups)

    def _opened(self, name: FileName) -> Iterator[Any]:
        """Yield the Parquet file *name*, read whole; nothing if it was merged since it was listed."""
        from pyarrow import parquet

        try:
            held = self._files.get(str(name))
        except FileNotFoundError:
            return
        yield parquet.ParquetFile(io.BytesIO(held))


def _emails(batch: Any, ids: Iterable[str]) -> set[str]:
    wanted, found = frozenset(ids), set()
    for row in batch.to_pylist():
        key = (row["key"] or b"").decode(errors="replace")
        if row["data"] is not None and (row["subject"] in wanted or key in wanted):
            try:
                held = msgspec.json.decode(row["data"])
            except msgspec.MsgspecError:
                continue
            found |= set(_under_email(held))
    return found


def _under_email(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "email" and isinstance(one, str) and "@" in one:
                yield one
            yield from _under_email(one)
    elif isinstance(value, list):
        for one in value:
            yield from _under_email(one)
