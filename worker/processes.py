"""Child processes that do not outlive this one, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

GRACE_S: Final = 12.0
"""How long a worker may take to end after SIGTERM. It is killed after that, and the next owners go on exactly there."""

# Reads "+pid" and "-pid" lines until its input ends, which it does when the parent is gone for whatever reason; then tells
# those that are left to end, and kills them and removes the folders after a while.
_WATCHDOG: Final = """\
import os, shutil, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
grace = float(sys.argv[1])
pids, folders = set(), sys.argv[2:]
for line in sys.stdin:
    (pids.add if line[0] == "+" else pids.discard)(int(line[1:]))
def tell(number):
    for pid in list(pids):
        try:
            os.kill(pid, number)
        except OSError:
            pids.discard(pid)
tell(signal.SIGTERM)
end = time.monotonic() + grace
while pids and time.monotonic() < end:
    time.sleep(0.1)
    tell(0)
tell(signal.SIGKILL)
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


_ROOT: Final = str(Path(__file__).parents[2])


def a_program(command: str, env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment of `leadpulse COMMAND`: this very code, whatever the folder it starts in holds."""
    path = os.pathsep.join(part for part in (_ROOT, env.get("PYTHONPATH")) if part)
    return [sys.executable, "-P", "-m", "worker.cli", command], dict(env) | {"PYTHONPATH": path}


class Children:
    """Child processes of one command: ended with it, by their pids; where it is killed, by a watchdog that outlives it."""

    def __init__(self, grace_s: float, *folders: Path) -> None:
        """*grace_s*: what a child may take to end by itself. *folders* are removed at the very end if they are still there."""
        self._grace_s = grace_s
        self.running: list[subprocess.Popen[Any]] = []
        # In a session of its own: Ctrl-C reaches everything else that was started from the terminal.
        self._watchdog = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _WATCHDOG, str(grace_s), *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, stdout: IO[Any] | int | None = None
    ) -> subprocess.Popen[Any]:
        """Start *command* in a session of its own, so that Ctrl-C reaches this process alone, which then ends it in order."""
        child = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout, start_new_session=True
        )
        self._tell(f"+{child.pid}\n")
        self.running.append(child)
        return child

    def end(self, *children: subprocess.Popen[Any]) -> list[int]:
        """End *children* (without any: all) and return their exit codes. A child that takes too long is killed."""
        ending = children or tuple(self.running)
        for child in ending:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        for child in ending:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child in self.running:
                self.running.remove(child)
                self._tell(f"-{child.pid}\n")
        return [child.returncode for child in ending]

    def _tell(self, line: str) -> None:
        pipe = self._watchdog.stdin
        assert pipe is not None
        pipe.write(line)
        pipe.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every child, then the watchdog."""
        try:
            self.end()
        finally:
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog.wait()
