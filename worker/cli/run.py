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
from worker.processes import GRACE_S, Children, a_worker
from worker.settings import PREFIX, Settings

_LOOK_S: Final = 0.2


@click.command()
@settings_flags()
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, metavar="K",
    help="Processes, which share the partitions; the pages of each are one port further.  [default 1]",
)  # fmt: skip
def run(workers: int, **flags: Any) -> None:
    """Run the worker until it is told to stop.

    Events are read from the input topics, scores kept in Redis, transitions published, each exactly once. SIGTERM or Ctrl-C
    lets it finish what it holds (10 s at most) and ends it with exit code 0; what it cannot go on with ends it with one line
    and exit code 1.

    A changed grid file is in force within half a minute, on SIGHUP at once; one with mistakes is refused and the old one stays.

    Every setting is a flag and a variable of the environment; the flag goes first. Put secrets into the
    environment: a flag is seen by every user of the machine.
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
    """Return the environment of worker *number* of several: what this process was told, its own port, no secret in a flag."""
    told = {PREFIX + name.upper(): str(value) for name, value in flags.items() if value is not None}
    port = settings.metrics_port and settings.metrics_port + number
    return os.environ | told | {PREFIX + "METRICS_PORT": str(port)}


def run_all(environments: list[dict[str, str]]) -> int:
    """Run one worker for each of *environments* until told to stop, or until one fails: then the others are drained.

    Returns the exit code: 1 when a worker failed. None is restarted: what made one fail would make the next fail too, and
    whoever supervises this process should see it.
    """
    told = threading.Event()
    for told_by in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told_by, lambda *_: told.set())
    with Children(GRACE_S) as children:
        workers = [children.start(*a_worker(env)) for env in environments]
        signal.signal(signal.SIGHUP, lambda *_: _tell(workers))
        gone: set[int] = set()
        while not told.wait(_LOOK_S) and len(gone) < len(workers):
            for number, worker in enumerate(workers):
                code = worker.poll()
                if code is None or number in gone:
                    continue
                gone.add(number)
                if code:
                    click.echo(f"worker {number} ended with exit code {code}; draining the others", err=True)
                    told.set()
                else:
                    click.echo(f"worker {number} has ended; the others go on", err=True)
        codes = children.end(*workers)
    return 1 if any(codes) else 0


def _tell(workers: list[subprocess.Popen[Any]]) -> None:
    """Hand SIGHUP on: each worker looks at the grid's file."""
    for worker in workers:
        worker.send_signal(signal.SIGHUP)
