"""`leadpulse run`: the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any, Final

import click

from worker.cli.common import load_settings, settings_flags
from worker.errors import SettingsError
from worker.processes import GRACE_S, Children, a_program
from worker.settings import PREFIX, Settings

_LOOK_S: Final = 0.2


@click.command()
@settings_flags()
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, metavar="K",
    help="Number of processes that share the partitions. Each uses the next port for its pages.  [default 1]",
)  # fmt: skip
def run(workers: int, **flags: Any) -> None:
    """Run the worker until SIGTERM or Ctrl-C.

    The worker reads events from the input topics, keeps scores in Redis, and publishes stage changes, each exactly once. On
    SIGTERM or Ctrl-C it finishes its batches within 10 s, and exits with 0. If it cannot continue, it exits with 1, and its
    last line names the reason.

    A changed grid file is in force within half a minute, and at once on SIGHUP. A file with mistakes is refused, and the grid
    in force stays.

    Every setting is a flag and an environment variable. The flag takes precedence. Put secrets into the environment, because
    every user of the machine can see a flag.
    """
    settings = load_settings(flags)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a grid to look at again
    if workers > 1:
        sys.exit(run_all([environment(settings, flags, number) for number in range(workers)]))
    from worker.app import create_app  # Faust, for this command alone

    try:
        app = create_app(settings)
    except SettingsError as err:
        raise click.UsageError(str(err)) from None
    app.Worker(quiet=True).execute_from_commandline()


def environment(settings: Settings, flags: dict[str, Any], number: int) -> dict[str, str]:
    """Return the environment of worker *number*: that of this process with its flags, and its own port."""
    given = {PREFIX + name.upper(): str(value) for name, value in flags.items() if value is not None}
    port = settings.metrics_port and settings.metrics_port + number
    return os.environ | given | {PREFIX + "METRICS_PORT": str(port)}


def run_all(environments: list[dict[str, str]]) -> int:
    """Run one worker for each of *environments* until a signal comes or one fails. Then the others are drained.

    Returns the exit code: 1 if a worker failed. A failed worker is not restarted, because the next one would fail for the
    same reason. The supervisor of this process should see the failure.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Children(GRACE_S) as children:
        workers = [children.start(*a_program("run", env)) for env in environments]
        signal.signal(signal.SIGHUP, lambda *_: _pass_on(signal.SIGHUP, workers))
        ended: set[int] = set()
        while not stopping.wait(_LOOK_S) and len(ended) < len(workers):
            if _report_ended(workers, ended):
                stopping.set()
        codes = children.end(*workers)
    return 1 if any(codes) else 0


def _report_ended(workers: list[subprocess.Popen[Any]], ended: set[int]) -> bool:
    """Add the workers that have ended to *ended*, and report each; return whether one of them failed."""
    failed = False
    for number, worker in enumerate(workers):
        code = worker.poll()
        if code is None or number in ended:
            continue
        ended.add(number)
        failed |= code != 0
        if code:
            click.echo(f"worker {number} ended with exit code {code}; draining the others", err=True)
        else:
            click.echo(f"worker {number} has ended; the others go on", err=True)
    return failed


def _pass_on(number: int, workers: list[subprocess.Popen[Any]]) -> None:
    """Pass a signal on: at SIGHUP each worker checks the grid file."""
    for worker in workers:
        worker.send_signal(number)
