"""The table of a soak."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """What all tries of one fault gave."""

    tries: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    states: int = 0
    faults_s: list[float] = field(default_factory=list)
    """How long the fault itself lasted, each time."""
    recovery_s: list[float] = field(default_factory=list)
    """From its end until all that had been sent by then was in the states."""
    failed: list[str] = field(default_factory=list)


def table(rows: dict[str, Row]) -> str:
    """Return the report as Markdown."""
    lines = [
        "| fault | tries | events | lost | doubled | states differ | fault took, median | recovery, median | worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lasted, took = row.faults_s or [float("nan")], row.recovery_s or [float("nan")]
        lines.append(
            f"| {name} | {row.tries} | {row.events:,} | {row.lost} | {row.doubled} | {row.states}"
            f" | {statistics.median(lasted):.1f} s | {statistics.median(took):.1f} s | {max(took):.1f} s |"
        )
    events, tries = sum(row.events for row in rows.values()), sum(row.tries for row in rows.values())
    sums = [sum(getattr(row, what) for row in rows.values()) for what in ("lost", "doubled", "states")]
    return "\n".join([*lines, f"| **all** | {tries} | {events:,} | {sums[0]} | {sums[1]} | {sums[2]} | | | |"])
