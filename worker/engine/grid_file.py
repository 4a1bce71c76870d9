"""The worker's grid: its file read at start, and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.core.grid.diff import replayed
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.grid_order import Agreed, agree
from worker.errors import StoreRefused, StoreUnavailable, WorkerMustStop
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import OrderStore
from worker.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds between two looks at the file. A change counts once two looks in a row find the same: it may be half written."""


def load_grid(settings: Settings) -> CompiledGrid:
    """Return the settings' grid, compiled. Raises `WorkerMustStop` with every mistake in it."""
    try:
        return _parse(Path(settings.grid).read_bytes(), settings)
    except OSError as err:
        raise WorkerMustStop(f"the grid {settings.grid} cannot be read: {err.strerror}: set LEADPULSE_GRID") from err
    except GridError as err:
        raise WorkerMustStop(f"the grid {settings.grid} has mistakes:\n{err}") from err


class GridFile:
    """Holds the grid in force as `compiled`; `watch` takes a changed file into the namespace's order, or says why not.

    Without *store* (a grid for one worker alone) the file is in force as it is.
    """

    def __init__(self, settings: Settings, compiled: CompiledGrid, metrics: Metrics, store: OrderStore | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._own = compiled
        """The last grid in the file that had no mistakes."""
        self._mistake: str | None = None
        """What is wrong with the file as it is now."""
        self._found: bytes | None = compiled.grid.source
        """What the last look found in the file."""
        self._judged: bytes | None = self._found
        """What was last taken or refused; `None` while there is nothing to read."""
        self._asked = asyncio.Event()
        self._settling = asyncio.Lock()
        self.compiled = compiled
        self.entry = _alone(compiled)
        """What the namespace judges by, as of the last look; its grid is that of `compiled`."""
        self.superseded = False
        """Newer tables than this worker's are in force: it goes on with its own."""
        self.refused: str | None = None
        """Why the file as it is now is not in force; `None` when it is."""
        self._take(compiled)

    def look(self) -> None:
        """Look at the file now, and take it as it is: whoever asks says that it is written."""
        self._asked.set()

    async def watch(self) -> None:
        """Look at the file, and at what other workers put in force, again and again."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            except TimeoutError:
                whole = False
            else:
                self._asked.clear()
                whole = True
            await self._look(whole)
            try:
                await self._settle(None, None)
            except (StoreUnavailable, StoreRefused) as err:
                log.warning("which grid is in force is not known now: %s", err, extra=fields("grid.unknown"))

    async def begin(self) -> None:
        """Learn what is in force before the first partition is taken over. An empty order stays so: a journal may know more."""
        await self._settle(None, None)

    async def settle(self, past: Sequence[Entry], text: bytes | None) -> None:
        """Agree with the namespace before a partition goes on that has been through *past*, whose last grid has this *text*.

        Waits until the store answers.
        """
        while True:
            try:
                await self._settle(past, text)
            except StoreUnavailable as err:
                log.warning("which grid is in force is not known yet: %s", err, extra=fields("grid.unknown"))
                await asyncio.sleep(1)
            else:
                return

    async def _settle(self, past: Sequence[Entry] | None, text: bytes | None) -> None:
        async with self._settling:
            if self._store is None:
                self._put(self._own, _alone(self._own))
                return
            agreed = await agree(self._store, self._own.grid, past, text)
            if agreed is None:
                return
            if agreed.text is None:
                compiled = self._own
            elif agreed.entry.sha256 == self.compiled.grid.sha256:
                compiled = self.compiled
            else:
                compiled = await asyncio.to_thread(self._of_namespace, agreed.text)
            self._put(compiled, agreed.entry)
            if agreed.superseded != self.superseded:
                self._say_tables(agreed)
            if self._mistake is None and agreed.refusal is not None:
                self._refuse(
                    f"the grid {self._settings.grid}, {_named(self._own)}, is not taken: {agreed.refusal}. Put the grid in"
                    " force into the file, or, if this one is to come back, say so with `leadpulse grid force`"
                )

    def _of_namespace(self, source: bytes) -> CompiledGrid:
        try:
            return CompiledGrid(parse_grid(source, "the namespace's grid"), self._settings.source)
        except GridError as err:
            raise WorkerMustStop(
                f"the grid in force in {self._settings.namespace} has mistakes for this version: upgrade it:\n{err}"
            ) from err

    def _say_tables(self, agreed: Agreed) -> None:
        self.superseded = agreed.superseded
        self._metrics.tables_superseded.set(agreed.superseded)
        if agreed.superseded:
            log.warning(
                "other tables (%s) have replaced this worker's (%s): it goes on with its own, and judges no lead again for"
                " them. Upgrade it, or, if its tables are to come back, say so with `leadpulse grid force`",
                agreed.entry.tables,
                TABLES_VERSION,
                extra=fields("tables.superseded", tables=TABLES_VERSION, in_force=agreed.entry.tables),
            )

    async def _look(self, whole: bool) -> None:
        try:
            source = await asyncio.to_thread(Path(self._settings.grid).read_bytes)
        except OSError as err:
            self._found = self._judged = None
            self._mistake = f"the grid {self._settings.grid} cannot be read: {err.strerror}"
            self._refuse(self._mistake)
            return
        settled = whole or source == self._found
        self._found = source
        if source == self._own.grid.source:
            self._judged, self._mistake = source, None
            if source == self.compiled.grid.source:
                if self.refused is not None:
                    log.info("the grid file is again the one in force", extra=_grid_fields("grid.again", self.compiled))
                elif whole:
                    log.info(
                        "the grid file holds the grid in force: %s",
                        _named(self.compiled),
                        extra=_grid_fields("grid.same", self.compiled),
                    )
                self._take(self.compiled)
        elif settled and (whole or source != self._judged):
            await self._judge(source)

    async def _judge(self, source: bytes) -> None:
        self._judged = source
        try:
            self._own = await asyncio.to_thread(_parse, source, self._settings)
        except GridError as err:
            self._mistake = f"the grid {self._settings.grid} has mistakes:\n{err}"
        except Exception as err:
            # Whatever somebody saved there, events go on being scored by the grid that is in force.
            log.exception("unexpected error; please report it with the grid", extra=fields("grid.error"))
            self._mistake = f"the grid {self._settings.grid} cannot be used: {err!r}"
        else:
            self._mistake = None
            return
        self._refuse(self._mistake)

    def _put(self, compiled: CompiledGrid, entry: Entry) -> None:
        """Judge by *compiled* from the next batches on."""
        before = self.compiled
        if compiled.grid.sha256 != before.grid.sha256:
            log.info(
                "another grid is in force: %s, before %s",
                _named(compiled),
                _named(before),
                extra=_grid_fields("grid.taken", compiled),
            )
            for rule in replayed(before.grid, compiled.grid):
                log.warning(
                    "%s %s counts from now on only, until the past is replayed: %s",
                    *rule,
                    extra=_grid_fields("grid.recount", compiled),
                )
            if compiled.grid.version == before.grid.version:
                log.warning(
                    "its version is still %d: outputs tell the two apart by their sha256 alone",
                    compiled.grid.version,
                    extra=_grid_fields("grid.same_version", compiled),
                )
        self.entry = entry
        self.compiled = compiled
        if self._mistake is None and compiled is self._own:
            self._take(compiled)
        else:
            self._metrics.grid_is(compiled.grid)

    def _take(self, compiled: CompiledGrid) -> None:
        self.compiled = compiled
        self.refused = None
        self._metrics.grid_is(compiled.grid)
        self._metrics.grid_refused.set(0)

    def _refuse(self, why: str) -> None:
        self._metrics.grid_refused.set(1)
        if why != self.refused:
            self.refused = why
            log.error(
                "%s\nrefused; the grid in force stays: %s",
                why,
                _named(self.compiled),
                extra=_grid_fields("grid.refused", self.compiled),
            )


def _alone(compiled: CompiledGrid) -> Entry:
    return Entry(0, compiled.grid.version, compiled.grid.sha256, TABLES_VERSION)


def _parse(source: bytes, settings: Settings) -> CompiledGrid:
    return CompiledGrid(parse_grid(source, settings.grid), settings.source)


def _grid_fields(event: str, compiled: CompiledGrid) -> dict[str, dict[str, Any]]:
    """Return the fields of *event* about the grid of *compiled*."""
    grid = compiled.grid
    return fields(event, grid=grid.grid, grid_version=grid.version, sha256=grid.sha256)


def _named(compiled: CompiledGrid) -> str:
    grid = compiled.grid
    return f"{grid.grid} version {grid.version} (sha256 {grid.sha256[:12]})"
