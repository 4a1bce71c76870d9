"""The file that knows which events of an import were sent: SQLite, so that it survives a crash at any step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from worker.errors import SentFileError

_ABOUT = "leadpulse sent events 1"


class SentFile:
    """Marks of events that Kafka has. A context manager; each call ends on the disk."""

    def __init__(self, path: str | Path) -> None:
        """Open *path*, and make it if there is none. Raises `SentFileError` for a file of another kind."""
        self._path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS about (what TEXT PRIMARY KEY)")
            self._database.execute("CREATE TABLE IF NOT EXISTS sent (mark BLOB PRIMARY KEY) WITHOUT ROWID")
            self._database.execute("INSERT OR IGNORE INTO about VALUES (?)", (_ABOUT,))
            kinds = {what for (what,) in self._database.execute("SELECT what FROM about")}
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if kinds != {_ABOUT}:
            raise SentFileError(f"{path}: this file was written by another version of `produce --sent`")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def __contains__(self, mark: bytes) -> bool:
        try:
            return self._database.execute("SELECT 1 FROM sent WHERE mark = ?", (mark,)).fetchone() is not None
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def add(self, marks: Iterable[bytes]) -> None:
        """Note that these events are in Kafka. Raises `SentFileError`."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR IGNORE INTO sent VALUES (?)", ((mark,) for mark in marks))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> SentFileError:
        return SentFileError(f"{self._path}: {error}: name a file that `produce --sent` may write, and that it made itself")
