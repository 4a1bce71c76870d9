"""Processes that run a module of the program without importing it first: forked from a process that has done so.

Importing the worker costs more of a core than most tests let it work. What must be seen as it is deployed (`leadpulse run`)
is started as a program of its own.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from worker.engine import failpoint

_context = multiprocessing.get_context("forkserver")
_COMMANDS = ("accounts", "dead", "doctor", "explain", "grid", "produce", "replay", "simulate", "top", "topics")
_context.set_forkserver_preload(["tests.kit.forks", "worker.engine.engine", *(f"worker.cli.{name}" for name in _COMMANDS)])

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG: which signal the kernel sends when the parent is gone."""


class Files(NamedTuple):
    """Where a process reads from and writes to; *out* and *err* are added to, and may be the same."""

    out: Path
    err: Path
    into: Path = Path(os.devnull)


class Forked:
    """Runs *module* as `__main__` with *environ* and nothing else of ours.

    It has what tests use of `subprocess.Popen`. It ends with this process. Its `atexit` handlers do not run.
    """

    def __init__(self, module: str, *arguments: str, environ: Mapping[str, str], files: Files, cwd: Path | None = None) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self._lock = threading.Lock()
        """Tests wait in a thread and look in another; the code can be read once."""
        told = (module, arguments, dict(environ), files, cwd or Path.cwd())
        self._process = _context.Process(target=_run, args=told, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None while it runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._process.exitcode
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code. Raises `subprocess.TimeoutExpired`."""
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = Forked | subprocess.Popen[bytes]


def _run(module: str, arguments: tuple[str, ...], environ: dict[str, str], files: Files, cwd: Path) -> None:
    """Become what `python -m module arguments` would be."""
    # The server that this was forked from ends with the tests, however they end, and nothing of them may go on.
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    os.dup2(os.open(files.into, os.O_RDONLY), 0)
    os.dup2(os.open(files.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 1)
    os.dup2(os.open(files.err, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing has closed it)
    if "PYTHONWARNINGS" in environ:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)
    importlib.reload(failpoint)  # it has read the environment of the process that this one was forked from
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
