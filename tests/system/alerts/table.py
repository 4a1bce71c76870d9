"""The timeline as a table of the runbook."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tests.system.alerts.faults import FAULTS


class Seen(msgspec.Struct):
    """One fault, and what fired between its beginning and the next one's."""

    fault: str
    factor: float
    where: str
    """Date and machine."""
    alerts: dict[str, tuple[float, float]]
    """Alert → seconds from the fault's beginning to its firing, and from the fault's end to its clearing."""


def table(seen: Sequence[Seen]) -> str:
    """Return the timeline as it stands in the runbook; of each fault the newest run."""
    newest = {one.fault: one for one in seen}
    runs = dict.fromkeys(f"{one.where}; windows divided by {one.factor:g}" for one in newest.values())
    lines = [
        f"{'; '.join(runs)}.",
        "",
        "| fault | alert | fired after the fault began | cleared after it ended |",
        "|---|---|---|---|",
    ]
    for fault in FAULTS:
        if fault in newest:
            for place, (alert, (fired, cleared)) in enumerate(newest[fault].alerts.items()):
                after = f"{cleared:.0f} s" if cleared >= 0 else f"{-cleared:.0f} s before its end"
                lines.append(f"| {'' if place else fault} | {alert} | {fired:.0f} s | {after} |")
    return "\n".join(lines)
