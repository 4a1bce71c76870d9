"""The grid's file, changed in every way that people change files, while somebody judges by it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.kit.grids import changed, parsed
from tests.kit.models import a_model, as_file
from tests.kit.waits import HANG_S
from worker.adapters.memory import MemoryOrder
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry, unpacked
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine import grid_file, grid_order
from worker.engine.grid_file import GridFile, load_grid
from worker.engine.grid_order import put_in_force
from worker.metrics import Metrics
from worker.settings import Settings

ONE = "grid: g\nversion: 1\nengagement: {rules: [{id: page, points: 1, on: page.viewed}]}\n"
TWO = changed(ONE, {"version": 2, "engagement.rules.page.points": 2})
LOOK_S = 0.05


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The grid's file, which holds version 1."""
    path = tmp_path / "grid.yaml"
    path.write_text(ONE)
    return path


@asynccontextmanager
async def watched(
    file: Path, monkeypatch: pytest.MonkeyPatch, look_s: float = LOOK_S
) -> AsyncIterator[tuple[GridFile, Metrics]]:
    """Watch *file*, with a look every *look_s*."""
    monkeypatch.setattr(grid_file, "LOOK_S", look_s)
    settings = Settings.load({}, grid=str(file))
    metrics = Metrics(CollectorRegistry())
    grid = GridFile(settings, load_grid(settings), metrics)
    watching = asyncio.create_task(grid.watch())
    yield grid, metrics
    assert not watching.done()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def until(grid: GridFile, version: int, refused: str | None) -> None:
    """Wait until *version* is in force and the file is refused with the words *refused* (`None`: not refused)."""
    deadline = time.monotonic() + HANG_S
    while True:
        now, found = grid.compiled.grid.version, grid.refused
        if now == version and (found == refused or (found and refused and refused in found)):
            return
        assert time.monotonic() < deadline, f"version {now}, refused: {found}"
        await asyncio.sleep(0.01)


async def until_it_holds(grid: GridFile, text: bytes) -> None:
    """Wait until the grid in force has *text* in it."""
    deadline = time.monotonic() + HANG_S
    while True:
        if text in grid.compiled.grid.source:
            return
        assert time.monotonic() < deadline, grid.refused
        await asyncio.sleep(0.01)


def write(file: Path, text: str | bytes) -> None:
    """Write the grid's file, as an editor does."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def remove(file: Path) -> None:
    """Remove the grid's file."""
    file.unlink()


async def test_a_changed_file_is_taken_by_itself(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the metrics name the grid that judges."""
    async with watched(file, monkeypatch) as (grid, metrics):
        before = grid.compiled
        write(file, TWO)
        await until(grid, 2, None)
        named = [sample.labels for metric in metrics.grid.collect() for sample in metric.samples]
        assert named == [{"name": "g", "version": "2", "sha256": grid.compiled.grid.sha256}]
        taken = grid.compiled
        assert taken is not before
        await asyncio.sleep(5 * LOOK_S)
        assert grid.compiled is taken, "a file that stays as it is changes nothing"


async def test_mistakes_are_refused_until_they_are_mended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its line; also a file that is gone, and one put back as it was."""
    async with watched(file, monkeypatch) as (grid, metrics):
        refused = metrics.grid_refused._value
        for text, words in (
            (changed(TWO, {"engagement.rules.page.points": "two"}), "points"),
            ("", "grid"),
            ("a: [", ":1:"),
            (b"\xff", "UTF-8"),
        ):
            write(file, text)
            await until(grid, 1, words)
            assert refused.get() == 1
        remove(file)
        await until(grid, 1, "No such file")
        write(file, text)
        await until(grid, 1, words)
        write(file, ONE)
        await until(grid, 1, None)
        assert refused.get() == 0
        write(file, TWO)
        await until(grid, 2, None)


async def test_a_half_written_file_is_not_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may well parse: it is taken once two looks find the same."""
    long = TWO + "".join(f"# {n}\n" for n in range(20))
    async with watched(file, monkeypatch) as (grid, _):
        for cut in range(len(TWO), len(long), 4):
            write(file, long[:cut])
            await asyncio.sleep(LOOK_S / 2)
            assert grid.compiled.grid.source == ONE.encode()
        write(file, long)
        await until(grid, 2, None)
        assert grid.compiled.grid.source == long.encode()


async def test_a_model_beside_the_grid_is_watched_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new model is a new grid. A model that is half written, gone or for another counting leaves the grid in force."""
    asks = f"{TWO}prediction: {{file: model.json}}\n"
    beside = file.with_name("model.json")
    async with watched(file, monkeypatch) as (grid, _):
        write(file, asks)
        await until(grid, 1, "No such file")
        write(beside, "{")
        await until(grid, 1, "model.json:1: not JSON")
        write(beside, as_file(a_model(parsed(TWO), {"page": [1, 0]})))
        await until(grid, 2, None)
        await until_it_holds(grid, b'"page":[1,0]')
        write(beside, as_file(a_model(parsed(TWO), {"page": [2, 0]})))
        await until_it_holds(grid, b'"page":[2,0]')
        write(beside, as_file(a_model(parsed(TWO), {"page": [2, 0]}, counted="0" * 64, parts={})))
        await until(grid, 2, "counts otherwise")
        remove(beside)
        await until(grid, 2, "No such file")


async def test_who_asks_is_answered_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal says that the file is written: neither a second look nor the next one is waited for."""
    async with watched(file, monkeypatch, look_s=3600) as (grid, _):
        write(file, TWO)
        grid.look()
        await until(grid, 2, None)
        write(file, "grid: [")
        grid.look()
        await until(grid, 2, "mistakes")
        write(file, ONE)
        grid.look()
        await until(grid, 1, None)


async def test_an_error_that_nobody_foresaw_stops_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go on being scored by the grid before it."""
    async with watched(file, monkeypatch) as (grid, _):

        def broken(*_: object) -> CompiledGrid:
            raise RuntimeError("what nobody foresaw")

        with monkeypatch.context() as inner:
            inner.setattr(grid_file, "_parse", broken)
            write(file, TWO)
            await until(grid, 1, "what nobody foresaw")
        grid.look()
        await until(grid, 2, None)


THREE = changed(TWO, {"engagement.rules.page.points": 3})
"""Another grid of the same version as `TWO`."""


def worker_with(path: Path, text: str, order: MemoryOrder) -> GridFile:
    """Return the grid of a worker whose file holds *text*."""
    path.write_text(text)
    settings = Settings.load({}, grid=str(path))
    return GridFile(settings, load_grid(settings), Metrics(CollectorRegistry()), order)


def in_force(grid: GridFile) -> str:
    """Return the text by which the worker judges."""
    assert grid.entry.sha256 == grid.compiled.grid.sha256
    return grid.compiled.grid.source.decode()


async def test_workers_with_two_files_judge_by_one_grid(tmp_path: Path) -> None:
    """The one that came last; the other's file is refused, whichever looks how often."""
    order = MemoryOrder()
    one, two = worker_with(tmp_path / "one", ONE, order), worker_with(tmp_path / "two", TWO, order)
    await one.settle([], None)
    await two.settle([], None)
    for _ in range(3):
        for worker in (one, two):
            await worker.begin()
            assert in_force(two) == TWO
    assert in_force(one) == TWO
    assert one.refused is not None
    assert "its version 1 is lower than 2" in one.refused
    assert one._metrics.grid_refused._value.get() == 1
    assert two.refused is None


async def test_edited_labels_are_stored_without_another_entry(tmp_path: Path) -> None:
    """Readers show them, and no partition begins anything: the hash of the grid in force is the same."""
    order = MemoryOrder()
    worker = worker_with(tmp_path / "one", TWO, order)
    await worker.settle([], None)
    held, entry = await order.order(), worker.entry
    for label in ("Looked", "Looked around"):
        labelled = changed(TWO, {"engagement.rules.page.label": label})
        (tmp_path / "one").write_text(labelled)
        await worker._look(whole=True)
        await worker.begin()
        assert in_force(worker) == labelled
        assert (await order.text(), await order.order(), worker.entry) == (labelled.encode(), held, entry)
    other = worker_with(tmp_path / "two", THREE, order)
    await other.begin()
    await worker.begin()
    assert await order.text() == THREE.encode(), "labels of a grid that is no longer in force change nothing"


async def test_an_edited_file_follows_without_another_version_but_not_back(tmp_path: Path) -> None:
    """People edit and forget the version; what was in force before comes back by `force` alone."""
    order = MemoryOrder()
    one, two = worker_with(tmp_path / "one", TWO, order), worker_with(tmp_path / "two", THREE, order)
    await one.settle([], None)
    await two.settle([], None)
    await one.begin()
    assert in_force(one) == in_force(two) == THREE
    assert "it was in force before" in (one.refused or "")
    await put_in_force(order, one._own.grid)
    for _ in range(2):
        await one.begin()
        await two.begin()
    assert in_force(one) == in_force(two) == TWO
    assert one.refused is None
    assert "it was in force before" in (two.refused or "")


async def test_a_file_that_is_put_right_is_refused_no_longer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a mistake in it is told before what it would be refused for."""
    order = MemoryOrder()
    monkeypatch.setattr(grid_file, "LOOK_S", LOOK_S)
    other = worker_with(file.with_name("other"), TWO, order)
    grid = worker_with(file, ONE, order)
    await grid.settle([], None)
    await other.settle([], None)
    watching = asyncio.create_task(grid.watch())
    await until(grid, 2, "is lower than 2")
    write(file, "grid: [")
    await until(grid, 2, "mistakes")
    write(file, TWO)
    await until(grid, 2, None)
    write(file, changed(TWO, {"version": 4}))
    await until(grid, 4, None)
    await other.begin()
    assert other.compiled.grid.version == 4
    watching.cancel()


async def test_an_order_that_was_lost_comes_back_from_what_partitions_went_through(tmp_path: Path) -> None:
    """A worker whose file is old puts nothing into an empty order before a partition has told of its past."""
    order = MemoryOrder()
    one = worker_with(tmp_path / "one", ONE, order)
    await one.begin()
    assert await order.order() is None
    past = [Entry(1, 1, one._own.grid.sha256, TABLES_VERSION), Entry(2, 2, parse_grid(TWO, "two").sha256, TABLES_VERSION)]
    await one.settle(past, TWO.encode())
    assert in_force(one) == TWO
    assert "its version 1 is lower" in (one.refused or "")
    assert unpacked(await order.order()) == tuple(past)


async def test_a_grid_whose_text_is_lost_holds_nobody_up(tmp_path: Path) -> None:
    """A partition names it, and neither the order nor the store has it: the worker's own grid follows."""
    order = MemoryOrder()
    one = worker_with(tmp_path / "one", TWO, order)
    await one.settle([Entry(1, 1, "of a grid", TABLES_VERSION), Entry(2, 2, "of another", TABLES_VERSION)], None)
    assert in_force(one) == TWO
    assert one.refused is None


async def test_a_worker_with_older_tables_goes_on_and_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a rolling upgrade; once all have the newer ones, none does."""
    order = MemoryOrder()
    with monkeypatch.context() as newer:
        newer.setattr(grid_order, "TABLES_VERSION", "newer")
        old = worker_with(file, ONE, order)
        await old.settle([Entry(1, 1, old._own.grid.sha256, TABLES_VERSION)], None)
    await old.begin()
    assert old.superseded
    assert old._metrics.tables_superseded._value.get() == 1
    assert (old.entry.tables, old.refused) == ("newer", None)
    await put_in_force(order, old._own.grid)
    await old.begin()
    assert old._metrics.tables_superseded._value.get() == 0
