"""The program over a log in memory and a folder: each committed record is in the archive once, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.kit.archives import JSON, NOON_MS, WEB, Place, bytes_of, event, places, rows
from tests.kit.waits import HANG_S
from worker.adapters.memory_log import MemoryLog, MemoryReader
from worker.adapters.stored_files import files_at
from worker.core.contract.model import Output
from worker.errors import WorkerMustStop
from worker.history.forget import forget
from worker.history.form import Role, facts_of
from worker.history.metrics import ArchiveMetrics
from worker.history.program import Limits, Program
from worker.history.store import ArchiveStore
from worker.history.writing import parquet_of
from worker.ports import LogPartition
from worker.settings import Settings

OUT = "lead.sql"
ROLES: dict[str, Role] = {WEB: "input", OUT: "output", "leadpulse.default.internal": "journal", "lead.erased": "output"}
OFTEN = Limits(rows=40, bytes=10**9, seconds=0.05, memory=10**9)
NEVER = Limits(rows=10**9, bytes=10**9, seconds=10**9, memory=10**9)


class Fixture:
    """A log, an archive, and the processes that write it."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.log = MemoryLog(Settings.load({"LEADPULSE_PARTITIONS": "2"}), lambda: NOON_MS)
        self.metrics = ArchiveMetrics(CollectorRegistry())

    def send(self, count: int, topic: str = WEB, partition: int = 0, lead: str = "l-1", **envelope: Any) -> None:
        """Add events to a partition."""
        for _ in range(count):
            made = event(self.log._log(LogPartition(topic, partition)).end, lead, **envelope)
            self.log.append(topic, partition, made.value, lead.encode(), JSON)

    @contextlib.asynccontextmanager
    async def running(self, limits: Limits = OFTEN) -> AsyncIterator[Program]:
        """Run a process, which is killed at the end of the block."""
        program = self.program(limits)
        task = asyncio.create_task(program.run())
        try:
            yield program
            if task.done():
                task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def program(self, limits: Limits = OFTEN) -> Program:
        """Return a process that does not run yet."""
        return Program(MemoryReader(self.log), ArchiveStore(files_at(str(self.archive))), ROLES, limits, self.metrics)

    @property
    def wanted(self) -> list[Place]:
        """The places of all committed records."""
        return sorted((one.topic, one.partition, one.offset) for topic in ROLES for one in self.log.committed_records(topic))

    @property
    def archived(self) -> list[Place]:
        """The places of all archived records, as readers get them."""
        return places(self.archive)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until *holds* is true."""
        async with asyncio.timeout(HANG_S):
            while not holds():  # noqa: ASYNC110 (most of it are files)
                await asyncio.sleep(0.01)

    async def all_archived(self) -> None:
        """Wait until every committed record is archived."""
        await self.until(lambda: self.archived == self.wanted)


@pytest.fixture
async def world(tmp_path: Path) -> Fixture:
    """Two partitions of each topic, and no archive yet."""
    return Fixture(tmp_path / "archive")


async def transaction(log: MemoryLog, values: list[bytes], *, commit: bool = True) -> None:
    """Write outputs in a transaction, which takes one more offset at its end."""
    producer = log.producer(0)
    await producer.start()
    outputs = [Output(OUT, b"l-1", value, JSON, 0) for value in values]

    def dies(step: str) -> None:
        if not commit and step == "before_commit":
            raise RuntimeError("the producer died")

    with contextlib.suppress(RuntimeError):
        await producer.send(outputs, {}, 1, dies)
    await producer.start()  # aborts what is open


async def test_every_committed_record_is_archived_once(world: Fixture) -> None:
    """Inputs, outputs and journal, in files that name their first and last record."""
    world.send(100)
    world.send(30, partition=1)
    world.send(5, "leadpulse.default.internal")
    async with world.running():
        await world.all_archived()
        world.send(50)
        await world.all_archived()
    found = rows(world.archive)
    assert len(found) == 185  # no file overlaps another
    for row in found:
        _, first, last = map(int, row["file"].rpartition("/")[2].removesuffix(".parquet").split("-"))
        assert first <= row["offset"] <= last
    ends = {(row["file"], edge) for row in found for edge in row["file"].rpartition("/")[2][:-8].split("-")[1:]}
    assert {(row["file"], str(row["offset"])) for row in found} >= ends


async def test_a_process_goes_on_where_the_folder_ends(world: Fixture) -> None:
    """What one had read and not written is read again."""
    world.send(90)
    async with world.running(Limits(30, 10**9, 10**9, 10**9)):
        await world.until(lambda: len(world.archived) >= 30)
        world.send(10)
    for _ in range(3):
        world.send(7)
        async with world.running():
            await world.all_archived()
    assert len(rows(world.archive)) == 121


async def test_markers_and_aborted_records_are_no_gap(world: Fixture) -> None:
    """The facts of a file have the whole range that was read."""
    from pyarrow import parquet

    for batch in range(4):
        await transaction(world.log, [event(n).value or b"" for n in range(batch * 3, batch * 3 + 3)], commit=batch != 1)
        async with world.running():
            await world.all_archived()
    assert [place[2] for place in world.archived if place[0] == OUT] == [0, 1, 2, 8, 9, 10, 12, 13, 14]
    facts = [facts_of(parquet.read_metadata(path).metadata) for path in sorted(world.archive.glob(f"topic={OUT}/*/*.parquet"))]
    ranges = sorted((one.from_, one.to) for one in facts if one is not None)
    assert ranges[0][0] == 0
    assert all(before[1] >= after[0] for before, after in pairwise(ranges))


async def stopped_with(world: Fixture, count: int) -> Program:
    """Return a process that hangs once it has read *count* records and written none."""
    async with world.running(NEVER) as program:
        await world.until(lambda: sum(one.rows for one in program._buffers.values()) == count)
    return program


async def test_two_processes_that_both_own_a_partition_yield_no_double(world: Fixture) -> None:
    """As after a long stop. The first that writes is right, and the other begins after it."""
    world.send(60)
    stopped = await stopped_with(world, 60)
    world.send(15)
    async with world.running():
        await world.all_archived()
    await stopped.drain()
    assert world.metrics.yielded._value.get() == 1
    assert len(rows(world.archive)) == 75


async def test_a_partition_that_is_dropped_during_a_fetch_begins_again(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process wrote may be found while records come in."""
    world.send(60)
    async with world.running(NEVER) as program:
        await world.until(lambda: sum(one.rows for one in program._buffers.values()) == 60)
        read, group = program._group.fetch, program._group

        async def dropped_meanwhile(*arguments: Any) -> Any:
            found = await read(*arguments)
            program._drop([LogPartition(WEB, 0)])
            monkeypatch.undo()
            return found

        monkeypatch.setattr(group, "fetch", dropped_meanwhile)
        world.send(15)
        await world.until(lambda: "fetch" not in vars(group) and sum(one.rows for one in program._buffers.values()) == 75)


async def test_a_double_that_is_written_in_the_same_moment_is_read_once(
    world: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both looked before either wrote."""
    monkeypatch.setattr(ArchiveStore, "overtaken", lambda *_: False)
    world.send(60)
    stopped = await stopped_with(world, 60)
    world.send(15)
    async with world.running():
        await world.all_archived()
    await stopped.drain()
    assert len(rows(world.archive)) > 75
    assert world.archived == world.wanted


async def test_storage_that_fails_is_tried_again(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and `/readyz` shows it meanwhile."""
    import worker.history.program as module

    write, failing = ArchiveStore.write, [True]

    def sometimes(self: ArchiveStore, buffer: Any) -> Any:
        if failing:
            raise OSError("no space")
        return write(self, buffer)

    monkeypatch.setattr(ArchiveStore, "write", sometimes)
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    world.send(60)
    async with world.running() as program:
        await world.until(lambda: world.metrics.failures._value.get() > 2)
        assert not program.ready
        assert program.status()["failing"] == ["OSError"]
        failing.clear()
        await world.all_archived()
        await world.until(lambda: program.ready)


async def test_reading_pauses_where_too_much_waits(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded while the storage takes nothing."""
    import worker.history.program as module

    monkeypatch.setattr(module, "_MOST", 10)
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    monkeypatch.setattr(ArchiveStore, "write", lambda *_: 1 // 0)
    world.send(2_000)
    async with world.running(Limits(10**9, 10**9, 10**9, 20_000)) as program:
        await world.until(lambda: world.metrics.failures._value.get() > 5)
        assert program._bytes() < 40_000
        monkeypatch.undo()
        await world.all_archived()


async def test_draining_writes_what_was_read(world: Fixture) -> None:
    """On SIGTERM."""
    world.send(60)
    async with world.running(NEVER) as program:
        await world.until(lambda: sum(one.rows for one in program._buffers.values()) == 60)
        await program.drain()
        world.send(5)
        assert len(world.archived) == 60
        assert not program.ready


@pytest.mark.parametrize(("limits", "files"), [(Limits(20, 10**9, 10**9, 10**9), 2), (Limits(10**9, 6_000, 10**9, 10**9), 2)])
async def test_files_are_written_by_rows_and_by_bytes(
    world: Fixture, limits: Limits, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first."""
    import worker.history.program as module

    monkeypatch.setattr(module, "_MOST", 20)
    world.send(60)
    async with world.running(limits):
        await world.until(lambda: len(list(world.archive.rglob("*.parquet"))) >= files)


async def test_records_that_retention_took_are_a_reported_gap(world: Fixture) -> None:
    """The process goes on after them."""
    world.send(40)
    async with world.running():
        await world.all_archived()
    world.send(40)
    world.log.truncate(LogPartition(WEB, 0), 70)
    async with world.running():
        await world.until(lambda: (WEB, 0, 79) in world.archived)
    assert world.metrics.lost._value.get() == 30
    assert [place[2] for place in world.archived] == [*range(40), *range(70, 80)]


async def test_records_that_retention_takes_while_they_are_read_are_reported_too(world: Fixture) -> None:
    """The offsets are gone in the middle of a fetch."""
    world.send(40)
    async with world.running() as program:
        await world.all_archived()
        reader = program._group
        world.send(1)
        world.log.truncate(LogPartition(WEB, 0), 41)
        reader.seek(LogPartition(WEB, 0), 40)
        world.send(3)
        await world.until(lambda: (WEB, 0, 43) in world.archived)


async def test_a_topic_that_was_created_anew_is_refused(world: Fixture) -> None:
    """Its offsets mean other records."""
    world.send(40)
    async with world.running():
        await world.all_archived()
    world.log.create(WEB)
    world.send(3)
    with pytest.raises(WorkerMustStop, match=r"lead\.events\.web\[0\] ends at offset 3"):
        await asyncio.wait_for(world.program().run(), HANG_S)


async def test_files_that_a_dead_process_left_are_removed(world: Fixture) -> None:
    """Once they are old; a young one may be at work."""
    import os

    folder = world.archive / f"topic={WEB}" / "date=2026-03-05"
    folder.mkdir(parents=True)
    for name, age_s in ((".0-0-9.parquet.1.part", 3_600), (".0-0-9.parquet.2.part", 0)):
        (folder / name).write_bytes(b"half")
        stamp = (folder / name).stat().st_mtime - age_s
        os.utime(folder / name, (stamp, stamp))
    world.send(3)
    async with world.running():
        await world.all_archived()
    assert [path.name for path in folder.glob(".*")] == [".0-0-9.parquet.2.part"]


# --- erased persons ----------------------------------------------------------------------------------------------------


async def test_an_erased_person_is_in_no_file(world: Fixture) -> None:
    """Neither in what was archived before, nor in what comes with it or later."""
    world.send(20, lead="anna-0815", data={"email": "anna@example.com"})
    world.send(20, partition=1, lead="other-1")
    async with world.running():
        await world.all_archived()
        assert b"anna-0815" in bytes_of(world.archive)
        at = "2026-03-06T00:00:00Z"
        world.send(3, lead="anna-0815", time="2026-03-05T23:00:00Z")
        world.send(1, lead="anna-0815", type="lead.erased", time=at)
        await world.all_archived()
        files = files_at(str(world.archive))
        done = await asyncio.to_thread(lambda: forget(files, ArchiveStore(files).erasures))
        assert done is not None
        assert done.ids == 1
        world.send(2, "lead.erased", lead="anna-0815", type="lead.erased", time=at, source="/leadpulse/default")
        world.send(3, partition=1, lead="anna-0815", time="2026-03-05T20:00:00Z")
        await world.all_archived()
    held = bytes_of(world.archive)
    assert b"anna" not in held
    assert b"other-1" in held
    assert [one.value for one in world.log.committed_records(WEB) if b"other" in (one.value or b"")]


async def test_a_crash_after_the_erasure_was_read_loses_it_not(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noted before its record is archived."""
    world.send(20, lead="anna-0815")
    async with world.running():
        await world.all_archived()
    world.send(1, lead="anna-0815", type="lead.erased", time="2026-03-06T00:00:00Z")
    monkeypatch.setattr(ArchiveStore, "overtaken", lambda *_: False)
    monkeypatch.setattr("worker.history.store.parquet_of", lambda *_: 1 // 0)
    async with world.running():
        await world.until(lambda: world.metrics.failures._value.get() > 0)
    files = files_at(str(world.archive))
    store = ArchiveStore(files)
    store.erasures.look()
    assert [one.id for one in store.erasures.pending] == ["anna-0815"]
    assert forget(files, store.erasures)
    assert b"anna" not in bytes_of(world.archive)
    receipt = json.loads(next((world.archive / "erasures").iterdir()).read_text())
    assert receipt.keys() == {"mark", "at_ms", "done_ms", "files", "records"}


async def test_a_person_who_comes_back_is_archived_again(world: Fixture) -> None:
    """Only records up to the erasure are erased."""
    world.send(1, lead="anna-0815", type="lead.erased", time="2026-03-05T12:00:00Z")
    world.send(2, lead="anna-0815", time="2026-03-05T11:59:59Z")
    world.send(2, lead="anna-0815", time="2026-03-05T12:00:01Z")
    async with world.running():
        await world.all_archived()
    assert [row["subject"] for row in rows(world.archive)] == [None, None, None, "anna-0815", "anna-0815"]


async def test_a_file_that_comes_while_a_pass_ends_is_looked_at_again(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer knew the erasure only after its file was there."""
    made, files = parquet_of, files_at(str(world.archive))
    other = ArchiveStore(files).erasures

    def while_it_is_written(*arguments: Any) -> bytes:
        if not other.count:
            other.ask("anna-0815", NOON_MS + 10**9)
            assert forget(files, other)
        return made(*arguments)

    monkeypatch.setattr("worker.history.store.parquet_of", while_it_is_written)
    world.send(5, lead="anna-0815")
    async with world.running():
        await world.all_archived()
        await world.until(lambda: other.look() and other.pending)
    assert forget(files, other)
    assert b"anna" not in bytes_of(world.archive)


async def test_a_file_whose_writer_died_then_is_looked_at_by_the_next(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts of a file have how many erasures its writer knew."""
    world.send(5, lead="anna-0815")
    files = files_at(str(world.archive))
    other = ArchiveStore(files).erasures
    other.ask("anna-0815", NOON_MS + 10**9)
    assert forget(files, other)
    with monkeypatch.context() as patch:
        patch.setattr("worker.history.erasures.Erasures.look", lambda _: 0)
        async with world.running():
            await world.all_archived()
    assert b"anna" in bytes_of(world.archive)
    async with world.running():
        await world.until(lambda: other.look() and other.pending)
    assert forget(files, other)
    assert b"anna" not in bytes_of(world.archive)
