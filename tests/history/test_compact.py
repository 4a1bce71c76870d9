"""Merging files: every record is read once at any moment, and only what is not needed is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.archives import WEB, Place, add_file, event, places, rows
from worker.adapters.stored_files import files_at
from worker.history import compact as module
from worker.history.compact import compact
from worker.history.forget import LOCK, Busy
from worker.history.form import Facts, facts_of

DAY_MS = 86_400_000


def many(archive: Path) -> list[Place]:
    """Fill an archive with small files, some of which overlap, and return the places of its records."""
    records = [event(offset) for offset in range(100)]
    for first in range(0, 100, 10):
        add_file(archive, records[first : first + 10])
    for first, last in ((3, 8), (5, 25), (91, 99)):
        add_file(archive, records[first : last + 1])
    add_file(archive, [event(offset, partition=1) for offset in range(5)])
    add_file(archive, [event(offset, partition=1) for offset in range(5, 9)])
    return [*((WEB, 0, offset) for offset in range(100)), *((WEB, 1, offset) for offset in range(9))]


def facts(archive: Path) -> dict[str, Facts | None]:
    """Return the facts of each file."""
    from pyarrow import parquet

    return {path.name: facts_of(parquet.read_metadata(path).metadata) for path in archive.rglob("*.parquet")}


def test_small_files_become_one(tmp_path: Path) -> None:
    """Of each partition and date, with the facts of all of them."""
    wanted = many(tmp_path)
    before = {(row["partition"], row["offset"]): {**row, "file": ""} for row in rows(tmp_path)}
    done = compact(files_at(str(tmp_path)))
    assert (done.written, done.removed, done.files) == (2, 15, 2)
    assert places(tmp_path) == wanted
    assert {(row["partition"], row["offset"]): {**row, "file": ""} for row in rows(tmp_path)} == before
    assert len(rows(tmp_path)) == len(wanted)
    assert facts(tmp_path) == {"0-0-99.parquet": Facts("input", 0, 100), "1-0-8.parquet": Facts("input", 0, 9)}
    assert compact(files_at(str(tmp_path))).written == 0


def test_a_gap_stays_visible(tmp_path: Path) -> None:
    """Files on both sides of it are merged apart; offsets without a record are no gap."""
    add_file(tmp_path, [event(0)], to=5)
    add_file(tmp_path, [event(7)], from_=5)
    add_file(tmp_path, [event(20)], from_=15)
    add_file(tmp_path, [event(21)])
    compact(files_at(str(tmp_path)))
    assert facts(tmp_path) == {"0-0-7.parquet": Facts("input", 0, 8), "0-20-21.parquet": Facts("input", 15, 22)}


def test_dates_and_sizes_bound_a_merge(tmp_path: Path) -> None:
    """A merged file is made in memory."""
    for day in range(2):
        for offset in range(4):
            add_file(tmp_path, [event(day * 4 + offset, at_ms=event(0).timestamp_ms + day * DAY_MS)])  # type: ignore[operator]
    size = next(tmp_path.rglob("*.parquet")).stat().st_size
    compact(files_at(str(tmp_path)), most=int(size * 2.5))
    assert sorted(facts(tmp_path)) == ["0-0-1.parquet", "0-2-3.parquet", "0-4-5.parquet", "0-6-7.parquet"]
    assert places(tmp_path) == [(WEB, 0, offset) for offset in range(8)]


def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Die before each step that changes the folder, one step later each time."""
    files = type(files_at("."))
    put, remove, left = files.put, files.remove, [0]

    def counted(call: Any) -> Any:
        def step(*arguments: Any) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return call(*arguments)

        return step

    monkeypatch.setattr(files, "put", counted(put))
    monkeypatch.setattr(files, "remove", counted(remove))
    for count in range(30):
        left[0] = count
        yield


def test_a_crash_at_any_step_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers get every record once in between, and the next merge ends the work."""
    died = 0
    for number, _ in enumerate(steps(monkeypatch)):
        archive = tmp_path / str(number)
        with monkeypatch.context():
            wanted = many(archive)
        try:
            compact(files_at(str(archive)))
        except KeyboardInterrupt:
            died += 1
        assert places(archive) == wanted
        if number == 29:
            assert len(list(archive.rglob("*.parquet"))) == 2
    assert died == 17


def test_only_one_process_replaces_files(tmp_path: Path) -> None:
    """Erasing and merging at once could bring a person back."""
    many(tmp_path)
    files = files_at(str(tmp_path))
    with files.lock(LOCK) as ours:
        assert ours
        with pytest.raises(Busy):
            compact(files_at(str(tmp_path)))
    assert compact(files).written == 2


def test_a_merge_that_dies_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one may begin at once."""
    many(tmp_path)
    monkeypatch.setattr(module, "_merge", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        compact(files_at(str(tmp_path)))
    monkeypatch.undo()
    assert compact(files_at(str(tmp_path))).written == 2
