"""Services as child processes on free loopback ports, for tests, benchmarks and hand work.

Each service runs in a process group of its own and is ended by its pid.
That holds also when this process is killed: see `_Watchdog`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]

# Reads "+pid folder" and "-pid" lines; at the end of its input, which comes when the parent is gone for whatever reason, kills
# what is left. The parent's death signal (prctl) would not do: it follows the *thread* that forked, so a service started or
# restarted from `asyncio.to_thread` would die with the executor's thread.
_WATCHDOG = """\
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
left = {}
for line in sys.stdin:
    pid, _, folder = line[1:-1].partition(" ")
    if line[0] == "+":
        left[int(pid)] = folder
    else:
        left.pop(int(pid), None)
for pid, folder in left.items():
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        continue
    finally:
        shutil.rmtree(folder, ignore_errors=True)
"""


class ServiceMissing(Exception):
    """This machine cannot run the service; the message says what to install."""


class ServiceFailed(Exception):
    """The service was there but did not come up or did not end; the message carries the end of its log."""


class _Watchdog:
    """One small process that outlives this one by a moment, to kill the services that it leaves behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = -1
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, folder: Path) -> None:
        """From now on, if this process dies, kill *pid*'s group and remove *folder*."""
        self._tell(f"+{pid} {folder}\n")

    def forget(self, pid: int) -> None:
        """Leave *pid* alone: it has ended, and its number may become another's."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-E", "-c", _WATCHDOG], stdin=subprocess.PIPE, text=True, start_new_session=True
                )
                self._owner = os.getpid()
            pipe = self._process.stdin
            assert pipe is not None
            pipe.write(line)
            pipe.flush()


_watchdog = _Watchdog()


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now. Another process may take it before its use."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Service(ABC):
    """A child process with a port and a folder, both kept over restarts; made by `Kafka`, `Redis` and `Prometheus`.

    The methods block until they have taken effect; from a coroutine use `await asyncio.to_thread(service.restart)`.
    """

    name = "service"
    # They end a start or a stop that hangs, on however slow a machine.
    start_within_s = 300.0
    stop_within_s = 300.0

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"leadpulse-{self.name}-"))
        self.log = self.folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._suspended = False
        atexit.register(self.close)

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return what starts the service in its folder."""

    @abstractmethod
    def _ready(self, log: str) -> bool:
        """Return whether the service answers; *log* is what it has written since its start."""

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> Self:
        """Start and wait until it answers. Raises `ServiceMissing` and `ServiceFailed`; does nothing when it runs already."""
        if self.pid is not None:
            return self
        command = self._command()
        with self.log.open("ab") as log:
            begin = log.tell()
            self._spawn(command, log)
        until = time.monotonic() + self.start_within_s
        while not self._ready(self._log_since(begin)):
            assert self._process is not None
            code = self._process.poll()
            if code is not None or time.monotonic() > until:
                self.kill()
                why = f"ended with code {code}" if code is not None else f"did not answer within {self.start_within_s:.0f} s"
                raise ServiceFailed(f"{self.name} on {self.address} {why}; end of its log:\n{self._log_since(begin)[-3000:]}")
            time.sleep(0.02)
        return self

    def _spawn(self, command: Sequence[str], log: IO[bytes]) -> None:
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        _watchdog.watch(process.pid, self.folder)
        self._process, self._suspended = process, False

    def _log_since(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it cleanly (SIGTERM), its data kept. Raises `ServiceFailed` when it had to be killed after all."""
        if self.pid is None:
            self.kill()
            return
        self.resume()
        self._signal(signal.SIGTERM)
        assert self._process is not None
        try:
            self._process.wait(self.stop_within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceFailed(f"{self.name} on {self.address} did not end within {self.stop_within_s:.0f} s") from None
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), its data as they are."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with contextlib.suppress(OSError):
            _watchdog.forget(process.pid)

    def restart(self, *, clean: bool = True) -> None:
        """Stop (or kill, when not *clean*) and start again on the same port with the same data."""
        if clean:
            self.stop()
        else:
            self.kill()
        self.start()

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._suspended = True

    def resume(self) -> None:
        """Let it go on after `suspend` (SIGCONT)."""
        if self._suspended:
            self._signal(signal.SIGCONT)
            self._suspended = False

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            raise ServiceFailed(f"{self.name} on {self.address} does not run: no {number.name} for it")
        os.killpg(pid, number)

    def close(self) -> None:
        """Kill it and remove its folder. For good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
