"""What a velocity rule can count, as a grid's author sees it. `worker.core.scoring.velocity` does the counting."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class KindInGrids(NamedTuple):
    """One value of `count`."""

    name: str
    kept: str
    """What states keep for it. Rules whose kinds keep the same share what was counted."""
    words: str
    """What the number is, for the report: "3 {words}"."""
    limit_days: int
    """Longest `within`: older days are not kept."""
    most_a_day: int | None
    """Most that one day adds to the number. `None`: there is no bound."""
    most_at_all: int | None = None
    """The largest number, however long the window. `None`: the days alone bound it."""

    def most(self, within_days: int) -> int | None:
        """Return the largest number that a rule can reach within so many days. `None`: there is no bound."""
        return self.most_at_all if self.most_a_day is None else self.most_a_day * within_days


KINDS: Final[Mapping[str, KindInGrids]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            KindInGrids("days", "days", "days with one of them", limit_days=45, most_a_day=1),
            KindInGrids("sessions", "sessions", "sessions with one of them", limit_days=7, most_a_day=16),
            KindInGrids("events", "events", "times", limit_days=45, most_a_day=None),
            KindInGrids("rise", "days", "more days than in the period before", limit_days=45, most_a_day=1),
            KindInGrids("depth", "depths", "events in one session", limit_days=7, most_a_day=None, most_at_all=255),
        )
    }
)
"""By name, as in a grid's `count`."""
