"""The monthly loop, every program a process: traffic, worker, archive, table, fit, comparison, a better grid in force."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.kit.online import ready, taken
from tests.kit.online import site as site
from tests.kit.online import topics as topics
from tests.kit.poor_grid import poor_grid
from tests.kit.services import adjacent_ports
from tests.kit.shell import Running, leadpulse
from tests.kit.waits import HANG_S
from worker.history.records import open_history

LEADS = int(os.environ.get("LEADPULSE_LOOP_LEADS", "1000"))
"""Of the first traffic. Set it, and `-s`, for the figures in docs/learning.md."""
DAYS, START, THEN = 150, "2026-01-05", "2026-06-04"
CAPACITY = f"{LEADS // 100}/week"
PROGRAM = ["-m", "worker.cli"]


class Loop:
    """A namespace with its worker and its archive, and the files of one month."""

    worker: Running
    archiving: Running

    def __init__(self, topics: dict[str, str], folder: Path) -> None:
        self.topics = topics
        self.folder = folder
        self.grid = Path(topics["LEADPULSE_GRID"])
        self.archive = folder / "history"

    def run(self, *words: str) -> str:
        """Run `leadpulse`, and return what it says on stdout."""
        done = leadpulse(*words, env=self.topics, cwd=self.folder)
        assert done.returncode == 0, f"leadpulse {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def traffic(self, out: str, *words: str) -> int:
        """Simulate traffic into *out*, send it, and return the number of its events."""
        self.run("simulate", "--truth", f"{out}.json", "--out", f"{out}.jsonl", *words)
        self.run("produce", f"{out}.jsonl", "--topic", self.topics["LEADPULSE_INPUT_TOPICS"])
        return len((self.folder / f"{out}.jsonl").read_bytes().splitlines())

    def archived(self) -> bool:
        """Return whether the archive has all that Kafka has."""
        env = self.topics | {"LEADPULSE_ARCHIVE_TO": str(self.archive)}
        done = leadpulse("archive", "check", "--json", env=env)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        found = json.loads(done.stdout)
        return not any(one["waits"] for one in found["partitions"])

    def pending(self) -> float:
        """Return how many outputs of the worker are not published yet."""
        with urlopen(f"http://127.0.0.1:{self.topics['LEADPULSE_METRICS_PORT']}/metrics", timeout=HANG_S) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("leadpulse_pending_outputs{"))

    def in_force(self) -> int:
        """Return the version of the grid in force."""
        with urlopen(f"http://127.0.0.1:{self.topics['LEADPULSE_METRICS_PORT']}/readyz", timeout=HANG_S) as answer:
            version: int = json.load(answer)["grid"]["version"]
        return version

    def wins_of_calls(self, leads: set[str]) -> tuple[int, int]:
        """Return how many of *leads* the worker handed over, and how many of these were won after it."""
        called: dict[str, int] = {}
        won: set[str] = set()
        for record in open_history(str(self.archive), "events").events(["lead.sql", "crm.won"]):
            lead = record.subject or ""
            if lead in leads and record.output:
                called.setdefault(lead, record.arrival_ms)
            elif lead in called and not record.output:
                won.add(lead)
        return len(called), len(won)


@pytest.fixture
def loop(topics: dict[str, str], tmp_path: Path) -> Iterator[Loop]:
    """Return a site whose grid is poor, with a worker and an archive that run."""
    made = Loop(topics, tmp_path)
    made.grid.write_text(poor_grid())
    apart = topics | {"LEADPULSE_METRICS_PORT": str(adjacent_ports()), "LEADPULSE_ARCHIVE_EVERY": "1"}
    with (
        Running([*PROGRAM, "run"], topics, tmp_path) as made.worker,
        Running([*PROGRAM, "archive", "run", "--to", str(made.archive)], apart, tmp_path) as made.archiving,
    ):
        made.worker.until(lambda: ready(topics))
        yield made
        assert made.worker.end() == made.archiving.end() == 0


def subjects(path: Path) -> set[str]:
    """Return the leads of a file of events."""
    return {json.loads(line)["subject"] for line in path.read_bytes().splitlines()}


def test_a_month_of_outcomes_makes_a_poor_grid_find_more_wins(loop: Loop) -> None:
    """Sales called as the poor grid said. Its successor is put in force, and other people with the same odds come."""
    poor = loop.folder / "poor.yaml"
    poor.write_text(poor_grid())
    truth = ("--start", START, "--seed", "7", "--won-rate", "0.2", "--called-by", "poor.yaml")
    sent = loop.traffic("first", "--leads", str(LEADS), "--days", str(DAYS), *truth)
    loop.worker.until(lambda: taken(loop.topics) == sent and not loop.pending())
    loop.archiving.until(loop.archived)

    history, read = str(loop.archive), ("--clock", "events", "--complete")
    loop.run("learn", "table", history, "--grid", "poor.yaml", *read, "--out", "t.parquet")
    loop.run("learn", "fit", "t.parquet", "--grid", "poor.yaml", "--capacity", CAPACITY, "--out", "proposal")
    proposed = loop.folder / "proposal" / "proposed.yaml"
    found = json.loads(loop.run("learn", "compare", history, "--grid", "poor.yaml", "--grid", str(proposed), *read, "--json"))
    assert found["as_written"]["only_b"]["never_given"] > 0  # a call helps, so this history speaks for the poor grid

    explain = ("explain", max(subjects(loop.folder / "first.jsonl")), "--at", f"{THEN}T00:00:00Z", "--json")
    before = json.loads(loop.run(*explain))
    loop.grid.write_text(proposed.read_text().replace("version: 3", "version: 4"))
    loop.worker.process.send_signal(signal.SIGHUP)
    loop.worker.until(lambda: loop.in_force() == 4)
    loop.worker.until(lambda: json.loads(loop.run(*explain))["score"] != before["score"])

    others = ("--start", THEN, "--seed", "8", "--first", str(LEADS), "--odds-of", "first.json")
    sent += loop.traffic("then", "--leads", str(2 * LEADS), "--days", str(2 * DAYS), *others)
    loop.worker.until(lambda: taken(loop.topics) == sent and not loop.pending())
    loop.archiving.until(loop.archived)
    fresh = ("then.jsonl", "--grid", "poor.yaml", "--grid", str(proposed), "--complete", "--capacity", CAPACITY, "--json")
    judged: dict[str, Any] = json.loads(loop.run("learn", "compare", *fresh))
    sys.stdout.write(json.dumps({"history": found, "fresh": judged}, indent=1))
    assert judged["at_capacity"]["handovers"]["wins"]["low"] > 0
    called, won = loop.wins_of_calls(subjects(loop.folder / "then.jsonl"))
    poorly, well = judged["as_written"]["a"], judged["as_written"]["b"]
    assert called == pytest.approx(well["leads"], rel=0.15)  # the worker did what the comparison says
    assert won > poorly["won"]
