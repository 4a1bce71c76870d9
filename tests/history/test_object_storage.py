"""An archive in object storage, on a server that speaks S3: written, read, merged, erased and locked as in a folder."""

from __future__ import annotations

import threading

import pytest

from tests.kit.archives import NOON_MS, WEB, event
from tests.kit.object_storage import bucket, s3_server
from worker.adapters import stored_files
from worker.adapters.stored_files import files_at
from worker.core.contract.model import Record
from worker.history.buffer import Buffer
from worker.history.compact import compact
from worker.history.forget import Busy, forget
from worker.history.form import Source
from worker.history.records import open_history
from worker.history.store import ArchiveStore

__all__ = ["bucket", "s3_server"]


def buffered(records: list[Record]) -> Buffer:
    """Return a buffer of *records* of partition 0."""
    held = Buffer(Source(WEB, 0), "input", records[0].offset, 0.0)
    held.take(records, records[-1].offset + 1, 0.0)
    return held


def test_a_bucket_holds_an_archive_as_a_folder_does(bucket: str) -> None:
    """Overlaps, the place to go on, merging, erasing, reading."""
    store = ArchiveStore(files_at(bucket, "archive"))
    source = Source(WEB, 0)
    assert store.standing([source]) == {}
    records = [event(offset, "anna-0815" if offset % 7 == 0 else "ben-4711") for offset in range(40)]
    for first, last in ((0, 20), (10, 30), (31, 40)):
        store.write(buffered(records[first:last]))
    assert store.standing([source]) == {source: 40}
    assert store.overtaken(buffered(records[35:]))
    assert not store.overtaken(buffered([event(40)]))
    history = open_history(bucket)
    assert [one.offset for one in history.events()] == [*range(30), *range(31, 40)]
    assert [one.offset for one in history.events(subjects=["anna-0815"])] == [0, 7, 14, 21, 28, 35]
    assert compact(store.files).files == 2
    assert [one.offset for one in history.events()] == [*range(30), *range(31, 40)]
    store.erasures.ask("anna-0815", NOON_MS + 10**9)
    done = forget(store.files, store.erasures)
    assert done is not None
    assert (done.files, done.records) == (2, 6)
    assert {one.subject for one in history.events()} == {"ben-4711"}
    assert not any(b"anna" in store.files.get(name) for name in store.files.walk() if name.endswith(".json"))


def test_only_one_process_replaces_files(bucket: str) -> None:
    """The lock is an object that only one process can create."""
    store = ArchiveStore(files_at(bucket, "archive"))
    store.write(buffered([event(0)]))
    with store.files.lock("lock") as ours, files_at(bucket, "archive").lock("lock") as others:
        assert (ours, others) == (True, False)
        with pytest.raises(Busy):
            compact(store.files)
    assert compact(store.files).files == 1
    assert "lock" not in store.files.walk()


def test_a_lease_ends_after_its_process(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is renewed while the process lives, and free some time later."""
    files = files_at(bucket, "archive")
    files.put("lock", b"of a process that died")
    with files.lock("lock") as ours:
        assert not ours
    monkeypatch.setattr(stored_files, "LEASE_S", 1.5)
    taken = threading.Event()
    while not taken.wait(0.2):
        with files.lock("lock") as ours:
            if ours:
                taken.set()
    with files.lock("lock") as ours:
        assert ours
        age_s = max(files.walk()["lock"].age_s for _ in range(40) if not taken.wait(0) or not threading.Event().wait(0.1))
        assert age_s < 3


def test_json_lines_are_read_from_there(bucket: str) -> None:
    """Of an address, as of a file."""
    files_at(bucket, "archive").put("events.jsonl", b"\n".join(one.value or b"" for one in (event(0), event(1))))
    assert [one.offset for one in open_history(f"{bucket}/events.jsonl").events()] == [1, 2]
