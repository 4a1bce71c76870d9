"""The worker's grid: read from its file at start, and again whenever the file changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.core.grid.diff import replayed
from worker.core.grid.messages import GridError
from worker.core.grid.model_text import Written, with_model
from worker.core.grid.models import parse_grid
from worker.core.grid.order import Entry
from worker.core.grid.tables import TABLES_VERSION
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.grid_order import Agreed, agree, put_labels
from worker.errors import StoreRefused, StoreUnavailable, WorkerMustStop
from worker.logs import fields
from worker.metrics import Metrics
from worker.ports import OrderStore
from worker.presets import read_written
from worker.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds between two reads of the file. A change counts once two reads are equal, since a file may be half written."""


def load_grid(settings: Settings) -> CompiledGrid:
    """Return the settings' grid, compiled. Raises `WorkerMustStop` with every mistake in it."""
    try:
        return _parse(read_written(Path(settings.grid)), settings)
    except OSError as err:
        raise WorkerMustStop(f"the grid {settings.grid} cannot be read: {err.strerror}: set LEADPULSE_GRID") from err
    except GridError as err:
        raise WorkerMustStop(f"the grid {settings.grid} has mistakes:\n{err}") from err


class GridFile:
    """Holds the grid in force as `compiled`. `watch` adds a changed file to the namespace's order, or logs why not.

    Without *store* the worker's own file is in force.
    """

    def __init__(self, settings: Settings, compiled: CompiledGrid, metrics: Metrics, store: OrderStore | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._store = store
        self._own = compiled
        """The last grid of the file without mistakes."""
        self._mistake: str | None = None
        """The mistakes of the present file; `None` without any."""
        self._found: Written | None = None
        """What the file and the model beside it held at the last read."""
        self._judged: Written | None = None
        """The content that was last accepted or refused; `None` while the file cannot be read."""
        self._asked = asyncio.Event()
        self._settling = asyncio.Lock()
        self._stored: bytes | None = None
        """The last text of the worker's own whose labels are those of the namespace."""
        self.compiled = compiled
        self.entry = _alone(compiled)
        """The entry in force, as of the last read of the order. `compiled` is its grid."""
        self.superseded = False
        """Other tables than this worker's are in force. It continues with its own."""
        self.refused: str | None = None
        """Why the present file is not in force; `None` if it is."""
        self._take(compiled)

    def look(self) -> None:
        """Read the file now. The caller knows that it is completely written, so it counts at once."""
        self._asked.set()

    async def watch(self) -> None:
        """Read the file and the namespace's order, again and again."""
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
                log.warning("the grid in force is unknown at present, trying again: %s", err, extra=fields("grid.unknown"))

    async def begin(self) -> None:
        """Read the grid in force before the first take-over. An empty order stays empty, because a journal may know more."""
        await self._settle(None, None)

    async def settle(self, past: Sequence[Entry], text: bytes | None) -> None:
        """Agree with the namespace on the grid before a partition continues. Waits until the store answers.

        *past* has the entries that the partition has been through, and *text* is the text of the last one.
        """
        while True:
            try:
                await self._settle(past, text)
            except StoreUnavailable as err:
                log.warning("the grid in force is not known yet, trying again: %s", err, extra=fields("grid.unknown"))
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
            self._put(await self._compiled_of(agreed), agreed.entry)
            if agreed.text is None and self._stored != self._own.grid.source:
                await put_labels(self._store, self._own.grid)
                self._stored = self._own.grid.source
            if agreed.superseded != self.superseded:
                self._note_tables(agreed)
            if self._mistake is None and agreed.refusal is not None:
                self._refuse(
                    f"the grid {self._settings.grid}, {_named(self._own)}, is refused: {agreed.refusal}. Put the grid in force"
                    " into the file, or put this one in force with `leadpulse grid force`"
                )

    async def _compiled_of(self, agreed: Agreed) -> CompiledGrid:
        if agreed.text is None:
            return self._own
        if agreed.entry.sha256 == self.compiled.grid.sha256:
            return self.compiled
        return await asyncio.to_thread(self._of_namespace, agreed.text)

    def _of_namespace(self, source: bytes) -> CompiledGrid:
        try:
            return CompiledGrid(parse_grid(source, "the namespace's grid"), self._settings.source)
        except GridError as err:
            raise WorkerMustStop(
                f"the grid in force in {self._settings.namespace} has mistakes for this version: upgrade it:\n{err}"
            ) from err

    def _note_tables(self, agreed: Agreed) -> None:
        self.superseded = agreed.superseded
        self._metrics.tables_superseded.set(agreed.superseded)
        if agreed.superseded:
            log.warning(
                "other tables (%s) have replaced this worker's (%s): it continues with its own, and judges no lead again for"
                " them. Upgrade it, or put its tables in force with `leadpulse grid force`",
                agreed.entry.tables,
                TABLES_VERSION,
                extra=fields("tables.superseded", tables=TABLES_VERSION, in_force=agreed.entry.tables),
            )

    async def _look(self, whole: bool) -> None:
        try:
            written = await asyncio.to_thread(read_written, Path(self._settings.grid))
        except OSError as err:
            self._found = self._judged = None
            self._mistake = f"the grid {self._settings.grid} cannot be read: {err.strerror}"
            self._refuse(self._mistake)
            return
        settled = whole or written == self._found
        self._found = written
        found = await asyncio.to_thread(with_model, written, self._settings.grid)
        if found.source == self._own.grid.source and not found.mistakes:
            self._judged, self._mistake = written, None
            if found.source == self.compiled.grid.source:
                self._note_same(whole)
                self._take(self.compiled)
        elif settled and (whole or written != self._judged):
            await self._judge(written)

    def _note_same(self, asked: bool) -> None:
        """Log that the file holds the grid in force, if it was refused before or an operator *asked* for a read."""
        if self.refused is not None:
            log.info("the grid file is again the one in force", extra=_grid_fields("grid.again", self.compiled))
        elif asked:
            extra = _grid_fields("grid.same", self.compiled)
            log.info("the grid file holds the grid in force: %s", _named(self.compiled), extra=extra)

    async def _judge(self, written: Written) -> None:
        self._judged = written
        try:
            self._own = await asyncio.to_thread(_parse, written, self._settings)
        except GridError as err:
            self._mistake = f"the grid {self._settings.grid} has mistakes:\n{err}"
        except Exception as err:
            # The grid in force goes on scoring events, whatever the file holds.
            log.exception("unexpected error; please report it with the grid", extra=fields("grid.error"))
            self._mistake = f"the grid {self._settings.grid} cannot be used: {err!r}"
        else:
            self._mistake = None
            return
        self._refuse(self._mistake)

    def _put(self, compiled: CompiledGrid, entry: Entry) -> None:
        """Judge by *compiled* from the next batches on."""
        if compiled.grid.sha256 != self.compiled.grid.sha256:
            _log_change(self.compiled, compiled)
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


def _log_change(before: CompiledGrid, now: CompiledGrid) -> None:
    extra = _grid_fields("grid.taken", now)
    log.info("another grid is in force: %s, before %s", _named(now), _named(before), extra=extra)
    for rule in replayed(before.grid, now.grid):
        extra = _grid_fields("grid.recount", now)
        log.warning("%s %s counts from now on only, until the past is replayed: %s", *rule, extra=extra)
    if now.grid.version == before.grid.version:
        extra = _grid_fields("grid.same_version", now)
        log.warning("its version is still %d: only the sha256 in outputs differs", now.grid.version, extra=extra)


def _alone(compiled: CompiledGrid) -> Entry:
    return Entry(0, compiled.grid.version, compiled.grid.sha256, TABLES_VERSION)


def _parse(written: Written, settings: Settings) -> CompiledGrid:
    return CompiledGrid(parse_grid(written.source, settings.grid, written.model), settings.source)


def _grid_fields(event: str, compiled: CompiledGrid) -> dict[str, dict[str, Any]]:
    """Return the fields of *event* about the grid of *compiled*."""
    grid = compiled.grid
    return fields(event, grid=grid.grid, grid_version=grid.version, sha256=grid.sha256)


def _named(compiled: CompiledGrid) -> str:
    grid = compiled.grid
    return f"{grid.grid} version {grid.version} (sha256 {grid.sha256[:12]})"
