"""The programs of one demo: `leadpulse` commands as child processes, with their logs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.request import ProxyHandler, build_opener

from worker.demo.servers import last_lines
from worker.processes import Children, a_program

_UP_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.1


class ProgramFailed(Exception):
    """A program ended by itself; the message carries the end of its log."""


class Program:
    """One program, from its start to its end."""

    def __init__(
        self,
        children: Children,
        folder: Path,
        name: str,
        command: str,
        environment: Mapping[str, str],
        ready: Callable[[], bool],
    ) -> None:
        """Start `leadpulse COMMAND`, which messages call *name*. *ready* asks, by a blocking call, whether it is ready."""
        self.name = name
        self._ready = ready
        self._log = folder / f"{command}.log"
        with self._log.open("wb") as log:
            self.process: subprocess.Popen[Any] = children.start(*a_program(command, environment), log)

    def check(self) -> None:
        """Raise `ProgramFailed` if it is gone."""
        if self.process.poll() is not None:
            raise self.failed("has ended")

    async def until_ready(self) -> None:
        """Return once it is ready. Raises `ProgramFailed`."""
        deadline = time.monotonic() + _UP_S
        while not await asyncio.to_thread(self._asked):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise self.failed("did not become ready")
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _asked(self) -> bool:
        try:
            return self._ready()
        except OSError:
            return False

    def failed(self, what: str) -> ProgramFailed:
        """Return the error that says *what* happened, with the end of the log."""
        return ProgramFailed(f"the {self.name} {what}:\n{last_lines(self._log)}")


_open: Final = build_opener(ProxyHandler({})).open
"""A proxy of the environment does not reach this machine's own addresses."""


def page(url: str) -> bytes:
    """Return what *url* answers with 200. Raises `OSError`."""
    with _open(url, timeout=5) as answer:
        held: bytes = answer.read()
        return held


def free_ports(count: int) -> list[int]:
    """Return ports that no program of this machine uses now, each another one."""
    with contextlib.ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
