"""Logs of events for tests of learning tables, and the table that is made of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kit.grids import a_grid, parsed
from tests.kit.stories import DAY, START, Line, an_event
from worker.core.grid.models import Grid
from worker.history.records import open_history
from worker.learning.event_table import EventChoice, event_table
from worker.learning.tables import Table, read_table

GRID = parsed(
    a_grid(
        fit="{rules: [{id: cto, points: 10, where: {role: cto}}]}",
        engagement="""
        half_life: 1d
        rules: [{id: page, points: 8, on: page.viewed}, {id: demo, points: 40, on: demo.requested}]
        """,
        velocity="[{id: back, on: page.viewed, count: rise, within: 5d, steps: {1: 2}}]",
        stages="{mql: {enter: 16}, sql: {enter: 40}, quiet: 3d}",
    )
)
PAGE = ("page.viewed", {"url": "/"})
CHOICE = EventChoice(horizon_ms=10 * DAY, every_ms=2 * DAY, complete=True)
"""Rows every two days, with a horizon of ten at most."""

YOUNG = CHOICE._replace(horizon_ms=20 * DAY, young=True)
"""A horizon that is long for `a_young_log`, so that rows without a whole one count too."""


def log_of(*events: tuple[float, str, str, dict[str, Any]]) -> list[Line]:
    """Return a log of (day, lead, type, data), in order of time."""
    ordered = sorted(events, key=lambda event: event[0])
    return [an_event(lead, n, round(START + day * DAY), type_, data) for n, (day, lead, type_, data) in enumerate(ordered)]


def a_crowd(leads: int = 60, days: int = 90, wins_after: float = 7.0) -> list[Line]:
    """Return a log in which every third lead is won some days after its first event, and the others go on."""
    events: list[tuple[float, str, str, dict[str, Any]]] = [(days, "last", *PAGE)]
    for n in range(leads):
        begin, lead = (n * 7) % (days - 20) + n / 1000, f"lead-{n:03d}"
        events += [(begin + step, lead, *PAGE) for step in range(n % 5)]
        events.append((begin, lead, "profile.updated", {"traits": {"role": "cto" if n % 2 else "ceo", "odd": n}}))
        if n % 3 == 0:
            events.append((begin + wins_after, lead, "crm.won", {}))
        if n % 4 == 0:
            events.append((begin, f"visitor:{n}", *PAGE))
            events.append((begin + 1, lead, "lead.identified", {"anonymous_id": f"visitor:{n}"}))
    return log_of(*events)


def a_young_log(days: float = 30.0) -> list[Line]:
    """Return a log in which more and more leads come, and each ninth is won on one of its first twenty days."""
    events: list[tuple[float, str, str, dict[str, Any]]] = [(days, "last", *PAGE)]
    for n in range(200):
        begin, lead = days * (n / 200) ** 0.5, f"lead-{n:03d}"
        events.append((begin, lead, *PAGE))
        if n % 9 == 0:
            events.append((begin + 1 + n % 20, lead, "crm.won", {}))
    return log_of(*(event for event in events if event[0] <= days))


def made(folder: Path, lines: list[Line], choice: EventChoice = CHOICE, grid: Grid = GRID, **more: Any) -> Table:
    """Return the table of a log."""
    source, out = folder / "events.jsonl", str(folder / "t.parquet")
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = event_table(open_history(str(source)), str(source), grid, choice, out, **more)
    table = read_table(out)
    assert table.facts == facts
    return table
