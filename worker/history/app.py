"""The process that archives: a Faust app that hosts the program."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import mode

from worker.adapters.stored_files import Files, files_at
from worker.errors import LeadPulseError, SettingsError
from worker.faust_host import HostedApp
from worker.history.live import live
from worker.history.metrics import ArchiveMetrics
from worker.history.program import DRAIN_S, Program
from worker.logs import fields
from worker.settings import ArchiveSettings

log = logging.getLogger("leadpulse")


class ArchiveApp(HostedApp):
    """The Faust app of the program that archives."""

    def __init__(self, settings: ArchiveSettings, files: Files) -> None:
        super().__init__("leadpulse-archive", __name__, settings)
        self.settings = settings
        self.files = files
        self.metrics = ArchiveMetrics()
        self.program: Program | None = None
        self.draining = False

    @property
    def live(self) -> bool:
        """Whether the program runs. False once its task has ended by itself."""
        return not self.failed and (self.running is None or not self.running.done() or self.draining)

    def status(self) -> tuple[bool, dict[str, Any]]:
        """Return whether each partition of ours is archived, and what `/readyz` shows."""
        program = self.program
        if program is None:
            return False, {"ready": False, "draining": self.draining, "partitions": [], "reading": 0, "failing": []}
        return program.ready, program.status()

    async def run(self) -> None:
        """Archive until cancelled. A failure that must be mended ends the process."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own words have everything that matters of it
        try:
            await live(self.settings, self.files, self.metrics, self._runs)
        except LeadPulseError as error:
            self.fail(error.line())
        except Exception:
            log.exception("the program ended", extra=fields("archive.ended"))
            self.fail("unexpected error, see the traceback above; please report it")

    def _runs(self, program: Program) -> None:
        self.program = program


def create_app(settings: ArchiveSettings) -> ArchiveApp:
    """Return the app for *settings*. Connects to nothing yet. Raises `FilesError` for a place that cannot be used."""
    app = ArchiveApp(settings, files_at(settings.place, "archive"))

    @app.service
    class ArchiveHost(mode.Service):
        """Starts the program in the background, so that the pages answer while it waits for Kafka. Drains it at the end."""

        async def on_start(self) -> None:
            app.running = asyncio.create_task(app.run())

        async def on_stop(self) -> None:
            running, program = app.running, app.program
            if running is None:
                return
            app.draining = True
            if program is not None and not app.failed:
                log.info("draining, for %g s at most", DRAIN_S, extra=fields("archive.draining"))
                await program.drain()
            running.cancel()
            await app.close("the program", lambda: asyncio.wait([running]))
            if not app.failed:  # the last line of a failure is its reason
                log.info("drained", extra=fields("archive.drained"))

    return app


def __getattr__(name: str) -> Any:
    """Make `app` on demand (`faust -A worker.history.app worker`), so that importing the module reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = create_app(ArchiveSettings.load(os.environ))
    except (SettingsError, LeadPulseError) as error:
        sys.exit(f"Error: {error}")
    globals()["app"] = made
    return made
