"""Which leaks stop a fit: those that are refused, are read by it, and are neither dropped nor allowed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.core.grid.models import Grid, Rule, Velocity
from worker.core.grid.point_tables import PointsTable
from worker.learning.leaks import Leak

_KINDS = ("trait:", "event:", "signal:")


def bare(name: str) -> str:
    """Return a name without the kind before it, as in `trait:role`."""
    return next((name.removeprefix(kind) for kind in _KINDS if name.startswith(kind)), name)


def stopping(leaks: Sequence[Leak], read: Collection[str] | None, passed: Collection[str]) -> list[Leak]:
    """Return the refused leaks that the fit would read. *read*: what it reads, `None` for all. *passed*: dropped or allowed."""
    let = {name for one in passed for name in (one, bare(one))}
    return [
        leak
        for leak in leaks
        if leak.verdict == "refuse"
        and not {leak.name, bare(leak.name)} & let
        and (read is None or leak.name in read or bare(leak.name) in read)
    ]


def read_by(grid: Grid) -> set[str]:
    """Return the traits, event types and signals that the grid's rules read."""
    found: set[str] = set()
    for rule in grid.fit.rules:
        found |= {rule.id, *(condition.path for condition in rule.where.conditions)} if rule.where is not None else {rule.id}
        if isinstance(rule.points, PointsTable):
            found.add(rule.points.path)
    deeds: list[Rule | Velocity] = [*grid.engagement.rules, *grid.velocity]
    for deed in deeds:
        found |= {deed.id, *deed.on}
    return found
