"""Response times and buying phases, as the oracle understands them from the contract alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.kit.oracle_values import ALLOWANCE, EPOCH, as_list, duration

MINUTE = 60_000
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def respond_by(sla: Any, zone: str, at: int) -> int | None:
    """Return by when sales must respond to a lead handed over at *at*, minute by minute by the clock on the wall."""
    if not isinstance(sla, Mapping) or "hours" not in sla:
        within = duration(sla["within"] if isinstance(sla, Mapping) else sla)
        return None if within is None else at + within
    left = duration(sla["within"]) or 0
    now = at
    while True:
        step = MINUTE - now % MINUTE
        if is_open(sla["hours"], zone, now):
            if left <= step:
                return now + left
            left -= step
        now += step


def is_open(hours: Mapping[str, Any], zone: str, at: int) -> bool:
    """Tell whether sales can be reached at an instant."""
    wall = (EPOCH + timedelta(milliseconds=at)).astimezone(ZoneInfo(zone))
    return (
        DAYS[wall.weekday()] in open_days(hours["days"])
        and wall.date().isoformat() not in as_list(hours.get("off", []))
        and hours["from"] <= wall.strftime("%H:%M") < hours["to"]
    )


def open_days(days: Any) -> set[str]:
    """Return the days of the week that `days` names."""
    found: set[str] = set()
    for part in as_list(days):
        first, _, last = part.partition("-")
        day = first
        found.add(day)
        while last and day != last:
            day = DAYS[(DAYS.index(day) + 1) % 7]
            found.add(day)
    return found


def phases_of(grid: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return (name, enter, leave) of each phase, in the order written."""
    found: list[tuple[str, float, float]] = []
    for name, said in (grid.get("phases") or {}).items():
        phase: Mapping[str, float] = said if isinstance(said, Mapping) else {"enter": said}
        found.append((name, phase["enter"], phase.get("leave", phase["enter"])))
    return found


def phase_after(phases: list[tuple[str, float, float]], held: str | None, score: float) -> str | None:
    """Return the phase that a lead in phase *held* has at *score*."""
    names = [name for name, _, _ in phases]
    place = names.index(held) if held is not None else -1
    reached = [n for n, (_, enter, _) in enumerate(phases) if score >= enter - ALLOWANCE]
    if reached and max(reached) > place:
        return names[max(reached)]
    if place < 0 or score >= phases[place][2] - ALLOWANCE:
        return held
    kept = [n for n in range(place) if score >= phases[n][2] - ALLOWANCE]
    return names[max(kept)] if kept else None
