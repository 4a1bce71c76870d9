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

from tests.waits import HANG_S
from worker.core.scoring.compiled_grid import Scorer
from worker.engine import grid_file
from worker.engine.grid_file import GridFile, load_scorer
from worker.metrics import Metrics
from worker.settings import Settings

ONE = "grid: g\nversion: 1\nengagement: {rules: [{id: page, points: 1, on: page.viewed}]}\n"
TWO = ONE.replace("version: 1", "version: 2").replace("points: 1", "points: 2")
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
    grid = GridFile(settings, load_scorer(settings), metrics)
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
        now, found = grid.scorer.grid.version, grid.refused
        if now == version and (found == refused or (found and refused and refused in found)):
            return
        assert time.monotonic() < deadline, f"version {now}, refused: {found}"
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
        before = grid.scorer
        write(file, TWO)
        await until(grid, 2, None)
        named = [sample.labels for metric in metrics.grid.collect() for sample in metric.samples]
        assert named == [{"name": "g", "version": "2", "sha256": grid.scorer.grid.sha256}]
        taken = grid.scorer
        assert taken is not before
        await asyncio.sleep(5 * LOOK_S)
        assert grid.scorer is taken, "a file that stays as it is changes nothing"


async def test_mistakes_are_refused_until_they_are_mended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its line; also a file that is gone, and one put back as it was."""
    async with watched(file, monkeypatch) as (grid, metrics):
        refused = metrics.grid_refused._value
        for text, words in (
            (TWO.replace("points: 2", "points: two"), "points"),
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
            assert grid.scorer.grid.source == ONE.encode()
        write(file, long)
        await until(grid, 2, None)
        assert grid.scorer.grid.source == long.encode()


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

        def broken(*_: object) -> Scorer:
            raise RuntimeError("what nobody foresaw")

        with monkeypatch.context() as inner:
            inner.setattr(grid_file, "_parse", broken)
            write(file, TWO)
            await until(grid, 1, "what nobody foresaw")
        grid.look()
        await until(grid, 2, None)
