"""A fit rule's table of points, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.core.grid.conditions import Condition, Where
from worker.core.grid.point_tables import PointsTable
from worker.core.grid.predicates import compile_where

ELSE: Final = "else"
"""How a reason names the points of a trait that meets no row."""


class FitTable:
    """Says which row of a table a lead's traits meet, and its points."""

    def __init__(self, table: PointsTable) -> None:
        rows = [(_asked(row.condition), row.points, row.name) for row in table.rows]
        # Of the bands the last one that is reached counts: it is asked first.
        self._rows = rows[::-1] if table.bands else rows
        self.names = [row.name for row in table.rows]
        """Of the rows, in the order written."""
        self._is_there = _asked(Condition(table.path, "exists", True))
        self._otherwise = table.otherwise

    def row(self, traits: Mapping[str, Any]) -> tuple[float, str | None]:
        """Return the points for *traits* (with the derived ones), and the name of the row; `None` for a missing trait."""
        if not self._is_there(traits):
            return 0.0, None
        for asked, points, name in self._rows:
            if asked(traits):
                return points, name
        return self._otherwise, ELSE


def _asked(condition: Condition) -> Any:
    return compile_where(Where((condition,)), flat=True)
