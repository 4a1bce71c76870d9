"""What a namespace's log says of an experiment: first handovers, and when leads reached the outcome."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.errors import LearningError
from worker.history.record import HistoryRecord
from worker.learning.experiment import Call, Plan, PlannedGrid
from worker.learning.landmarks import REACHED

_SQL: Final = "lead.sql"


class _Grid(msgspec.Struct, gc=False):
    sha256: str = ""


class _Data(msgspec.Struct, gc=False):
    grid: _Grid
    explored: bool = False


class _Sql(msgspec.Struct, gc=False):
    data: _Data


_sql: Final = msgspec.json.Decoder(_Sql).decode


class Log(Protocol):
    """A history, as `worker.history` opens it."""

    @property
    def source(self) -> str:
        """As it was given."""

    @property
    def end_ms(self) -> int | None:
        """The latest tick or arrival, once `events` has ended."""

    def events(self, types: Collection[str] | None = None) -> Iterator[HistoryRecord]:
        """Yield the records in order of arrival."""


class Followed(NamedTuple):
    """One namespace's side of the experiment."""

    calls: dict[str, Call]
    """The first handover of each lead, also before the experiment."""
    reached_ms: dict[str, list[int]]
    end_ms: int


def follow(log: Log, grid: PlannedGrid, plan: Plan) -> Followed:
    """Read a namespace's log. Leads that `explore` chose are no disagreement, and are left out.

    Raises `LearningError` where another grid than the planned one handed leads over during the experiment, or without outputs.
    """
    calls: dict[str, Call] = {}
    reached: defaultdict[str, list[int]] = defaultdict(list)
    outputs = 0
    for record in log.events([_SQL, *sorted(REACHED[plan.outcome])]):
        if record.subject is None:
            continue
        if not record.output:
            if record.type != _SQL:
                reached[record.subject].append(record.arrival_ms)
            continue
        try:
            held = _sql(record.value).data
        except msgspec.MsgspecError as error:
            place = f"{record.topic}:{record.partition}:{record.offset}"
            raise LearningError(f"{log.source}: {place}: a lead.sql without the grid that gave it: {error}") from None
        outputs += 1
        if held.grid.sha256 != grid.sha256 and plan.from_ms <= record.arrival_ms < plan.to_ms:
            raise LearningError(
                f"{log.source}: another grid than {grid.name} version {grid.version} of the plan handed leads over within the "
                "experiment: a plan holds for the grids that it names, so make a new one"
            )
        if not held.explored:
            calls.setdefault(record.subject, Call(record.arrival_ms, held.grid.sha256))
    if not outputs:
        raise LearningError(f"{log.source}: there is no lead.sql in it: name the archive of a namespace whose worker ran")
    return Followed(calls, dict(reached), log.end_ms or 0)
