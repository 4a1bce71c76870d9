"""Checking an archive: each fault is found, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.kit.archives import WEB, add_file, event, tick
from worker.adapters.stored_files import files_at
from worker.cli import cli
from worker.core.contract.model import Record
from worker.history.check import Checking
from worker.history.erasures import Erasures


def run(archive: Path) -> tuple[int, dict[str, Any]]:
    """Run the command without Kafka."""
    done = CliRunner().invoke(cli, ["archive", "check", "--to", str(archive), "--no-kafka", "--json"])
    return done.exit_code, json.loads(done.stdout)


def kinds(report: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return each finding in short."""
    return [(one["kind"], one["first"], one["last"]) for one in report["findings"]]


def test_a_sound_archive_has_no_finding(tmp_path: Path) -> None:
    """Holes of markers, overlaps and several partitions are sound."""
    add_file(tmp_path, [event(0), event(3)], to=5)
    add_file(tmp_path, [event(6), event(7)], from_=5)
    add_file(tmp_path, [event(6)], from_=5)
    add_file(tmp_path, [event(4, partition=1)], from_=2)
    code, report = run(tmp_path)
    assert (code, report["findings"]) == (0, [])
    assert [(one["partition"], one["records"], one["files"], one["overlapping"]) for one in report["partitions"]] == [
        (0, 4, 3, 1),
        (1, 1, 1, 0),
    ]
    assert [(one["first"], one["to"]) for one in report["partitions"]] == [(0, 8), (2, 5)]


def test_gaps_doubles_and_damages_are_found(tmp_path: Path) -> None:
    """Each by its place."""
    add_file(tmp_path, [event(0), event(1)])
    add_file(tmp_path, [event(5)], from_=4)
    add_file(tmp_path, [event(6), event(6), event(7)])
    damaged = add_file(tmp_path, [event(8)])
    damaged.write_bytes(damaged.read_bytes()[:100])
    code, report = run(tmp_path)
    assert code == 1
    assert sorted(kinds(report)) == [("damaged", 8, 8), ("double", 6, 6), ("gap", 2, 3)]
    assert all(WEB in one["detail"] for one in report["findings"])


def test_an_erasure_that_waits_is_found(tmp_path: Path) -> None:
    """Until a pass has done it."""
    add_file(tmp_path, [event(0)])
    Erasures(files_at(str(tmp_path))).ask("l-1", 10**13)
    assert kinds(run(tmp_path)[1]) == [("erasure", 0, 0)]


async def compared(archive: Path, kafka: list[Record], start: int) -> list[tuple[str, int, int]]:
    """Return the findings of a comparison with a log that begins at *start*."""

    async def records() -> AsyncIterator[Record]:
        for one in kafka:
            yield one

    checking = Checking(str(archive), files_at(str(archive)))
    for checked, held in checking.partitions():
        await checking.against(checked, checking.offsets(checked, held), records(), start)
    return [(one.kind, one.first, one.last) for one in checking.findings]


async def test_records_are_compared_with_those_of_kafka(tmp_path: Path) -> None:
    """In the range that both have."""
    add_file(tmp_path, [event(offset) for offset in (2, 3, 5, 6, 9)], from_=2, to=12)
    assert await compared(tmp_path, [event(offset) for offset in (0, 2, 3, 5, 6, 9)], 0) == []
    assert await compared(tmp_path, [event(offset) for offset in (6, 9)], 4) == [("extra", 5, 5)]
    assert await compared(tmp_path, [event(offset) for offset in (6, 9)], 6) == []
    found = await compared(tmp_path, [event(offset) for offset in (2, 3, 4, 5, 6, 7, 8, 11)], 0)
    assert found == [("missing", 4, 8), ("extra", 9, 9), ("missing", 11, 11)]


def test_the_words_name_each_partition(tmp_path: Path) -> None:
    """For people."""
    add_file(tmp_path, [event(0)])
    add_file(tmp_path, [tick(0, 1, 10**12)], "journal")
    done = CliRunner().invoke(cli, ["archive", "check", "--to", str(tmp_path), "--no-kafka"])
    assert done.stdout.splitlines() == [
        f"{WEB}[0]: 1 records in 1 files",
        "leadpulse.default.internal[1]: 1 records in 1 files",
    ]


def test_files_that_go_meanwhile_end_a_check_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge removes the sources of what it wrote."""
    path = add_file(tmp_path, [event(0)])
    rows = Checking._rows

    def gone(self: Checking, *arguments: Any) -> Any:
        path.unlink()
        return rows(self, *arguments)

    monkeypatch.setattr(Checking, "_rows", gone)
    done = CliRunner().invoke(cli, ["archive", "check", "--to", str(tmp_path), "--no-kafka"])
    assert done.exit_code == 1
    assert "check again" in done.stderr


@pytest.mark.parametrize("command", ["check", "compact"])
def test_a_place_that_is_not_there_is_refused(command: str, tmp_path: Path) -> None:
    """With the command that makes it."""
    done = CliRunner().invoke(cli, ["archive", command, "--to", str(tmp_path / "no")])
    assert done.exit_code == 1
    assert "leadpulse archive run --to" in done.stderr
    assert CliRunner().invoke(cli, ["archive", command], env={"LEADPULSE_ARCHIVE_TO": ""}).exit_code == 2
