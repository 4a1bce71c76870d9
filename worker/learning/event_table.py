"""A learning table from a log of events: landmarks of each lead, with the judge's own read and an honest outcome."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import UNSET

from worker.core.grid.models import Grid
from worker.core.scoring.signals import signal_ids
from worker.errors import LearningError
from worker.learning.fold_part import fold_part, write_order
from worker.learning.group_fold import month_of
from worker.learning.landmarks import DAY_MS, Label, Options, Tally, folding_grid, longest_memory_ms
from worker.learning.recording import Month, unrecorded
from worker.learning.spool import (
    LINKS_FILE,
    RECORDS_FILE,
    Arrived,
    Scan,
    days_to_reach,
    first_reached_ms,
    reached_since,
    spool,
)
from worker.learning.table_words import WHY
from worker.learning.tables import Dropped, GridFacts, Immature, TableFacts, new_table
from worker.learning.wide_rows import ROLES, YOUNG_ROLES, Sums, counts_before, parts_of, shape_of, wins_since
from worker.processes import Children

PROCESSES: Final = 2
_ROOT: Final = str(Path(__file__).parents[2])
_ALONE: Final = 30_000
"""Fewer records than this are folded in this process."""
_GRACE_S: Final = 5.0
_FEW_WINS: Final = 20
"""With fewer wins their days say nothing about the horizon."""
_YEAR_MS: Final = 365 * DAY_MS
_WINS_WITHIN: Final = 0.8
"""The horizon need not be longer than this share of the wins take."""


class Log(Protocol):
    """A history, as `worker.history` opens it."""

    @property
    def end_ms(self) -> int | None:
        """The latest tick or arrival, once `events` has ended."""

    def events(self) -> Iterator[Arrived]:
        """Yield the records in order of arrival."""


class EventChoice(NamedTuple):
    """What kind of rows are made."""

    horizon_ms: int = 90 * DAY_MS
    """The longest horizon. It is shorter where most wins come sooner."""
    every_ms: int = 7 * DAY_MS
    label: Label = "won"
    complete: bool = False
    """Nothing happened before the log begins, so it needs no left edge."""
    young: bool = False
    """Rows whose horizon ends after the log are kept where the others hold under half of the last year's wins."""
    shadow: bool = False
    """See `Options.shadow`."""


Engine = Callable[[Path, Grid, Options, Scan], Tally]
"""Folds the log in a folder. Rows are put into the folder, in files `rows-*.parquet`."""


def local_engine(folder: Path, grid: Grid, options: Options, scan: Scan) -> Tally:
    """Fold the log in *folder* on this machine, in two processes where it is worth it."""
    write_order(folder, grid.source, options)
    parts = 1 if scan.records < _ALONE else PROCESSES
    if parts == 1:
        fold_part(folder, 0, 1)
    else:
        with Children(_GRACE_S) as children:
            command = [sys.executable, "-P", "-m", "worker.learning.fold_part", str(folder)]
            env = {**os.environ, "PYTHONPATH": os.pathsep.join((_ROOT, os.environ.get("PYTHONPATH", "")))}
            started = [children.start([*command, str(part), str(parts)], env) for part in range(parts)]
            codes = [child.wait() for child in started]
        if any(codes):
            raise RuntimeError(f"a process that folds the log ended with {codes}")
    tally = Tally()
    for part in range(parts):
        tally.add(msgspec.json.decode((folder / f"tally-{part}.json").read_bytes(), type=Tally))
    return tally


def event_table(log: Log, name: str, grid: Grid, choice: EventChoice, out: str, engine: Engine = local_engine) -> TableFacts:
    """Write the table of a log under *grid* to *out*, and return its facts. *name* names the log in messages and facts.

    The log is read once, and written to a temporary folder. Memory holds a part of it, and the ids that are linked to others.
    Raises `LearningError` where no row is left.
    """
    with tempfile.TemporaryDirectory(prefix="leadpulse-table-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        scan = spool(log.events(), grid, folder)
        if scan.first_ms is None or scan.last_ms is None:
            raise LearningError(f"{name}: there is no event in it")
        end_ms = scan.last_ms if log.end_ms is None else log.end_ms
        options = Options(
            horizon_ms=_horizon_ms(days_to_reach(folder, choice.label), choice.horizon_ms),
            every_ms=choice.every_ms,
            end_ms=end_ms,
            edge_ms=scan.first_ms + (0 if choice.complete else longest_memory_ms(grid)),
            label=choice.label,
            recorded=scan.recorded,
            shadow=choice.shadow,
        )
        tally = engine(folder, grid, options, scan)
        from_ms = _from_ms(_months(folder, choice.label, tally))
        immature = None
        if choice.young and (found := _with_young(folder, grid, options, scan, engine, from_ms)) is not None:
            folder, options, tally, immature = found
        if scan.without_subject:
            tally.leave_out("bad_record", scan.without_subject)
        first_ms, months = first_reached_ms(folder, choice.label), _months(folder, choice.label, tally)
        roles = ROLES if immature is None else (*ROLES, *YOUNG_ROLES)
        shape = shape_of(signal_ids(folding_grid(grid, options)), tally, roles)
        sums, young = Sums(), Sums()
        with new_table(out, shape.schema) as writer:
            for part in parts_of(folder, shape, from_ms, options, sums, young):
                writer.write(part)
            design_effect = sums.design_effect()
            young.design_effect()  # ends the last lead
            facts = TableFacts(
                kind="events",
                source=name.rstrip("/").rpartition("/")[2],
                grid=GridFacts(grid.grid, grid.version, grid.sha256, grid.source.decode("utf-8", "replace")),
                label=choice.label,
                horizon_ms=options.horizon_ms,
                every_ms=options.every_ms,
                leads=sums.leads,
                rows=sums.rows,
                won_leads=sums.won_leads,
                from_ms=max(options.edge_ms, from_ms or 0),
                to_ms=options.mature_ms,
                end_ms=end_ms,
                dropped=_dropped(tally, months, folder),
                recording={
                    "first_outcome_ms": first_ms,
                    "handovers": "recorded" if options.recorded or options.shadow else "replayed",
                    "months": [month._asdict() for month in months],
                },
                records=dict(sorted(tally.records.items())),
                design_effect=design_effect,
                features=shape.features,
                roles=shape.roles,
                immature=UNSET if immature is None else Immature(young.rows, young.leads, young.won_leads, *immature),
            )
            writer.end(facts)
            if not sums.rows:
                raise LearningError(_nothing(name, facts))
    return facts


def _months(folder: Path, label: Label, tally: Tally) -> list[Month]:
    """Return the months in which outcomes were not recorded yet."""
    first_ms = first_reached_ms(folder, label)
    return [] if first_ms is None else unrecorded(tally.month_leads, tally.month_won, month_of(first_ms))


def _from_ms(months: list[Month]) -> int | None:
    return _end_of(months[-1].month) if months else None


def _with_young(
    folder: Path, grid: Grid, options: Options, scan: Scan, engine: Engine, from_ms: int | None
) -> tuple[Path, Options, Tally, tuple[int, int]] | None:
    """Fold once more with rows whose horizon ends after the log, if the others hold under half of the last year's wins.

    Return the folder of those rows and what belongs to them, with the wins that mature rows hold and all wins.
    """
    since_ms = options.end_ms - _YEAR_MS
    held, _ = wins_since(folder, since_ms, from_ms, options.mature_ms)
    if not held or 2 * held >= reached_since(folder, options.label, since_ms):
        return None
    further = folder / "young"
    further.mkdir()
    for name in (RECORDS_FILE, LINKS_FILE):
        os.link(folder / name, further / name)
    options = msgspec.structs.replace(options, young=True)
    tally = engine(further, grid, options, scan)
    wins = wins_since(further, since_ms, from_ms, options.mature_ms)
    return (further, options, tally, wins) if 2 * wins[0] < wins[1] else None


def _horizon_ms(reached: list[int], most_ms: int) -> int:
    """Return the horizon in whole days: *most_ms*, or that within which 80 % of the wins come."""
    if len(reached) < _FEW_WINS:
        return most_ms
    within_ms = reached[ceil(_WINS_WITHIN * len(reached)) - 1]
    return min(most_ms, max(1, ceil(within_ms / DAY_MS)) * DAY_MS)


def _end_of(month: str) -> int:
    """Return the instant at which the month ends, in UTC."""
    year, number = int(month[:4]), int(month[5:])
    first = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(first.timestamp()) * 1000


def _dropped(tally: Tally, months: list[Month], folder: Path) -> list[Dropped]:
    found = [Dropped(why, rows, tally.leads.get(why, 0)) for why, rows in sorted(tally.rows.items()) if rows]
    if months:
        rows, leads = counts_before(folder, _end_of(months[-1].month))
        found.append(Dropped("before_recording", rows, leads, ", ".join(month.month for month in months)))
    return found


def _nothing(name: str, facts: TableFacts) -> str:
    reasons = "; ".join(f"{one.rows:,}: {WHY[one.why]}" for one in facts.dropped) or "it has no lead"
    return f"{name}: no row is left of this log ({reasons}): try a shorter --horizon, or --complete if nothing came before it"
