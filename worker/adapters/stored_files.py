"""The files of checkpoints and archives, in a folder or at any address that fsspec knows (`s3://bucket/leadpulse`).

A folder needs nothing installed. Everything here blocks: call it in a thread. Files hold personal data, so a folder's are for
their owner alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

from worker.adapters.redis_client import redacted
from worker.errors import FilesError

LEASE_S: Final = 120.0
"""A lock in object storage that was not renewed for so long is free again."""


class Listed(NamedTuple):
    """A file in a listing."""

    size: int
    age_s: float
    version: str
    """Another one whenever the file is written again."""


class Files(Protocol):
    """The file operations that checkpoints and archives need. Names are relative, with `/` between their parts."""

    where: str
    """The folder or address in messages, without secrets."""

    def write(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a new file for writing. It is durable after a block without an error. Otherwise a part of it may be left."""
        ...

    def put(self, name: str, held: bytes) -> None:
        """Write a small file whole or not at all, durably."""
        ...

    def get(self, name: str) -> bytes:
        """Return a small file's bytes. Raises `OSError`."""
        ...

    def read(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a file for reading. Raises `OSError`."""
        ...

    def names(self, folder: str) -> dict[str, float]:
        """Return the files in *folder*: name → age in seconds. Empty where there is no such folder."""
        ...

    def walk(self, folder: str = "") -> dict[str, Listed]:
        """Return the files in *folder* and in all folders below it, by their names. Empty where there is no such folder."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file. A file that is gone already is no error."""
        ...

    def lock(self, name: str) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock *name* within the block, and return whether we do: another process may have it.

        In a folder it ends with the process. Elsewhere it is a lease, which ends `LEASE_S` after a process that died.
        """
        ...


def files_at(place: str, extra: str = "checkpoints") -> Files:
    """Return the files at *place*: a folder, `file://` included, or an address of fsspec's. Raises `FilesError`.

    *extra*: the extra that has fsspec, for the message where it is missing.
    """
    scheme, separator, path = place.partition("://")
    if not separator:
        return _Folder(Path(place))
    if scheme == "file":
        return _Folder(Path(path))
    return _Remote(place, extra)


def address(place: str, extra: str = "checkpoints") -> tuple[Any, str]:
    """Return fsspec's file system of the address *place*, and the path in it. Raises `FilesError`."""
    where = redacted(place)
    try:
        import fsspec
    except ImportError:
        raise FilesError(
            f"{where} is not a folder: pip install 'leadpulse[{extra}]', and what fsspec needs for"
            f" {place.partition('://')[0]}:// (s3fs, gcsfs, adlfs, …)"
        ) from None
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(place))
    except (ImportError, ValueError) as err:
        raise FilesError(f"{where} cannot be opened: {err}") from None


class _Folder:
    """A local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.where = str(root)

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        path = self._root / name
        self._make(path.parent)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 (a descriptor)
            yield file
            file.flush()
            os.fsync(file.fileno())
        self._sync(path.parent)

    def _make(self, folder: Path) -> None:
        """Make *folder* and those above it, for their owner alone: `mkdir(parents=True)` gives that to the last one only."""
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)

    def put(self, name: str, held: bytes) -> None:
        path = self._root / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.unlink(missing_ok=True)
        with self.write(str(temporary.relative_to(self._root))) as file:
            file.write(held)
        temporary.replace(path)
        self._sync(path.parent)

    def get(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[BinaryIO]:
        with (self._root / name).open("rb") as file:
            yield file

    def names(self, folder: str) -> dict[str, float]:
        now, found = time.time(), {}
        try:
            entries = list(os.scandir(self._root / folder))
        except FileNotFoundError:
            return {}
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                if entry.is_file(follow_symlinks=False):
                    found[entry.name] = now - entry.stat().st_mtime
        return found

    def walk(self, folder: str = "") -> dict[str, Listed]:
        now, found = time.time(), {}
        for path, _, names in os.walk(self._root / folder):
            for name in names:
                file = Path(path, name)
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    stat = file.stat(follow_symlinks=False)
                    version = f"{stat.st_ino}-{stat.st_mtime_ns}"
                    found[file.relative_to(self._root).as_posix()] = Listed(stat.st_size, now - stat.st_mtime, version)
        return found

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        path = self._root / name
        self._make(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield False
        else:
            try:
                yield True
            finally:
                os.close(descriptor)

    @staticmethod
    def _sync(folder: Path) -> None:
        """Make a name in *folder* durable: a file's own fsync does not."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Remote:
    """Object storage, and every other file system of fsspec. An object exists only once it is completely written."""

    def __init__(self, place: str, extra: str) -> None:
        self.where = redacted(place)
        self._files, self._root = address(place, extra)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with self._files.open(path, "wb") as file:
            yield file

    def put(self, name: str, held: bytes) -> None:
        self._files.pipe_file(self._path(name), held)

    def get(self, name: str) -> bytes:
        self._files.invalidate_cache()
        return cast(bytes, self._files.cat_file(self._path(name)))

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[BinaryIO]:
        with self._files.open(self._path(name), "rb") as file:
            yield file

    def names(self, folder: str) -> dict[str, float]:
        self._files.invalidate_cache()
        path = self._path(folder)
        try:
            entries = self._files.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        now = time.time()
        return {entry["name"].rpartition("/")[2]: _age_s(entry, now) for entry in entries if entry["type"] == "file"}

    def walk(self, folder: str = "") -> dict[str, Listed]:
        self._files.invalidate_cache()
        root, now = self._root.rstrip("/"), time.time()
        try:
            entries = self._files.find(self._path(folder) if folder else root, detail=True)
        except FileNotFoundError:
            return {}
        return {
            name[len(root) + 1 :]: Listed(int(entry["size"]), _age_s(entry, now), str(entry.get("ETag") or _stamp(entry)))
            for name, entry in entries.items()
        }

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        ours = uuid.uuid4().bytes
        held = self.walk(name.rpartition("/")[0]).get(name)
        if held is not None and held.age_s > LEASE_S:
            self.remove(name)
        try:
            self._files.pipe_file(self._path(name), ours, mode="create")
        except FileExistsError:
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, ours, ended), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(OSError):
                if self.get(name) == ours:
                    self.remove(name)

    def _renew(self, name: str, ours: bytes, ended: threading.Event) -> None:
        while not ended.wait(LEASE_S / 4):
            with contextlib.suppress(OSError):  # the next turn repeats it
                self.put(name, ours)


def _stamp(entry: Any) -> float | None:
    """Return when a file of an fsspec listing was written, in seconds since 1970; `None` where the listing has no such time."""
    written = entry.get("LastModified") or entry.get("last_modified") or entry.get("created") or entry.get("mtime")
    if written is None:
        return None
    return float(written.timestamp() if hasattr(written, "timestamp") else written)


def _age_s(entry: Any, now: float) -> float:
    stamp = _stamp(entry)
    return 0.0 if stamp is None else now - stamp
