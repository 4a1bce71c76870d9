"""The folder of an archive, as the program that writes it sees it. Everything here blocks: call it in a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from worker.adapters.stored_files import Files
from worker.history.buffer import Buffer
from worker.history.erasures import Erasures
from worker.history.form import Facts, FileName, Source, facts_of, next_offsets
from worker.history.scrub_batch import erased_ids, scrub_batch
from worker.history.writing import parquet_of
from worker.logs import fields

log = logging.getLogger(__name__)

_LEFT_S: Final = 600.0
"""A temporary file of this age was left behind by a process that died."""


class Written(NamedTuple):
    """A file that was written."""

    name: FileName
    bytes: int
    seconds: float


class ArchiveStore:
    """Reads where each partition stands, and writes files."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.erasures = Erasures(files)
        self._lock = threading.Lock()
        """Threads write files at the same time, and look for erasures one by one."""

    def standing(self, sources: Collection[Source]) -> dict[Source, int]:
        """Return the offset to go on at, of each of *sources* that has files. Removes files that a dead process left."""
        names = []
        for topic in {source.topic for source in sources}:
            for one, listed in self.files.walk(f"topic={topic}").items():
                name = FileName.parse(one)
                if name is not None:
                    names.append(name)
                elif one.endswith(".part") and listed.age_s > _LEFT_S:
                    self.files.remove(one)
        self._check_newest([name for name in names if name.source in sources])
        return {source: offset for source, offset in next_offsets(names).items() if source in sources}

    def facts(self, name: FileName) -> Facts | None:
        """Return the facts of a file. Raises `OSError`."""
        from pyarrow import parquet

        with self.files.read(str(name)) as opened:
            return facts_of(parquet.read_metadata(opened).metadata)

    def overtaken(self, buffer: Buffer) -> bool:
        """Return whether another process has archived records of *buffer*."""
        name = buffer.name
        folder = f"topic={name.topic}/date={name.date}"
        found = [FileName.parse(f"{folder}/{one}") for one in self.files.names(folder)]
        return any(one is not None and one.source == name.source and one.last >= name.first for one in found)

    def write(self, buffer: Buffer) -> Written:
        """Write the records of *buffer*, without erased persons. Raises `OSError`.

        Erasures among them are noted first, so that no crash loses one.
        """
        began, batches, name = time.monotonic(), buffer.batches(), buffer.name
        with self._lock:
            self.erasures.look()
            for id_, at_ms in buffer.erased.items():
                self.erasures.ask(id_, at_ms)
            known = self.erasures.count
            if known:
                batches = [scrub_batch(batch, buffer.role, self.erasures)[0] for batch in batches]
        held = parquet_of(batches, Facts(buffer.role, buffer.start, buffer.next, erasures=known))
        self.files.put(str(name), held)
        with self._lock:
            if self.erasures.look() != known:  # an erasure was noted meanwhile, and its pass may have missed this file
                self._ask_again(erased_ids(batches, self.erasures))
        return Written(name, len(held), time.monotonic() - began)

    def _ask_again(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self.erasures.ask_again(id_)

    def _check_newest(self, names: Iterable[FileName]) -> None:
        """Look for erased persons in the newest file of each partition, if it was written before an erasure was known.

        A process may have died between writing it and looking for erasures again.
        """
        from pyarrow import parquet

        count = self.erasures.look()
        newest = {name.source: name for name in sorted(names, key=lambda one: one.last)} if count else {}
        for name in newest.values():
            try:
                facts = self.facts(name)
                if facts is None or facts.erasures >= count:
                    continue
                with self.files.read(str(name)) as opened:
                    table = parquet.read_table(opened, columns=["subject", "key"], partitioning=None)
            except FileNotFoundError:  # merged since it was listed: the merged file is a later one's business
                continue
            found = erased_ids(table.to_batches(), self.erasures)
            log.info("%d erased ids may be in %s", len(found), name, extra=fields("archive.asks_again", ids=len(found)))
            self._ask_again(found)
