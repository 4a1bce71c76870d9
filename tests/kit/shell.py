"""The `leadpulse` command as a process, and what its tests feed it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.kit.forks import Files, Forked
from tests.kit.waits import HANG_S

ROOT = Path(__file__).parents[2]

GRID = """\
grid: cli-test
version: 1
timezone: UTC
fit:
  rules:
    - {id: business-email, points: 20, where: {email_kind: business}}
engagement:
  min: -50
  max: 80
  half_life: 7d
  rules:
    - {id: visit, points: 10, on: page.viewed, cap: 60, intent: true}
    - {id: no-show, points: -10, on: webinar.no_show}
inactivity: {after: 14d, every: 7d, points: -5, min: -30}
stages:
  mql: {enter: 30, leave: 20}
  sql: {enter: 55, leave: 40, intent_within: 30d, sla: 4h}
"""


def event(number: int, kind: str, lead: str, time_: str, **data: Any) -> str:
    """Return one event as a line."""
    return json.dumps(
        {"specversion": "1.0", "id": str(number), "source": "/test", "type": kind, "subject": lead, "time": time_, "data": data}
    )


def a_file(folder: Path) -> Path:
    """Write a small history: ann becomes mql and sql, bob only looks in, and one line is broken."""
    lines = [event(1, "profile.updated", "ann", "2026-03-02T09:00:00Z", traits={"email": "ann@acme.example"})]
    lines += [event(10 + i, "page.viewed", "ann", f"2026-03-02T10:0{i}:00Z", url="/pricing") for i in range(5)]
    lines += [event(20, "page.viewed", "bob", "2026-03-02T11:00:00Z", url="/"), "{broken", ""]
    lines += [event(21, "page.viewed", "bob", "2026-03-02T11:00:00Z", url="/")]
    path = folder / "events.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with *given* as the only settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEADPULSE_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always,ignore::ResourceWarning"} | dict(given or {})


def leadpulse(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    cwd: Path | None = None,
    wait_s: float = HANG_S,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end: forked, or, where *env* has what Python itself or the demo looks at, as a program."""
    if any(not name.startswith("LEADPULSE_") and name != "COLUMNS" for name in env or ()):
        return subprocess.run(
            [sys.executable, "-m", "worker.cli", *map(str, args)],
            env=environment(env), input=text or "", cwd=cwd, capture_output=True, text=True, timeout=wait_s,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = Files(*(Path(folder, name) for name in ("out", "err", "in")))
        files.into.write_text(text or "")
        command = Forked("worker.cli", *map(str, args), environ=environment(env), files=files, cwd=cwd)
        try:
            code = command.wait(wait_s)
        finally:
            command.kill()
        return subprocess.CompletedProcess(command.args, code, files.out.read_text(), files.err.read_text())


class Running:
    """The command as a running process, in a session of its own. It is killed at the end if it still runs."""

    def __init__(self, command: Iterable[str | Path], env: Mapping[str, str], folder: Path) -> None:
        self.log = folder / f"log-{time.monotonic_ns()}.txt"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                env=environment(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    @property
    def words(self) -> str:
        """What it has said so far, on both channels."""
        return self.log.read_text()

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code. Raises `subprocess.TimeoutExpired` when it never ends."""
        self.process.send_signal(by)
        return self.process.wait(HANG_S)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until *holds* is true; fail with what the process said when it ends first or time is up."""
        deadline = time.monotonic() + HANG_S
        while not holds():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.words}"
            assert time.monotonic() < deadline, f"not within {HANG_S:g} s:\n{self.words}"
            time.sleep(0.1)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
