"""`leadpulse demo`: the worker at work, with everything that it needs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from worker.cli.common import load_grid
from worker.demo.programs import ProgramFailed
from worker.demo.servers import Missing, ServerFailed
from worker.demo.show import Show
from worker.processes import GRACE_S, Children

_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGINT, too: a shell starts the background jobs of a script with SIGINT ignored, so it was lost while the demo started."""


class _Seconds(click.ParamType):
    """A duration as the grids write it."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return *value* in seconds."""
        from worker.core.grid.values import duration_ms

        try:
            ms = duration_ms(value) or 0
        except ValueError:
            ms = 0
        if 1_000 <= ms <= 3_600_000:
            return ms / 1000
        raise click.BadParameter(f"{value!r} is not a duration from 1s to 1h, such as 30s or 2m", ctx, param)


@click.command()
@click.option("--for", "seconds", type=_Seconds(), default="30s", metavar="TIME", help="Duration.  [default 30s]")
@click.option("--seed", type=int, default=7, metavar="N", help="Another seed simulates other people.  [default 7]")
@click.option(
    "--grid",
    default="saas-b2b",
    metavar="GRID",
    help="Grid: a file, or the name of a grid that comes with LeadPulse.  [default saas-b2b]",
)
def demo(seconds: float, seed: int, grid: str) -> None:
    """Show everything at work. Only this package needs to be installed.

    Starts a broker and a Redis-compatible server of its own, and runs `leadpulse run`, `collect` and `act` on them. It
    sends the traffic of 300 simulated leads, one simulated day a second. The leads arrive, compare, ask, fall silent and cool.

    Their events come over HTTP. A mail tool, a CRM, a webinar tool and a form tool send webhooks, as their vendors sign them.

    It also serves a page with the pixel, and prints its address. Open it, agree, and click: your own visit is scored, too.

    For each lead.sql there is a task for sales and a mail. They go to tools of its own, and you see each one as it goes out.

    On a terminal you see the hottest leads live, with every lead.sql when it is published. Elsewhere each lead.sql is a line.
    The command removes everything at the end.
    """
    load_grid(grid)
    for number in _STOPS:
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="leadpulse-demo-"))
    try:
        with Children(GRACE_S, folder) as children:
            show = Show(children, folder, seconds, seed, grid)
            try:
                asyncio.run(_until_stopped(show))
            finally:
                show.end()  # the programs first: they cannot drain without their servers
    except (Missing, ServerFailed, ProgramFailed) as err:
        raise click.ClickException(str(err)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("stopped before its end", err=True)
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _until_stopped(show: Show) -> None:
    """Run *show*. A signal cancels it, and again after five seconds, because a library may swallow one cancellation.

    An exception raised by a handler could hit any task. Raises `asyncio.CancelledError` after a signal.
    """
    stopped, running = asyncio.Event(), asyncio.create_task(show.run())
    for number in _STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not stopped.is_set():
        running.result()
        return
    while not running.done():
        running.cancel()
        await asyncio.wait([running], timeout=5)
    raise asyncio.CancelledError
