"""The worker's grid: its file read at start, and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from worker.core.grid.diff import replayed
from worker.core.grid.models import GridError, parse_grid
from worker.core.scoring.compiled_grid import Scorer
from worker.engine.errors import Stop
from worker.logs import fields
from worker.metrics import Metrics
from worker.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds between two looks at the file. A change counts once two looks in a row find the same: it may be half written."""


def load_scorer(settings: Settings) -> Scorer:
    """Return the settings' grid, compiled. Raises `Stop` with every mistake in it."""
    try:
        return _parse(Path(settings.grid).read_bytes(), settings)
    except OSError as err:
        raise Stop(f"the grid {settings.grid} cannot be read: {err.strerror}: set LEADPULSE_GRID") from err
    except GridError as err:
        raise Stop(f"the grid {settings.grid} has mistakes:\n{err}") from err


class GridFile:
    """Holds the grid in force as `scorer`; `watch` puts a changed file in its place, or says why not."""

    def __init__(self, settings: Settings, scorer: Scorer, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._found: bytes | None = scorer.grid.source
        """What the last look found in the file."""
        self._judged: bytes | None = self._found
        """What was last taken or refused; `None` while there is nothing to read."""
        self._asked = asyncio.Event()
        self.refused: str | None = None
        """Why the file as it is now is not in force; `None` when it is."""
        self._take(scorer)

    def look(self) -> None:
        """Look at the file now, and take it as it is: whoever asks says that it is written."""
        self._asked.set()

    async def watch(self) -> None:
        """Look at the file again and again."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            except TimeoutError:
                await self._look(whole=False)
            else:
                self._asked.clear()
                await self._look(whole=True)

    async def _look(self, whole: bool) -> None:
        try:
            source = await asyncio.to_thread(Path(self._settings.grid).read_bytes)
        except OSError as err:
            self._found = self._judged = None
            self._refuse(f"the grid {self._settings.grid} cannot be read: {err.strerror}")
            return
        settled = whole or source == self._found
        self._found = source
        if source == self.scorer.grid.source:
            if self.refused is not None:
                log.info("the grid file is again the one in force", extra=_told("grid.again", self.scorer))
            elif whole:
                log.info(
                    "the grid file holds the grid in force: %s", _named(self.scorer), extra=_told("grid.same", self.scorer)
                )
            self._take(self.scorer)
        elif settled and (whole or source != self._judged):
            await self._judge(source)

    async def _judge(self, source: bytes) -> None:
        self._judged = source
        try:
            scorer = await asyncio.to_thread(_parse, source, self._settings)
        except GridError as err:
            self._refuse(f"the grid {self._settings.grid} has mistakes:\n{err}")
            return
        except Exception as err:
            # Whatever somebody saved there, events go on being scored by the grid that is in force.
            log.exception("an error that nobody foresaw; please report it with the grid", extra=fields("grid.error"))
            self._refuse(f"the grid {self._settings.grid} cannot be used: {err!r}")
            return
        log.info(
            "another grid is in force: %s, before %s", _named(scorer), _named(self.scorer), extra=_told("grid.taken", scorer)
        )
        for rule in replayed(self.scorer.grid, scorer.grid):
            log.warning(
                "%s %s counts from now on only, until the past is replayed: %s", *rule, extra=_told("grid.recount", scorer)
            )
        if scorer.grid.version == self.scorer.grid.version:
            log.warning(
                "its version is still %d: outputs tell the two apart by their sha256 alone",
                scorer.grid.version,
                extra=_told("grid.same_version", scorer),
            )
        self._take(scorer)

    def _take(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._judged = scorer.grid.source
        self.refused = None
        self._metrics.grid_is(scorer.grid)
        self._metrics.grid_refused.set(0)

    def _refuse(self, why: str) -> None:
        self._metrics.grid_refused.set(1)
        if why != self.refused:
            self.refused = why
            log.error(
                "%s\nrefused; the grid in force stays: %s", why, _named(self.scorer), extra=_told("grid.refused", self.scorer)
            )


def _parse(source: bytes, settings: Settings) -> Scorer:
    return Scorer(parse_grid(source, settings.grid), settings.source)


def _told(event: str, scorer: Scorer) -> dict[str, dict[str, Any]]:
    """Return the fields of *event* about the grid of *scorer*."""
    grid = scorer.grid
    return fields(event, grid=grid.grid, grid_version=grid.version, sha256=grid.sha256)


def _named(scorer: Scorer) -> str:
    grid = scorer.grid
    return f"{grid.grid} version {grid.version} (sha256 {grid.sha256[:12]})"
