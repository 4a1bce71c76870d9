"""`open_history`: an archive or a file of lines, read in order of arrival and never whole in memory."""

from __future__ import annotations

from pathlib import Path

from worker.errors import FilesError, HistoryError
from worker.history.lines import Lines
from worker.history.record import TICK as TICK
from worker.history.record import Clock as Clock
from worker.history.record import History as History
from worker.history.record import HistoryRecord as HistoryRecord
from worker.history.record import Refusal as Refusal


def open_history(source: str, clock: Clock = "wall") -> History:
    """Return the history at *source*: a folder or address with an archive, or a file of events, one CloudEvent a line.

    `-` is stdin. Files may be gzipped, and may stand at an address such as `s3://bucket/events.jsonl.gz`. Nothing is read yet.
    *clock*: what an archive's arrival is. Lines of a file always arrive at their own time. Raises `HistoryError` where there
    is neither.
    """
    if is_archive(source):
        from worker.history.archive import Archive

        return Archive(source, clock)
    return Lines(source)


def is_archive(source: str) -> bool:
    """Return whether *source* is a folder, and so an archive. Raises `HistoryError` where there is nothing."""
    if source == "-":
        return False
    if "://" in source and not source.startswith("file://"):
        from worker.adapters.stored_files import address

        try:
            files, path = address(source, "archive")
        except FilesError as err:
            raise HistoryError(str(err)) from None
        if files.isfile(path):
            return False
        if files.isdir(path):
            return True
    else:
        local = Path(source.removeprefix("file://"))
        if local.exists():
            return local.is_dir()
    raise HistoryError(f"{source} does not exist; expected an archive's folder, or a file of events")
