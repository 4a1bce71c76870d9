"""Worker processes, as tests start, watch and end them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit.forks import Files, Forked, Process
from tests.kit.shell import ROOT
from tests.kit.waits import HANG_S

if TYPE_CHECKING:
    from tests.kit.site import Site


class Worker:
    """A worker process."""

    program: tuple[str, ...] = ("tests.kit.worker",)
    home: Path = ROOT
    """Where the program is: here, or in a folder with another form of it."""

    def __init__(self, site: Site, failpoint: str, settings: Mapping[str, Any], **besides: str) -> None:
        self.log = site.folder / f"worker-{len(site.workers)}.log"
        environ = {**os.environ, **site.environ, "LEADPULSE_FAILPOINT": failpoint}
        environ |= {f"LEADPULSE_{name.upper()}": str(value) for name, value in settings.items()}
        environ |= besides
        self.log.write_bytes(b"")  # a soak gives the name again, and a forked worker appends
        self.process: Process
        if (self.program, self.home) == (Worker.program, ROOT):
            self.process = Forked(self.program[0], environ=environ, files=Files(self.log, self.log))
            return
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.program], cwd=self.home, env=environ, stdout=log, stderr=log
            )

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")[-6_000:]

    async def ready(self, partitions: int, timeout_s: float = HANG_S) -> None:
        """Wait until it took over *partitions* partitions."""
        await self.says("ready at batch", partitions, timeout_s)

    async def says(self, words: str, times: int = 1, timeout_s: float = HANG_S) -> None:
        """Wait until its log holds *words* so often."""
        deadline = time.monotonic() + timeout_s
        while self.log.read_text(errors="replace").count(words) < times:
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"worker did not say {words!r} {times} times:\n{self.said()}"
            await asyncio.sleep(0.05)

    async def frozen(self, timeout_s: float = HANG_S) -> None:
        """Wait until it is stopped (SIGSTOP), by itself or by us."""
        deadline = time.monotonic() + timeout_s
        while not self._is_stopped():
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"worker did not freeze:\n{self.said()}"
            await asyncio.sleep(0.05)

    def _is_stopped(self) -> bool:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    async def ended(self, timeout_s: float = HANG_S) -> int:
        """Wait for its end; return the exit code."""
        try:
            return await asyncio.to_thread(self.process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # its program then says where its tasks are
            await asyncio.to_thread(self.process.wait, HANG_S)
            raise AssertionError(f"worker did not end within {timeout_s:g} s:\n{self.said()}") from None

    async def stop(self, timeout_s: float = HANG_S) -> None:
        """SIGTERM, once it listens to signals (it says nothing before), and expect a clean end."""
        await self.says("\n")
        self.process.send_signal(signal.SIGTERM)
        code = await self.ended(timeout_s)
        assert code == 0, f"exit {code}:\n{self.said()}"

    async def leave(self, words: str) -> None:
        """SIGTERM, and expect a clean end; or that it has ended by itself, saying *words*, or was about to end so."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        code = await self.ended()
        assert code == 0 or (code in (1, -signal.SIGTERM) and words in self.said()), f"exit {code}:\n{self.said()}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(HANG_S)
