"""What commands do with an archive: checks against Kafka, and erasures of all ids of a person."""

from __future__ import annotations

import time
from contextlib import aclosing

from worker.adapters.kafka_admin import Admin
from worker.adapters.kafka_clients import free_reader
from worker.adapters.kafka_records import committed_records
from worker.adapters.stored_files import Files as Files
from worker.adapters.stored_files import files_at
from worker.core.contract.instants import MAX_AHEAD_MS
from worker.history.check import Checked, Checking, Report
from worker.history.erasures import Erasures
from worker.history.forget import Forgotten, forget
from worker.ports import LogPartition
from worker.settings import ArchiveSettings


def files_of(place: str) -> Files:
    """Return the files of the archive at *place*. Raises `FilesError`."""
    return files_at(place, "archive")


async def check(place: str, files: Files, settings: ArchiveSettings | None) -> Report:
    """Check the archive, against Kafka with *settings*. Raises errors of the log, `HistoryError` and `Undelivered`."""
    checking = Checking(place, files)
    checking.erasures()
    done: list[Checked] = []
    there = {} if settings is None else await _partitions(settings)
    for checked, held in checking.partitions():
        offsets = checking.offsets(checked, held)
        tp = LogPartition(checked.topic, checked.partition)
        if settings is not None and tp.partition < there.get(tp.topic, 0):
            async with free_reader(settings, [tp]) as reader:
                start, end = (await reader.starts([tp]))[tp], (await reader.ends([tp]))[tp]
            checked.waits = max(0, end - max(checked.to, start))
            async with aclosing(committed_records(settings, tp, checked.to)) as records:
                await checking.against(checked, offsets, records, start)
        for _ in offsets:  # to its end: each is counted
            pass
        done.append(checked)
    return Report(done, checking.findings)


async def _partitions(settings: ArchiveSettings) -> dict[str, int]:
    async with Admin(settings) as admin:
        return await admin.partitions(settings.topics)


def forget_person(files: Files, ids: list[str]) -> Forgotten | None:
    """Erase *ids* up to now from all files. Raises `Busy` and `OSError`."""
    erasures = Erasures(files)
    erasures.look()
    now_ms = time.time_ns() // 1_000_000
    for id_ in ids:
        erasures.ask(id_, now_ms + MAX_AHEAD_MS)
    return forget(files, erasures)
