"""The process that acts: a Faust app with one agent a target, and a service that reads outputs.

`leadpulse act` and `faust -A worker.automations.app worker` start the same app. An agent takes acts from a channel in memory,
not from a topic. The ledger keeps all acts, so a crash loses nothing. A slow target holds no other back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mode

from worker.automations.dry import dry_run
from worker.automations.file import read_rules
from worker.automations.hands import EACH, Hands, Job
from worker.automations.live import Files, live
from worker.automations.metrics import ActMetrics
from worker.automations.program import DRAIN_S, Program
from worker.automations.targets.registry import KINDS
from worker.connections.file import read_connections
from worker.errors import LeadPulseError, SettingsError
from worker.faust_host import HostedApp
from worker.logs import fields
from worker.settings import ActSettings

log = logging.getLogger("leadpulse")


class ActApp(HostedApp):
    """The Faust app of the program that acts."""

    def __init__(self, settings: ActSettings, files: Files, since_ms: int) -> None:
        super().__init__("leadpulse-act", __name__, settings)
        self.settings = settings
        self.files = files
        self.since_ms = since_ms
        self.metrics = ActMetrics()
        self.program: Program | None = None
        self.draining = False
        self.hands = self._hands(name for name, target in files.connections.targets.items() if target.kind in KINDS)

    @property
    def live(self) -> bool:
        """Whether the program runs. False once its task has ended by itself."""
        return not self.failed and (self.running is None or not self.running.done() or self.draining)

    def status(self) -> tuple[bool, dict[str, Any]]:
        """Return whether each partition of ours is read, and what `/readyz` shows."""
        program = self.program
        if program is None:
            return False, {"ready": False, "draining": self.draining, "partitions": [], "reading": []}
        return program.ready, program.status()

    def _hands(self, targets: Iterable[str]) -> Hands:
        """Return hands that are agents: one agent a target, over a channel."""
        channels = {target: self._agent(target) for target in targets}

        async def put(target: str, job: Job) -> None:
            await channels[target].put(job)

        return Hands(channels, put)

    def _agent(self, target: str) -> Any:
        channel = self.channel(maxsize=EACH)

        async def act(jobs: Any) -> None:
            async for job in jobs:
                await job()

        self.agent(channel, name=f"target-{target}", concurrency=EACH)(act)
        return channel

    async def run(self) -> None:
        """Act until cancelled. A failure that must be mended ends the process."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own words have everything that matters of it
        self.flow_control.resume()  # Faust does so for its own consumer, and there is none
        try:
            if self.settings.act_dry:
                await dry_run(self.settings, self.files)
            else:
                await live(self.settings, self.files, self.hands, self.metrics, self._runs, self.since_ms)
        except LeadPulseError as error:
            self.fail(error.line())
        except Exception:
            log.exception("the program ended", extra=fields("act.ended"))
            self.fail("unexpected error, see the traceback above; please report it")

    def _runs(self, program: Program) -> None:
        self.program = program


def create_app(settings: ActSettings, environment: Mapping[str, str], since_ms: int = -1) -> ActApp:
    """Return the app for *settings*. Connects to nothing yet. *since_ms*: where a group begins that has read nothing.

    Raises `ConnectionsError` and `AutomationsError` with every mistake in the two files.
    """
    connections = read_connections(settings.connections, environment)
    rules = read_rules(settings.automations, connections, documents=Path(settings.documents))
    app = ActApp(settings, Files(connections, rules, environment), since_ms)

    @app.service
    class ProgramHost(mode.Service):
        """Starts the program in the background, so that the pages answer while it waits for Kafka. Drains it at the end."""

        async def on_start(self) -> None:
            app.running = asyncio.create_task(app.run())

        async def on_stop(self) -> None:
            running, program = app.running, app.program
            if running is None:
                return
            app.draining = True
            if program is not None and not app.failed:
                log.info("draining, for %g s at most", DRAIN_S, extra=fields("act.draining"))
                await program.drain()
            running.cancel()
            await app.close("the program", lambda: asyncio.wait([running]))
            if not app.failed:  # the last line of a failure is its reason
                log.info("drained", extra=fields("act.drained"))

    return app


def __getattr__(name: str) -> Any:
    """Make `app` on demand (`faust -A worker.automations.app worker`), so that importing the module reads no settings."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = create_app(ActSettings.load(os.environ), os.environ)
    except (SettingsError, LeadPulseError) as error:
        sys.exit(f"Error: {error}")
    globals()["app"] = made
    return made
