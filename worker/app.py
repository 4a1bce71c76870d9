"""The process: a Faust app that hosts the engine, answers health checks, shows metrics, and ends on a signal.

`leadpulse run` and `faust -A worker.app worker` start the same app. Its settings come from the environment. Faust provides the
process, its signals and the supervision of services. There are no agents, since the engine has its own Kafka clients. Faust's
consumer neither reads committed records only, nor ties offsets to a batch in Redis.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import faust
import mode
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from faust.app.base import BootStrategy
from faust.worker import Worker
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker import logs
from worker.engine.closing import STEP_S, closed
from worker.engine.engine import Engine
from worker.errors import GridNotFound, SettingsError, WorkerMustStop
from worker.logs import fields
from worker.presets import grid_path
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.tracing import Spans

log = logging.getLogger("leadpulse")

DRAIN_S: Final = 8.0
"""Time limit for the engine to finish its batches. With it the process ends within 10 s of the signal."""

PAGES_S: Final = 2.0
"""Time limit for the pages to finish their requests."""

END_S: Final = 25.0
"""A worker that must stop is killed after so many seconds. All steps of closing together take less."""

_ALLOCATIONS: Final = 5_000
"""New objects after which Python's garbage collector runs. Its default of 700 is less than one batch makes."""


class _NoBadRequests(logging.Filter):
    """Drops log records about malformed HTTP requests. Anyone who can reach the port could otherwise flood the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _logging(settings: Settings) -> dict[str, Any]:
    """Return the logging configuration: that of `worker.logs`, without malformed requests and without Faust's services."""
    configuration = logs.configuration(settings.log_format, sys.stderr.isatty())
    configuration["filters"] = {"no bad requests": {"()": _NoBadRequests}}
    configuration["loggers"] |= {
        "aiohttp.server": {"filters": ["no bad requests"]},
        __name__: {"level": "WARNING"},  # Faust logs each start and end of a service there
    }
    return configuration


class _ServicesOnly(BootStrategy):
    """Starts no Kafka client of Faust. Its worker crashes with a consumer and no agent."""

    enable_kafka = False


class _Host(Worker):
    """Faust's worker, whose exit code is 1 when the engine failed."""

    app: LeadPulse

    def __init__(self, app: LeadPulse, *services: Any, **options: Any) -> None:
        super().__init__(app, *services, **options)
        self.spinner = None  # it would filter the log
        app.host = self

    def shut_down(self) -> None:
        """Stop everything, as on SIGTERM."""
        self._schedule_shutdown(signal.SIGTERM)

    def install_signal_handlers(self) -> None:
        """Add one handler to Faust's: on SIGHUP the worker reads the grid's file."""
        super().install_signal_handlers()
        self.loop.add_signal_handler(signal.SIGHUP, self.app.engine.look_at_grid)

    def _on_sigint(self) -> None:
        self._on_sigterm()

    def execute_from_commandline(self) -> NoReturn:
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            if self.app.failed and not self.app.tidy:
                self.app.say_why()
            raise SystemExit(1 if self.app.failed else end.code) from None


class LeadPulse(faust.App):
    """The Faust app, with the objects that its services share."""

    BootStrategy: ClassVar[type[BootStrategy]] = _ServicesOnly

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            "leadpulse",
            Worker=_Host,
            autodiscover=False,
            broker="kafka://" + settings.kafka.replace(",", ";"),  # for Faust's banner
            logging_config=_logging(settings),
            store="memory://",
            worker_redirect_stdouts=False,
        )
        self.settings = settings
        self.spans = _spans(settings)
        self.engine = Engine(settings, tracer=self.spans, stopping=self._end_for_certain)
        self.failed = False
        self.why = ""
        """Why it failed."""
        self.tidy = True
        """Everything was closed in good order, so the last line of the log has the reason."""
        self._last: threading.Timer | None = None
        self.running: asyncio.Task[None] | None = None
        """Runs the engine."""
        self.host: _Host | None = None

    @property
    def live(self) -> bool:
        """Whether the engine runs. False once its task has ended by itself."""
        return not self.failed and (self.running is None or not self.running.done() or self.engine.draining)

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

    async def run_engine(self) -> None:
        """Run the engine until it is drained. A failure ends the process. Its supervisor decides whether to restart it."""
        try:
            await self.engine.start()
        except WorkerMustStop as err:
            self.fail(str(err))
            return
        except Exception:
            log.exception("the engine did not start", extra=fields("worker.failed"))
            self.fail("unexpected error, see the traceback above; please report it")
            return
        _collect_less()
        try:
            await self.engine.run()
        except WorkerMustStop as err:
            self.fail(str(err))  # logged again, since the last line must be the reason
        except Exception:
            log.exception("the engine ended", extra=fields("worker.failed"))
            self.fail("unexpected error, see the traceback above; please report it")

    def _create_directories(self) -> None:
        """Make no directories. Faust needs them for tables only, and there are none."""


def create_app(settings: Settings) -> LeadPulse:
    """Return the app for *settings*, with a service for the engine and one for the pages. Connects to nothing yet.

    Raises `SettingsError` if the grid does not exist, or if tracing is on and OpenTelemetry is not installed.
    """
    app = LeadPulse(_with_grid_file(settings))

    @app.web_server
    class Pages(mode.Service):
        """Serves `/livez`, `/readyz` and `/metrics`, instead of Faust's pages."""

        runner: web.AppRunner | None = None

        async def on_start(self) -> None:
            self.runner = await _serve(app)

        async def on_stop(self) -> None:
            if self.runner is not None:
                await app.close("the pages", self.runner.cleanup, PAGES_S)

    @app.service
    class EngineHost(mode.Service):
        """Starts the engine in the background, so that the pages answer while it waits for Kafka. Drains it at the end."""

        async def on_start(self) -> None:
            app.running = asyncio.create_task(app.run_engine())

        async def on_stop(self) -> None:
            running, spans = app.running, app.spans
            if running is None:
                return
            if not app.failed:
                await _drain(app.engine)
            running.cancel()
            await app.close("the engine", lambda: asyncio.wait([running]))
            if spans is not None:
                await app.close("the spans", lambda: asyncio.to_thread(spans.close))

    return app


def _collect_less() -> None:
    """Let Python's garbage collector skip all present objects, and run less often.

    Present objects stay until the end. Nearly all objects of a batch are freed with it, without the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)


def _with_grid_file(settings: Settings) -> Settings:
    """Return *settings* with a file instead of a preset's name. Raises `SettingsError` if neither exists."""
    try:
        return settings.model_copy(update={"grid": str(grid_path(settings.grid))})
    except GridNotFound as err:
        raise SettingsError(f"LEADPULSE_GRID: {err}") from None


def _spans(settings: Settings) -> Spans | None:
    """Return the tracer, if tracing is on. Raises `SettingsError` if its library is missing or its settings are wrong."""
    if not settings.traces:
        return None
    try:
        from worker.adapters.tracing import Spans
    except ImportError as err:
        raise SettingsError(f"LEADPULSE_TRACES: {err}: pip install 'leadpulse[otel]', or leave it off") from None
    try:
        return Spans(settings)
    except ValueError as err:
        raise SettingsError(f"LEADPULSE_TRACES: OpenTelemetry refuses one of the OTEL_… variables: {err}") from None


async def _serve(app: LeadPulse) -> web.AppRunner | None:
    """Serve the pages. Fail the app if their address cannot be used."""
    host, port = app.settings.metrics_host, app.settings.metrics_port

    async def livez(_: web.Request) -> web.Response:
        # Any answer shows that the event loop runs.
        return web.Response(text="ok\n") if app.live else web.Response(text="the engine has ended\n", status=503)

    async def readyz(_: web.Request) -> web.Response:
        status = app.engine.status()
        return web.json_response(status.as_json(), status=200 if status.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        app.engine.observe()
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


async def _drain(engine: Engine) -> None:
    """Let the engine finish its batches. The next owner continues from the last finished batch, so nothing is lost."""
    log.info("draining, for %g s at most", DRAIN_S, extra=fields("worker.draining"))
    try:
        await engine.drain(DRAIN_S)
        log.info("drained", extra=fields("worker.drained"))
    except TimeoutError:
        log.warning(
            "not drained within %g s; the next owner goes on from the last batch", DRAIN_S, extra=fields("worker.not_drained")
        )


def __getattr__(name: str) -> Any:
    """Make `app` on demand (`faust -A worker.app worker`), so that importing the module reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = create_app(Settings.load(os.environ))
    except SettingsError as err:
        sys.exit(f"Error: {err}")
    globals()["app"] = made
    return made
