"""A process that Faust hosts: its signals, its pages, its log, and an end in good order whatever hangs.

The worker and the program that acts are such processes. Faust provides the process, its signals and the supervision of
services. Neither uses its Kafka clients: Faust's consumer neither reads committed records only, nor ties offsets to a store.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, NoReturn, Protocol

import faust
import mode
from aiohttp import web
from faust.app.base import BootStrategy
from faust.worker import Worker
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker import logs
from worker.engine.closing import STEP_S, closed
from worker.logs import Format, fields

log = logging.getLogger("leadpulse")

DRAIN_S: Final = 8.0
"""Time limit for a program to finish what it does. With it the process ends within 10 s of the signal."""

PAGES_S: Final = 2.0
"""Time limit for the pages to finish their requests."""

END_S: Final = 25.0
"""A process that must stop is killed after so many seconds. All steps of closing together take less."""


class HostSettings(Protocol):
    """What a host reads of its program's settings."""

    @property
    def kafka(self) -> str:
        """For Faust's banner."""

    @property
    def log_format(self) -> Format:
        """The format of the log."""

    @property
    def metrics_host(self) -> str:
        """Where the pages are served."""

    @property
    def metrics_port(self) -> int:
        """On which port."""


def _logging(settings: HostSettings, module: str) -> dict[str, Any]:
    """Return the logging configuration: that of `worker.logs`, without Faust's services."""
    configuration = logs.configuration(settings.log_format, sys.stderr.isatty())
    configuration["loggers"] |= {
        module: {"level": "WARNING"},  # Faust logs each start and end of a service there
        __name__: {"level": "WARNING"},
    }
    return configuration


class _ServicesOnly(BootStrategy):
    """Starts no Kafka client of Faust. Its worker crashes with a consumer and no agent of a topic."""

    enable_kafka = False


class _Host(Worker):
    """Faust's worker, whose exit code is 1 when its program failed."""

    app: HostedApp

    def __init__(self, app: HostedApp, *services: Any, **options: Any) -> None:
        super().__init__(app, *services, **options)
        self.spinner = None  # it would filter the log
        app.host = self

    def shut_down(self) -> None:
        """Stop everything, as on SIGTERM."""
        self._schedule_shutdown(signal.SIGTERM)

    def install_signal_handlers(self) -> None:
        """Add one handler to Faust's: on SIGHUP the program reads its file again."""
        super().install_signal_handlers()
        self.loop.add_signal_handler(signal.SIGHUP, self.app.on_hangup)

    def _on_sigint(self) -> None:
        self._on_sigterm()

    def execute_from_commandline(self) -> NoReturn:
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            if self.app.failed and not self.app.tidy:
                self.app.say_why()
            raise SystemExit(1 if self.app.failed else end.code) from None


class HostedApp(faust.App):
    """The Faust app of one program."""

    BootStrategy: ClassVar[type[BootStrategy]] = _ServicesOnly

    def __init__(self, name: str, module: str, settings: HostSettings) -> None:
        """*name* is Faust's name of the app, and *module* has it."""
        super().__init__(
            name,
            Worker=_Host,
            autodiscover=False,
            broker="kafka://" + settings.kafka.replace(",", ";"),  # for Faust's banner
            logging_config=_logging(settings, module),
            store="memory://",
            worker_redirect_stdouts=False,
        )
        self.failed = False
        self.why = ""
        """Why it failed."""
        self.tidy = True
        """Everything was closed in good order, so the last line of the log has the reason."""
        self._last: threading.Timer | None = None
        self.running: asyncio.Task[None] | None = None
        """Runs the program."""
        self.host: _Host | None = None
        self._serve_pages(settings)

    @property
    def live(self) -> bool:
        """Whether the program runs. False once its task has ended by itself."""
        raise NotImplementedError

    def status(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the program is ready, and what `/readyz` shows."""
        raise NotImplementedError

    def observe(self) -> None:
        """Bring the metrics up to date."""

    def on_hangup(self) -> None:
        """Read the program's file again, on SIGHUP."""

    def fail(self, why: str) -> None:
        """Stop the worker with exit code 1. The last line of the log is *why*."""
        self._end_for_certain(why)
        self.failed, self.why = True, why
        self.say_why()
        if self.host is not None:
            self.host.shut_down()

    def say_why(self) -> None:
        """Log why the worker failed."""
        log.critical("stopped: %s", self.why, extra=fields("worker.stopped"))

    async def close(self, what: str, step: Callable[[], Awaitable[object]], within_s: float = STEP_S) -> None:
        """Close *what* by *step*, as `closed` does."""
        if not await closed(what, step, within_s):
            self.tidy = False

    def _end_for_certain(self, why: str) -> None:
        """End the process within `END_S`, even if a thread, a connection or a service hangs."""
        self.why = self.why or why
        if self._last is None:
            self._last = threading.Timer(END_S, self._end)
            self._last.daemon = True
            self._last.start()

    def _end(self) -> None:
        """End a process that has not ended by itself. Runs in a thread, because the event loop may hang."""
        words = threading.Thread(target=self.say_why, daemon=True)  # the log may hang too
        words.start()
        words.join(1.0)
        os._exit(1)

    def _create_directories(self) -> None:
        """Make no directories. Faust needs them for tables only, and there are none."""

    def _serve_pages(self, settings: HostSettings) -> None:
        app = self

        @self.web_server
        class Pages(mode.Service):
            """Serves `/livez`, `/readyz` and `/metrics`, instead of Faust's pages."""

            runner: web.AppRunner | None = None

            async def on_start(self) -> None:
                self.runner = await _serve(app, settings)

            async def on_stop(self) -> None:
                if self.runner is not None:
                    await app.close("the pages", self.runner.cleanup, PAGES_S)


async def _serve(app: HostedApp, settings: HostSettings) -> web.AppRunner | None:
    """Serve the pages. Fail the app if their address cannot be used."""
    host, port = settings.metrics_host, settings.metrics_port

    async def livez(_: web.Request) -> web.Response:
        # Any answer shows that the event loop runs.
        return web.Response(text="ok\n") if app.live else web.Response(text="the program has ended\n", status=503)

    async def readyz(_: web.Request) -> web.Response:
        ready, shown = app.status()
        return web.json_response(shown, status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        app.observe()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    site = web.Application()
    site.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(site, access_log=None, handle_signals=False, shutdown_timeout=PAGES_S / 2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as err:
        await app.close("the pages", runner.cleanup, PAGES_S)
        app.fail(f"the health and metrics pages cannot be served on {host}:{port}: {err.strerror}; set LEADPULSE_METRICS_PORT")
        return None
    at = runner.addresses[0]
    log.info(
        "pages on http://%s:%d: /livez /readyz /metrics", at[0], at[1], extra=fields("pages.served", host=at[0], port=at[1])
    )
    return runner
