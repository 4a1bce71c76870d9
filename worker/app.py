"""The process: a Faust app that hosts the engine, answers health checks, shows metrics, and ends when told to.

`leadpulse run` and `faust -A worker.app worker` start the same app; its settings come from the environment. Faust gives the
process, its signals and the supervision of services. Kafka is the engine's own business and there are no agents here: Faust's
consumer neither reads committed records nor ties offsets to a batch in Redis.
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
"""Given to the engine to finish what it holds; with it the process ends within 10 s of the signal."""

PAGES_S: Final = 2.0
"""Given to the pages to end the requests that they answer."""

END_S: Final = 25.0
"""After which a worker that must stop is ended, whatever keeps it; all steps of closing together take less."""

_ALLOCATIONS: Final = 5_000
"""After so many new objects Python's collector looks at the youngest; its own 700 are less than one batch makes."""


class _NotTheirs(logging.Filter):
    """Keeps what clients of the pages send wrongly out of the log: whoever reaches the pages could fill it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _logging(settings: Settings) -> dict[str, Any]:
    """Return how the process logs: as `worker.logs` says, without what only Faust and who plays with the pages want to say."""
    configuration = logs.configuration(settings.log_format, sys.stderr.isatty())
    configuration["filters"] = {"not theirs": {"()": _NotTheirs}}
    configuration["loggers"] |= {
        "aiohttp.server": {"filters": ["not theirs"]},
        __name__: {"level": "WARNING"},  # where Faust tells of each service that starts and stops
    }
    return configuration


class _ServicesOnly(BootStrategy):
    """Start no Kafka client of Faust's: with a consumer and no agent its worker crashes."""

    enable_kafka = False


class _Host(Worker):
    """Faust's worker, whose exit code is 1 when the engine failed."""

    app: LeadPulse

    def __init__(self, app: LeadPulse, *services: Any, **options: Any) -> None:
        super().__init__(app, *services, **options)
        self.spinner = None  # it would filter what the log shows
        app.host = self

    def shut_down(self) -> None:
        """Stop everything, as on SIGTERM."""
        self._schedule_shutdown(signal.SIGTERM)

    def install_signal_handlers(self) -> None:
        """Add to Faust's: SIGHUP looks at the grid's file."""
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
    """The Faust app, with what its services share."""

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
        """Nothing complained of its end, so the last line of the log is the one that says why."""
        self._last: threading.Timer | None = None
        self.running: asyncio.Task[None] | None = None
        """Runs the engine."""
        self.host: _Host | None = None

    @property
    def live(self) -> bool:
        """Whether the engine is at work: its task has not ended by itself."""
        return not self.failed and (self.running is None or not self.running.done() or self.engine.draining)

    def fail(self, why: str) -> None:
        """Stop the worker with exit code 1, saying *why* in one line."""
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
        """From now on the process ends within `END_S`, even where a thread, a connection or a service keeps it."""
        self.why = self.why or why
        if self._last is None:
            self._last = threading.Timer(END_S, self._end)
            self._last.daemon = True
            self._last.start()

    def _end(self) -> None:
        """End the process, which has not ended by itself. Runs in a thread, because nothing else may run any more."""
        words = threading.Thread(target=self.say_why, daemon=True)  # what keeps the process may keep the log too
        words.start()
        words.join(1.0)
        os._exit(1)

    async def run_engine(self) -> None:
        """Run the engine until it is drained. A failure ends the process: whoever supervises it decides what comes next."""
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
            self.fail(str(err))  # again, after what the engine said since the moment when it happened: the last line tells why
        except Exception:
            log.exception("the engine ended", extra=fields("worker.failed"))
            self.fail("unexpected error, see the traceback above; please report it")

    def _create_directories(self) -> None:
        """Make none: Faust's folders are for tables, and there are none."""


def create_app(settings: Settings) -> LeadPulse:
    """Return the app for *settings*: one service hosts the engine, one the pages. Connects to nothing yet.

    Raises `SettingsError` when there is no such grid, or when traces are asked for and OpenTelemetry is not installed.
    """
    app = LeadPulse(_with_grid_file(settings))

    @app.web_server
    class Pages(mode.Service):
        """`/livez`, `/readyz` and `/metrics`, and nothing else that Faust would serve."""

        runner: web.AppRunner | None = None

        async def on_start(self) -> None:
            self.runner = await _serve(app)

        async def on_stop(self) -> None:
            if self.runner is not None:
                await app.close("the pages", self.runner.cleanup, PAGES_S)

    @app.service
    class EngineHost(mode.Service):
        """Starts the engine beside the pages, so that they answer while it waits for Kafka, and drains it at the end."""

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
    """Let Python's collector of garbage pass over what is there now, and look less often at what batches make.

    Nearly all of that goes by itself when its batch does, and what was imported stays to the end.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)


def _with_grid_file(settings: Settings) -> Settings:
    """Return *settings* with a file in the place of a preset's name. Raises `SettingsError` without either."""
    try:
        return settings.model_copy(update={"grid": str(grid_path(settings.grid))})
    except GridNotFound as err:
        raise SettingsError(f"LEADPULSE_GRID: {err}") from None


def _spans(settings: Settings) -> Spans | None:
    """Return where spans go, if anywhere. Raises `SettingsError` when what sends them is not installed, or told nonsense."""
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
    """Serve the pages, or fail the app when their address is not to be had."""
    host, port = app.settings.metrics_host, app.settings.metrics_port

    async def livez(_: web.Request) -> web.Response:
        # An answer at all says that the loop turns.
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
    """Let the engine finish what it holds. What it could not finish is nobody's loss: the next owner goes on from there."""
    log.info("draining, for %g s at most", DRAIN_S, extra=fields("worker.draining"))
    try:
        await engine.drain(DRAIN_S)
        log.info("drained", extra=fields("worker.drained"))
    except TimeoutError:
        log.warning(
            "not drained within %g s; the next owner goes on from the last batch", DRAIN_S, extra=fields("worker.not_drained")
        )


def __getattr__(name: str) -> Any:
    """Make `app` when it is asked for (`faust -A worker.app worker`), so that importing the module reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = create_app(Settings.load(os.environ))
    except SettingsError as err:
        sys.exit(f"Error: {err}")
    globals()["app"] = made
    return made
