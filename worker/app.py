"""The worker's process: a Faust app that hosts the engine.

`leadpulse run` and `faust -A worker.app worker` start the same app. Its settings come from the environment. There are no
agents, since the engine has its own Kafka clients (`worker/faust_host.py`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import mode

from worker.engine.engine import Engine
from worker.errors import GridNotFound, SettingsError, WorkerMustStop
from worker.faust_host import DRAIN_S as DRAIN_S
from worker.faust_host import HostedApp
from worker.logs import fields
from worker.presets import grid_path
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.tracing import Spans

log = logging.getLogger("leadpulse")

_ALLOCATIONS: Final = 5_000
"""New objects after which Python's garbage collector runs. Its default of 700 is less than one batch makes."""


class LeadPulse(HostedApp):
    """The Faust app, with the objects that its services share."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("leadpulse", __name__, settings)
        self.settings = settings
        self.spans = _spans(settings)
        self.engine = Engine(settings, tracer=self.spans, stopping=self._end_for_certain)

    @property
    def live(self) -> bool:
        """Whether the engine runs. False once its task has ended by itself."""
        return not self.failed and (self.running is None or not self.running.done() or self.engine.draining)

    def status(self) -> tuple[bool, dict[str, Any]]:
        """Return whether every partition is ready, and what `/readyz` shows."""
        status = self.engine.status()
        return status.ready, status.as_json()

    def observe(self) -> None:
        """Compute ages and lags."""
        self.engine.observe()

    def on_hangup(self) -> None:
        """Look at the grid's file."""
        self.engine.look_at_grid()

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


def create_app(settings: Settings) -> LeadPulse:
    """Return the app for *settings*, with a service for the engine. Connects to nothing yet.

    Raises `SettingsError` if the grid does not exist, or if tracing is on and OpenTelemetry is not installed.
    """
    app = LeadPulse(_with_grid_file(settings))

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
